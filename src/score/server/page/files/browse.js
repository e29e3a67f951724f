// Studies, analyses, files: what the token lets its user see. The place is in the fragment of the address, which is
// never sent, so that reload and back work; the token is not.

import { call, token } from "./api.js";
import { cell, el, find, goTo, say, setting, size, span } from "./dom.js";
import { offer } from "./upload.js";

const SECURE = setting("secure") === "true";
const said = (text, kind = "bad") => say(find("said"), text, kind);
const TODO = "What to do";
const SLOW = 1000;
let turn = 0;
/** The fragment of what is listed. */
let at = "";

export function start() {
  find("token-form").hidden = !SECURE;
  find("token-form").addEventListener("submit", use);
  find("forget").addEventListener("click", forget);
  find("by-id").addEventListener("submit", (event) => {
    event.preventDefault();
    const id = find("object").value.trim();
    if (/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(id)) fetchObject(id, id);
    else said("This is no object id: 32 hex digits in five groups.");
  });
  find("look-uploads").addEventListener("click", lookAtUploads);
  addEventListener("hashchange", () => (location.hash.startsWith("#/") ? show({ focus: true }) : keep()));
  find("browser").addEventListener("click", ({ target }) => {
    if (target.closest("a")?.hash === location.hash) show({ focus: true }); // where it failed, once more
  });
  if (SECURE && !token.get()) return;
  show();
}

async function use(event) {
  event.preventDefault();
  const text = find("token").value.trim().replace(/^Bearer\s+/i, "");
  find("token").value = "";
  const wrong = notToken(text);
  if (wrong) {
    said(wrong);
    find("token").focus();
    return;
  }
  token.set(text);
  await show({ focus: true });
}

/** Why this is no token; it is not sent then, since it may be a secret of something else. Empty where it may be one. */
function notToken(text) {
  if (!text) return "Enter a token first.";
  if (/-----BEGIN|^\{/.test(text)) return "This is a key file, not an access token. Ask for an API key or a token.";
  if (!/^[\x21-\x7e]+$/.test(text)) return "This is no token: it has spaces, or signs that no token has.";
  if (/^(A[KS]IA[A-Z0-9]{16}|[A-Za-z0-9/+]{40})$/.test(text)) {
    return "This is a key of an object store (S3), which this page does not take. Ask for an API key or a token.";
  }
  return "";
}

/** Nothing stays on the screen that needed the token. */
function close() {
  token.set("");
  find("browser").hidden = true;
  find("list").replaceChildren();
  find("open-uploads").replaceChildren();
  find("forget").hidden = true;
  for (const shown of document.querySelectorAll(".everywhere")) shown.hidden = true;
  find("token").focus();
}

function forget() {
  turn += 1;
  close();
  said("The token is forgotten.", "good");
}

/** The place that the fragment names: study, analysis, and the number of the first entry. */
function place() {
  if (!location.hash.startsWith("#/")) return [];
  try {
    const [study = "", analysis = "", first = "0"] = location.hash.slice(2).split("/").map(decodeURIComponent);
    return [study, analysis, Number(first) || 0];
  } catch {
    return [];
  }
}

const link = (study = "", analysis = "", first = 0) =>
  `#/${[study, analysis, first || ""].map(encodeURIComponent).join("/").replace(/\/+$/, "")}`;

/** A section of the page was gone to, or no place yet: the address goes on naming what is listed. */
function keep() {
  if (at && !location.hash.startsWith("#/")) history.replaceState(null, "", at);
}

/** Say it where the answer of this server takes long; gives what ends that. */
function waiting() {
  const mine = turn;
  const timer = setTimeout(() => mine === turn && said("This server has not answered yet.", "wait"), SLOW);
  return () => clearTimeout(timer);
}

async function show({ focus = false } = {}) {
  const mine = ++turn;
  const answered = waiting();
  const [study, analysis, first = 0] = place();
  try {
    const view = await (analysis ? files : study ? analyses : studies)(study, analysis, first);
    if (mine !== turn) return; // the user went elsewhere meanwhile
    said("");
    find("forget").hidden = !SECURE;
    find("browser").hidden = false;
    draw(view, [study, analysis, first], focus);
  } catch (error) {
    if (mine === turn) failed(error);
  } finally {
    answered();
  }
}

/** Say why; what a token opened that is not valid any more is closed. */
function failed(error) {
  if (error.status === 401 && SECURE) close();
  said(error.message);
}

function draw({ title, rows, pager }, [study, analysis, first], focus) {
  const steps = [["Studies", link()]];
  if (study) steps.push([study, link(study)]);
  if (analysis) steps.push([analysis, link(study, analysis)]);
  const entries = steps.map(([name, to], number) =>
    el("li", {}, el("a", { href: to, "aria-current": number === steps.length - 1 ? "page" : null }, name)),
  );
  find("place").replaceChildren(el("ol", {}, ...entries));
  say(find("list-title"), title);
  const had = find("list").contains(document.activeElement);
  find("list").replaceChildren(rows, ...(pager ? [pager] : []));
  at = link(study, analysis, first);
  keep();
  if (focus) goTo(find("list-title"));
  else if (had) find("list-title").focus({ preventScroll: true });
}

async function studies() {
  const found = await call("GET", "/page/studies");
  for (const shown of document.querySelectorAll(".everywhere")) shown.hidden = !found.everywhere;
  if (found.everywhere) lookAtUploads();
  const rows = found.studies.map(({ id, download, upload }) => {
    const may = [download ? "download" : "", upload ? "upload" : ""].filter(Boolean).join(" and ");
    return el("tr", {}, cell("Study", el("a", { href: link(id) }, id)), cell("You may", may));
  });
  if (rows.length) return { title: count(rows.length, "study", "studies"), rows: table(["Study", "You may"], rows) };
  const none = SECURE && !found.everywhere
    ? "The token is valid, but has no scope for any study that is registered here. Ask for one."
    : "No study is registered yet.";
  return { title: "No studies", rows: el("p", {}, none) };
}

async function analyses(study, _, first) {
  const found = await call("GET", `/page/analyses?${new URLSearchParams({ study, first })}`);
  const rows = found.analyses.map((one) =>
    el(
      "tr",
      {},
      cell("Analysis", el("a", { href: link(study, one.id) }, one.id)),
      cell("Kind", one.kind),
      cell("State", one.state.toLowerCase()),
      cell("Files", `${one.files}`, "number"),
    ),
  );
  const title = count(found.total, "analysis", "analyses");
  return {
    title: `${title} of ${study}`,
    rows: table(["Analysis", "Kind", "State", "Files"], rows),
    pager: pager(found, first, (at) => link(study, "", at)),
  };
}

async function files(study, analysis, first) {
  const found = await call("GET", `/page/contents?${new URLSearchParams({ study, analysis, first })}`);
  const rows = found.files.map((file) =>
    el(
      "tr",
      {},
      cell("File", file.name),
      cell("Size", size(file.size), "number"),
      cell("Access", file.access),
      cell("", action(file, found), "act"),
    ),
  );
  return {
    title: `${count(found.total, "file", "files")}, ${found.state.toLowerCase()}`,
    rows: table(["File", "Size", "Access", TODO], rows),
    pager: pager(found, first, (at) => link(study, analysis, at)),
  };
}

/** An upload of this tab began or ended: what is listed may be so no more. */
export function changed({ done }) {
  if (done && !find("browser").hidden) show();
  if (!find("progress").hidden) lookAtUploads();
}

function action(file, { study, state }) {
  if (file.uploaded === true) return "uploaded";
  if (file.uploaded === false) {
    return el("button", { type: "button", "aria-label": `Upload ${file.name}`, click: () => offer(file) }, "Upload…");
  }
  if (state !== "PUBLISHED" || (!study.download && file.access.toLowerCase() !== "open")) return "no right to download";
  const get = () => fetchObject(file.object_id, file.name);
  return el("button", { type: "button", "aria-label": `Download ${file.name}`, click: get }, "Download");
}

/** Let the browser save an object to its disk, by a URL for the whole of it. */
async function fetchObject(id, name) {
  const answered = waiting();
  try {
    const path = `/download/${encodeURIComponent(id)}?offset=0&length=-1&external=true`;
    const url = new URL((await call("GET", path)).parts[0].url);
    if (!["http:", "https:"].includes(url.protocol)) throw new Error("The store gives an address that is none.");
    el("a", { href: url.href, download: name, rel: "noreferrer" }).click();
    const other = url.origin !== location.origin && name !== id;
    said(`${name} is being fetched by the browser${other ? `, which may call it ${id}` : ""}.`, "good");
  } catch (error) {
    failed(error);
  } finally {
    answered();
  }
}

async function lookAtUploads() {
  const rows = find("open-uploads");
  try {
    const { uploads, more } = await call("GET", "/page/uploads");
    rows.replaceChildren(
      ...uploads.map((one) =>
        el(
          "tr",
          {},
          cell("File", one.name || one.object_id),
          cell("Study", one.study || "not known to the registry"),
          cell("Begun", `${span(one.age)} ago`),
        ),
      ),
    );
    rows.parentElement.hidden = !uploads.length;
    const shown = more ? `More than ${uploads.length}; these are some of them.` : `${uploads.length} in progress.`;
    say(find("progress-said"), uploads.length ? shown : "None.");
  } catch (error) {
    rows.parentElement.hidden = true;
    if (error.status === 401) failed(error);
    else say(find("progress-said"), error.message, "bad");
  }
}

const count = (number, one, many) => `${number} ${number === 1 ? one : many}`;

function table(names, rows) {
  const head = names.map((name) => el("th", { scope: "col", class: name === TODO ? "act" : null }, name));
  return el("table", { "aria-labelledby": "list-title" }, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows));
}

function pager({ total, size: step }, first, to) {
  if (total <= step) return null;
  const last = Math.min(first + step, total);
  return el(
    "nav",
    { class: "pager", "aria-label": "Pages" },
    first > 0 ? el("a", { href: to(Math.max(0, first - step)) }, "Earlier entries") : null,
    el("span", {}, `${first + 1} to ${last} of ${total}`),
    last < total ? el("a", { href: to(last) }, "Later entries") : null,
  );
}

// Brings the page to life: what was drawn by the server stays as it is until there is something newer.

import { call, here } from "./api.js";
import * as browse from "./browse.js";
import { el, find, say } from "./dom.js";
import * as uploads from "./upload.js";

const EVERY = 60_000;

async function look() {
  let health;
  try {
    health = await call("GET", "/page/health").catch((error) => {
      if (error.status !== 401) throw error;
      return call("GET", "/page/health", { anonymous: true }); // the token ended: how the server is, anybody may know
    });
  } catch (error) {
    say(find("summary"), error.message);
    find("parts").replaceChildren(); // what was up may be so no more
    return;
  }
  say(find("summary"), health.summary);
  find("parts").replaceChildren(...health.parts.map(part));
}

function part({ name, up, says, cause }) {
  const state = up ? "up" : "down";
  return el(
    "li",
    { class: `part ${state}` },
    el("span", { class: "name" }, name),
    " ",
    el("span", { class: "state" }, state),
    says ? el("p", { class: "says" }, says) : null,
    cause ? el("p", { class: "cause" }, cause) : null,
  );
}

/** The address as this browser knows it, which the server may not know behind a proxy. */
function correctAddress() {
  const [shown] = document.getElementsByClassName("address");
  const commands = find("commands");
  if (shown.textContent === here) return;
  commands.textContent = commands.textContent.replaceAll(shown.textContent, here);
  shown.textContent = here;
}

correctAddress();
for (const shown of document.querySelectorAll(".scripted")) shown.hidden = false;
find("look").addEventListener("click", look);
setInterval(() => document.visibilityState === "visible" && look(), EVERY);
browse.start();
uploads.start(browse.changed);

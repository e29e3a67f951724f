// Elements of the page. Whatever comes from elsewhere goes in as text: nothing here reads HTML.

export const find = (id) => document.getElementById(id);

/** An element; `attributes` are set as they are, functions become listeners, children that are no elements are text. */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  const given = children.filter((child) => child !== null && child !== undefined);
  made.append(...given.map((child) => (typeof child === "string" ? visible(child) : child)));
  return made;
}

/** Replace what is said, unless it is the same: a live region would be read out again. */
export function say(place, text, kind = "") {
  const shown = visible(text);
  if (place.textContent !== shown) place.textContent = shown;
  place.dataset.kind = text ? kind : "";
}

/** Marks that turn the direction of writing are seen: they would have a name look like another one. */
const visible = (text) => text.replace(/\p{Bidi_Control}/gu, (mark) => `\\u${mark.codePointAt(0).toString(16).padStart(4, "0")}`);

/** Move the focus, to where it is seen. */
export function goTo(place) {
  place.scrollIntoView({ block: "nearest" });
  place.focus({ preventScroll: true });
}

const UNITS = ["bytes", "kB", "MB", "GB", "TB"];

/** A size for people. */
export function size(bytes) {
  let power = 0;
  let shown = bytes;
  while (shown >= 999.5 && power < UNITS.length - 1) {
    shown /= 1000;
    power += 1;
  }
  return `${power ? shown.toPrecision(3) : shown} ${bytes === 1 ? "byte" : UNITS[power]}`;
}

/** A time span for people, in its two largest units. */
export function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const parts = [
    [Math.floor(whole / 86400), "d"],
    [Math.floor(whole / 3600) % 24, "h"],
    [Math.floor(whole / 60) % 60, "min"],
    [whole % 60, "s"],
  ];
  const first = parts.findIndex(([count]) => count);
  if (first < 0) return "0 s";
  return parts.slice(first, first + 2).filter(([count]) => count).map(([count, unit]) => `${count} ${unit}`).join(" ");
}

/** A cell of a table; on a narrow screen, where there is no head, its label stands before it. */
export const cell = (label, content, kind = "") => el("td", { "data-label": label || null, class: kind || null }, content);

export const setting = (name) => document.documentElement.dataset[name];

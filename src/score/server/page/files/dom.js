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
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Replace what is said, unless it is the same: a live region would be read out again. */
export function say(place, text, kind = "") {
  if (place.textContent !== text) place.textContent = text;
  place.dataset.kind = text ? kind : "";
}

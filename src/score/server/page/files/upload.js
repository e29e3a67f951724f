// Uploads from this tab: a card for each, and what of them is remembered, so that a reload does not end them.

import { call } from "./api.js";
import { el, find, goTo, say, setting, size, span } from "./dom.js";
import { Transfer } from "./transfer.js";

const KEY = "score.uploads";
const cards = new Map();
let changed = () => {};

const remembered = () => JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
const remember = (files) => sessionStorage.setItem(KEY, JSON.stringify(files));
const forget = (id) => remember(remembered().filter((file) => file.object_id !== id));

/** `told` is called when an upload begins or is given up, and with `done` when its object is in the store. */
export function start(told) {
  changed = told;
  for (const file of remembered()) {
    card(file).tell("The upload was interrupted. Choose the same file again to go on.", "wait");
  }
  addEventListener("beforeunload", (event) => {
    if ([...cards.values()].some((one) => one.running)) event.preventDefault();
  });
}

/** Offer to upload a registered file. */
export function offer(file) {
  const one = card(file);
  if (setting("profile") === "az") {
    one.only("This store takes uploads in blocks, which this page does not do. Use: score-client upload");
  }
  one.focus();
}

function card(file) {
  if (!cards.has(file.object_id)) cards.set(file.object_id, new Card(file));
  return cards.get(file.object_id);
}

class Card {
  constructor(file) {
    this.file = file;
    const id = `file-${file.object_id}`;
    this.picker = el("input", { type: "file", id, change: () => this.begin() });
    this.message = el("p", { class: "message", role: "status" });
    this.bar = el("progress", { max: "1", value: "0", "aria-label": `Sent of ${file.name}`, hidden: true });
    this.numbers = el("p", { class: "hint", hidden: true });
    this.again = el("button", { type: "button", hidden: true, click: () => this.run() }, "Try again");
    this.anew = el("button", { type: "button", hidden: true, click: () => this.run({ anew: true }) }, "Start anew");
    this.stop = el("button", { type: "button", hidden: true, click: () => this.pause() }, "Stop");
    this.drop = el("button", { type: "button", click: () => this.cancel() }, "Cancel");
    this.choice = el("p", {}, el("label", { for: id }, `Choose ${file.name}, ${size(file.size)}: `), this.picker);
    this.buttons = el("div", { class: "row", role: "group", "aria-label": file.name }, this.again, this.anew, this.stop, this.drop);
    this.place = el(
      "li",
      { class: "transfer", "data-object": file.object_id },
      el("h3", {}, file.name),
      this.choice,
      this.message,
      this.bar,
      this.numbers,
      this.buttons,
    );
    find("transfers").append(this.place);
    find("sending").hidden = false;
  }

  get running() {
    return Boolean(this.transfer?.running);
  }

  tell(text, kind = "") {
    say(this.message, text, kind);
  }

  /** There is nothing to do here but to read. */
  only(text) {
    this.choice.hidden = true;
    this.drop.textContent = "Close";
    this.tell(text, "wait");
  }

  focus() {
    this.place.scrollIntoView({ block: "nearest" });
    (this.choice.hidden ? this.drop : this.picker).focus();
  }

  begin() {
    const [chosen] = this.picker.files;
    if (!chosen) return;
    const { name, size: registered } = this.file;
    if (chosen.size !== registered) {
      this.tell(`This file has ${chosen.size} bytes, and ${name} is registered with ${registered}.`, "bad");
      return;
    }
    this.chosen = chosen;
    this.run();
  }

  async run(how = {}) {
    const had = this.place.contains(document.activeElement);
    this.choice.hidden = true;
    for (const button of [this.again, this.anew]) button.hidden = true;
    this.stop.hidden = false;
    if (had) this.stop.focus(); // else the focus is lost with what had it
    this.bar.hidden = this.numbers.hidden = false;
    this.transfer = new Transfer(this.file, this.chosen, {
      tell: (text, kind) => this.tell(text, kind),
      show: (state) => this.show(state),
      begun: (upload) => {
        forget(this.file.object_id);
        remember([...remembered(), { ...this.file, upload }]);
        changed({ done: false });
      },
    });
    const ended = await this.transfer.run(how);
    const stopped = document.activeElement === this.stop;
    this.stop.hidden = true;
    this.conclude(ended);
    if (stopped) [this.choice.hidden ? this.again : this.picker, this.anew, this.drop].find((one) => !one.hidden).focus();
  }

  conclude(ended) {
    if (ended.done) {
      forget(this.file.object_id);
      this.bar.value = 1;
      this.drop.textContent = "Close";
      this.numbers.hidden = true;
      this.tell(`Uploaded and verified: ${size(this.file.size)}, MD5 ${this.file.md5}.`, "good");
      changed({ done: true });
      return;
    }
    this.again.hidden = !ended.again;
    this.anew.hidden = !ended.anew;
    if (ended.choose) {
      this.choice.hidden = false;
      this.bar.hidden = this.numbers.hidden = true;
      this.picker.value = "";
    }
    if (ended.why) this.tell(ended.why, ended.kind ?? "bad");
  }

  show({ sent, rate, left, hashed }) {
    if (this.bar.hidden) return;
    const total = this.file.size;
    this.bar.value = total ? sent / total : 0;
    const parts = [`${size(sent)} of ${size(total)}`];
    if (rate) parts.push(`${size(Math.round(rate))}/s`, `${span(left)} left`);
    if (hashed < total) parts.push(`MD5 of ${Math.floor((100 * hashed) / total)} %`);
    this.numbers.textContent = parts.join(", ");
  }

  pause() {
    this.transfer?.stop("Stopped. What was sent is kept.");
  }

  async cancel() {
    const begun = remembered().find((file) => file.object_id === this.file.object_id);
    this.transfer?.stop("");
    await this.transfer?.ended;
    if (begun && this.drop.textContent === "Cancel") {
      const which = begun.upload ? `?uploadId=${encodeURIComponent(begun.upload)}` : ""; // a page of before remembers none
      try {
        await call("DELETE", `/upload/${this.file.object_id}${which}`);
      } catch (error) {
        if (error.status !== 404) {
          this.tell(`The upload could not be cancelled: ${error.message}`, "bad");
          return;
        }
      }
    }
    forget(this.file.object_id);
    cards.delete(this.file.object_id);
    this.place.remove();
    find("sending").hidden = cards.size === 0;
    changed({ done: false });
    goTo(find(cards.size ? "sending-title" : "list-title"));
  }
}

// One upload: digests in workers, parts to signed URLs, three at once, each compared with what the store says it got,
// and the whole file with what is registered. What is finished is never sent again.

import { call, Refusal } from "./api.js";

const AT_ONCE = 3;
const TRIES = 8;
const LONGEST_WAIT = 30;
const RATE_OVER = 10_000;
const SILENCE = 120_000;

/** Why an upload ended without an object; `ended` says what its user can do. */
class End extends Error {
  constructor(why, ended = {}) {
    super(why);
    this.ended = { why, ...ended };
  }
}

/** The store refuses a signed URL, as it does when its time is over. */
class Expired extends Error {}

const scripts = globalThis.trustedTypes?.createPolicy("score", { createScriptURL: (url) => url });
const WORKER = new URL("worker.js", import.meta.url).href;

export class Transfer {
  #aborts = new AbortController();
  #workers = [];
  #hashed = 0;
  #stopped = null;
  #loaded = new Map();
  #finishedBytes = 0;
  #samples = [];
  #renewal = null;

  /** `hooks`: `tell` a sentence, `show` numbers, `begun` when the server knows of the upload. */
  constructor(file, chosen, hooks) {
    this.file = file;
    this.chosen = chosen;
    this.hooks = hooks;
    this.path = `/upload/${encodeURIComponent(file.object_id)}`;
    this.running = false;
  }

  /** Stop; what was sent stays in the store. */
  stop(why) {
    this.#stopped ??= why;
    this.#aborts.abort();
  }

  /** Do it. With `anew` an upload in progress is given up. Gives `done`, or `why` not and what can be done. */
  run({ anew = false } = {}) {
    this.running = true;
    this.ended = this.#locked(anew)
      .catch((error) => this.#explain(error))
      .finally(() => {
        this.running = false;
        this.#aborts.abort();
        for (const worker of this.#workers) worker.terminate();
      });
    return this.ended;
  }

  #explain(error) {
    if (this.#stopped !== null) return { why: this.#stopped, kind: "wait", again: true };
    if (error instanceof End) return error.ended;
    return { why: error.message, again: true };
  }

  /** One tab at a time. Browsers know locks only where the page came by https, or from this computer. */
  #locked(anew) {
    if (!navigator.locks) return this.#upload(anew);
    const options = { ifAvailable: true };
    return navigator.locks.request(`score-upload-${this.file.object_id}`, options, (lock) => {
      if (lock) return this.#upload(anew);
      throw new End("Another tab of this browser uploads this file. Go on there, or close it.", { again: true });
    });
  }

  async #upload(anew) {
    this.hooks.tell("Asking the server how far this upload is.");
    const upload = await this.#started(anew);
    this.hooks.begun(upload.uploadId);
    const digests = this.#digest(upload.parts);
    this.hooks.tell("Sending.");
    const todo = [];
    for (const part of upload.parts) {
      if (part.sourceMd5) this.#finishedBytes += part.partSize;
      todo.push(part);
    }
    this.#show();
    const send = async () => {
      for (let part = todo.shift(); part; part = todo.shift()) {
        const md5 = await digests.parts[part.partNumber - 1];
        if (part.sourceMd5 && part.sourceMd5 !== md5) throw this.#other(part.partNumber);
        if (!part.sourceMd5) await this.#send(upload, part, md5);
      }
    };
    const senders = Array.from({ length: AT_ONCE }, send);
    await this.#first([digests.whole.then((md5) => this.#compare(md5)), ...senders]);
    await this.#complete(upload.uploadId);
    return { done: true };
  }

  /** The results of all; at the first failure everything else is broken off. */
  async #first(works) {
    try {
      await Promise.all(works);
    } catch (error) {
      this.#aborts.abort();
      await Promise.allSettled(works);
      throw error;
    }
  }

  /** The upload in progress, or a new one. */
  async #started(anew) {
    const { size, md5 } = this.file;
    if (!anew) {
      try {
        return await this.#call("GET", `${this.path}/status?fileSize=${size}`);
      } catch (error) {
        if (error.status === 400) throw new End(error.message, { anew: true });
        if (error.status !== 404) throw error;
      }
    }
    return this.#call("POST", `${this.path}/uploads?fileSize=${size}&md5=${md5}&overwrite=false`);
  }

  /** Promises of the MD5 of each part, and of the whole. One worker has the parts, another one the whole file. */
  #digest(parts) {
    const ranges = parts.map((part) => [part.offset, part.partSize]);
    if (ranges.length === 1) {
      const [only] = this.#hash(ranges, true);
      return { parts: [only], whole: only };
    }
    return { parts: this.#hash(ranges, false), whole: this.#hash([[0, this.file.size]], true)[0] };
  }

  #hash(ranges, counted) {
    const worker = new Worker(scripts ? scripts.createScriptURL(WORKER) : WORKER, { type: "module" });
    this.#workers.push(worker);
    const waiting = ranges.map(() => Promise.withResolvers());
    const fail = (error) => waiting.forEach(({ reject }) => reject(error));
    const file = this.chosen;
    worker.onmessage = ({ data }) => {
      if (data.hashed && counted) {
        this.#hashed += data.hashed;
        this.#show();
      }
      if (data.md5) waiting[data.number].resolve(data.md5);
      if (data.error) fail(this.#unreadable());
    };
    worker.onerror = () => fail(new End("The script that computes MD5s could not be loaded.", { again: true }));
    this.#aborts.signal.addEventListener("abort", () => fail(new End("Broken off.", { again: true })));
    worker.postMessage({ file, ranges });
    return waiting.map(({ promise }) => {
      promise.catch(() => {}); // whoever waits for it is told
      return promise;
    });
  }

  #unreadable() {
    const why = "The file cannot be read any more: it was changed, moved or removed. Choose it again.";
    return new End(why, { choose: true });
  }

  #other(number) {
    const why =
      `This is not the file whose upload was begun: its part ${number} has other bytes. ` +
      "Choose the right file, or start anew with this one.";
    return new End(why, { choose: true, anew: true });
  }

  #compare(md5) {
    const { name, md5: registered } = this.file;
    if (md5 === registered.toLowerCase()) return;
    const why = `This is another file: its MD5 is ${md5}, and ${name} is registered with ${registered}. Nothing is completed.`;
    throw new End(why, { choose: true });
  }

  async #send(upload, part, md5) {
    const data = this.chosen.slice(part.offset, part.offset + part.partSize);
    await this.#persist(async () => {
      const etag = await this.#arrived(upload, part, data);
      const query = new URLSearchParams({ partNumber: part.partNumber, uploadId: upload.uploadId, md5, etag });
      try {
        await this.#call("POST", `${this.path}/parts?${query}`);
      } catch (error) {
        // The server looked at what arrived in the store, and it is not what was sent.
        throw error.status === 400 ? new Refusal(0, error.message) : error;
      }
    });
    this.#loaded.delete(part.partNumber);
    this.#finishedBytes += part.partSize;
    this.#show();
  }

  /** PUT a part, by a new URL where the store refuses the one it has; its ETag. */
  async #arrived(upload, part, data) {
    const { url } = part;
    try {
      return await this.#put(part, data);
    } catch (error) {
      if (!(error instanceof Expired)) throw error;
    }
    // One answer has the URLs of all parts: whoever comes while it is asked for, or later, has it too.
    if (part.url === url) await (this.#renewal ??= this.#renew(upload).finally(() => (this.#renewal = null)));
    try {
      return await this.#put(part, data);
    } catch (error) {
      if (!(error instanceof Expired)) throw error;
      const why = `${error.message}, also by a new URL. Tell the operator of this server: score-server check finds the cause.`;
      throw new End(why, { again: true });
    }
  }

  async #renew({ uploadId, parts }) {
    const now = await this.#call("GET", `${this.path}/status?fileSize=${this.file.size}`);
    if (now.uploadId !== uploadId) {
      throw new End("Meanwhile this upload was begun anew elsewhere. Try again to go on with that one.", { again: true });
    }
    for (const part of now.parts) parts[part.partNumber - 1].url = part.url;
  }

  /** PUT a part; its ETag. XMLHttpRequest, since fetch tells nothing of how far it is. */
  #put(part, data) {
    const { promise, resolve, reject } = Promise.withResolvers();
    const request = new XMLHttpRequest();
    const abort = () => request.abort();
    let silence = setTimeout(abort, SILENCE);
    request.open("PUT", part.url);
    request.upload.onprogress = ({ loaded }) => {
      clearTimeout(silence);
      silence = setTimeout(abort, SILENCE);
      this.#loaded.set(part.partNumber, loaded);
      this.#show();
    };
    request.onload = () => {
      const etag = request.getResponseHeader("ETag")?.replaceAll('"', "");
      if (request.status === 200 && etag) resolve(etag);
      else if (request.status === 200) reject(this.#cors(part.url, "it does not expose the header ETag"));
      else reject(this.#refused(request));
    };
    request.onerror = () => this.#unreachable(part, data).then(reject);
    request.onabort = () => reject(new Refusal(0, "The store was silent for too long."));
    this.#aborts.signal.addEventListener("abort", abort);
    request.send(data);
    return promise.finally(() => {
      clearTimeout(silence);
      this.#aborts.signal.removeEventListener("abort", abort);
      this.#loaded.delete(part.partNumber);
      this.#show();
    });
  }

  #refused({ status, responseText }) {
    const code = /<Code>(\w{1,60})<\/Code>/.exec(responseText)?.[1] ?? "";
    const said = `The store answers ${status} ${code}`.trim();
    if (status === 507) return new End(`${said}: it is full.`, { again: true });
    if (status >= 500 || status === 408 || status === 429 || code === "RequestTimeout") return new Refusal(503, `${said}.`);
    if (status === 403 || code === "ExpiredToken") return new Expired(said);
    if (status === 404) return new End(`${said}: the upload is gone from the store.`, { anew: true });
    return new End(`${said}.`, { again: true });
  }

  /** Why the store could not be called: a browser does not say, so it is tried without asking for the answer. */
  async #unreachable(part, data) {
    try {
      await data.slice(0, 1).arrayBuffer();
      await data.slice(-1).arrayBuffer();
    } catch {
      return this.#unreadable();
    }
    if (!navigator.onLine) return new Refusal(0, "This computer is offline.");
    const { origin, protocol } = new URL(part.url);
    if (origin === location.origin) return new Refusal(0, "The server does not answer.");
    if (protocol === "http:" && location.protocol === "https:") {
      const why =
        `The store is at ${origin}, and this page came by https: browsers refuse that. The operator of this server has to ` +
        "name an address with https: server.publicUrl for a store on its disk, else s3.preSignedUrl.override.host.";
      return new End(why, { again: true });
    }
    try {
      const url = await call("GET", "/download/ping");
      await fetch(url, { mode: "no-cors", cache: "no-store", credentials: "omit", signal: AbortSignal.timeout(10_000) });
    } catch {
      return new Refusal(0, `The store at ${new URL(part.url).host} does not answer.`);
    }
    return this.#allowed(part.url);
  }

  /** The store answers, but this page may not know what. Reads tell whether it is so with all calls. */
  async #allowed(put) {
    try {
      await fetch(await call("GET", "/download/ping"), { cache: "no-store", credentials: "omit" });
    } catch {
      return this.#cors(put, "it does not let pages of this origin call it");
    }
    return new Refusal(0, "The connection to the store broke off.");
  }

  #cors(url, what) {
    const why =
      `The store at ${new URL(url).host} answers, but ${what}. Its operator has to allow it (CORS): origin ` +
      `${location.origin}, methods GET and PUT, any header, and ETag among the exposed headers. ` +
      "Then try again; or use: score-client upload";
    return new End(why, { again: true });
  }

  async #complete(uploadId) {
    this.hooks.tell("All parts are there; the store makes the object of them.");
    await this.#call("POST", `${this.path}?uploadId=${encodeURIComponent(uploadId)}`);
    if ((await this.#call("GET", this.path)) !== true) {
      throw new End("The server said that the object is complete, and then that it is not there.", { again: true });
    }
  }

  #call(method, path) {
    return this.#persist(() => call(method, path, { signal: this.#aborts.signal }));
  }

  /** Repeat what failed in a way that may pass, and say what is waited for. */
  async #persist(work) {
    for (let tries = 1; ; tries += 1) {
      try {
        return await work();
      } catch (error) {
        if (this.#aborts.signal.aborted || !(error instanceof Refusal) || !error.passing) throw error;
        if (!navigator.onLine) {
          this.hooks.tell("This computer is offline. The upload goes on when it is online again.", "wait");
          await this.#pause((done) => addEventListener("online", done, { once: true, signal: this.#aborts.signal }));
          tries = 0;
        } else if (tries >= TRIES) {
          throw new End(`${error.message} It was tried ${TRIES} times. What was sent is kept.`, { again: true });
        } else {
          const wait = Math.min(error.retryAfter || 2 ** (tries - 1), LONGEST_WAIT);
          this.hooks.tell(`${error.message} Next try in ${wait} s (${tries} of ${TRIES}).`, "wait");
          await this.#pause((done) => {
            setTimeout(done, wait * 1000);
            addEventListener("online", done, { once: true, signal: this.#aborts.signal });
          });
        }
        this.hooks.tell("Going on.");
      }
    }
  }

  #pause(until) {
    return new Promise((resolve, reject) => {
      this.#aborts.signal.addEventListener("abort", () => reject(new End("Broken off.", { again: true })));
      until(resolve);
    });
  }

  #show() {
    const sent = this.#finishedBytes + [...this.#loaded.values()].reduce((sum, bytes) => sum + bytes, 0);
    const now = performance.now();
    this.#samples.push([now, sent]);
    while (this.#samples.length > 2 && now - this.#samples[0][0] > RATE_OVER) this.#samples.shift();
    const [[since, before]] = this.#samples;
    const rate = now - since > 500 ? Math.max(0, (sent - before) / ((now - since) / 1000)) : 0;
    this.hooks.show({ sent, rate, left: rate ? (this.file.size - sent) / rate : 0, hashed: this.#hashed });
  }
}

// Calls to this server. The token is kept for this tab alone, and travels in a header only.

const KEY = "score.token";

export const token = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (text) => (text ? sessionStorage.setItem(KEY, text) : sessionStorage.removeItem(KEY)),
};

/** An answer that is no success: `status` is 0 where there was no answer, `message` a sentence for people. */
export class Refusal extends Error {
  constructor(status, message, retryAfter = 0) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }

  /** Whether the same call may succeed later. */
  get passing() {
    return this.status === 0 || this.status === 408 || this.status === 429 || (this.status > 500 && this.status !== 507);
  }
}

/** Where this page is, without the last slash: a proxy may have put the server below a path. */
export const here = new URL(".", location.href).href.slice(0, -1);

/** The JSON, or the text, of an answer of this server; as a stranger has it with `anonymous`. */
export async function call(method, path, { signal, anonymous = false } = {}) {
  const headers = token.get() && !anonymous ? { Authorization: `Bearer ${token.get()}` } : {};
  let answer;
  try {
    answer = await fetch(here + path, { method, headers, signal, cache: "no-store", credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, navigator.onLine ? "This server does not answer." : "This computer is offline.");
  }
  const text = await answer.text();
  let document = text;
  try {
    document = text ? JSON.parse(text) : null;
  } catch {
    // plain text
  }
  if (answer.ok) return document;
  throw new Refusal(answer.status, sentence(answer.status, document), Number(answer.headers.get("Retry-After")) || 0);
}

function sentence(status, document) {
  const said = document?.message ?? "";
  if (status === 401 && !token.get()) return "This needs an access token: enter it above.";
  if (status === 401) {
    const jwt = /^ey[\w-]+\.[\w-]+\./.test(token.get());
    const next = jwt ? "A JWT ends soon: enter a new one above, or an API key." : "Enter another one above.";
    return `The token is not accepted. ${said || "It is mistyped, expired or revoked."} ${next}`;
  }
  return said || `This server answers ${status}.`;
}

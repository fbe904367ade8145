/** Talks to the gateway that served this page: the key of this tab, errors as it words them, streams. */

const KEY = "rolecast-key";

export const key = {
  /** @returns {string} The API key of this tab, empty for none. */
  get: () => sessionStorage.getItem(KEY) ?? "",
  /** @param {string} value Kept until the tab is closed; sent as a header, never in an address. */
  set: (value) => sessionStorage.setItem(KEY, value),
};

/** An error answer, or none at all (`status` 0). The message ends with what to do. */
export class GatewayError extends Error {
  constructor(message, status = 0, code = "") {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/**
 * A request to the gateway; gives the answer once its head is here. Throws GatewayError unless the status is 2xx.
 * @param {string} path
 * @param {{body?: object, signal?: AbortSignal}} [options] With a body it is a POST of JSON.
 */
export async function call(path, { body, signal } = {}) {
  const headers = {};
  if (body) headers["content-type"] = "application/json";
  if (key.get()) headers.authorization = `Bearer ${key.get()}`;
  let reply;
  try {
    reply = await fetch(path, { method: body ? "POST" : "GET", body: body && JSON.stringify(body), headers, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new GatewayError("The gateway does not answer. Start it with `rolecast up`, or see `rolecast doctor`.");
  }
  if (reply.ok) return reply;
  const { error } = await reply.json().catch(() => ({}));
  throw new GatewayError(error?.message ?? `The gateway answered with status ${reply.status}.`, reply.status, error?.code ?? "");
}

/** The same, for an answer that is JSON. */
export const json = async (path, options) => (await call(path, options)).json();

/** The lines of an answer as they come, in batches: what arrived together is given together. */
export async function* lines(reply) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  const read = () =>
    reader.read().catch((error) => {
      if (error.name === "AbortError") throw error;
      throw new GatewayError("The connection broke off before the end: the gateway was stopped, or the network was.");
    });
  let rest = "";
  for (let part = await read(); !part.done; part = await read()) {
    const found = (rest + part.value).split(/\r?\n/);
    rest = found.pop();
    if (found.length) yield found;
  }
  if (rest) yield [rest];
}

/** The events of a streamed answer, as objects, up to `[DONE]`. Throws GatewayError for an error in the stream. */
export async function* events(reply) {
  for await (const batch of lines(reply)) {
    for (const line of batch) {
      const data = line.startsWith("data:") ? line.slice(5).trim() : "";
      if (data === "[DONE]") return;
      if (!data) continue;
      let event;
      try {
        event = JSON.parse(data);
      } catch {
        throw new GatewayError("The answer held something that is no JSON; the log of the model may tell why.");
      }
      if (event.error) throw new GatewayError(event.error.message ?? String(event.error), 0, event.error.code ?? "");
      yield event;
    }
  }
}

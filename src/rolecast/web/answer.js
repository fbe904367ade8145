/** One answer of a model while it streams: what it thinks, what it says, and what it cost. Draws nothing. */
import { call, events } from "./gateway.js";

/**
 * @typedef {object} Answer
 * @property {string} content What it said, without its thinking.
 * @property {string} thinking
 * @property {string} model Who answered, by the gateway's headers.
 * @property {string} route How and why that model was chosen.
 * @property {string} id The request, as the ledger knows it.
 * @property {string} finish Why it ended; empty while it goes on.
 * @property {number} tokens
 * @property {number} seconds From the first token to the last.
 */

const OPEN = /^\s*<think(?:ing)?>/;
const CLOSE = /<\/think(?:ing)?>\s*/;
const LONE_CLOSE = /^[ \t]*<\/think(?:ing)?>[ \t]*(?:\n+|$)/m;

/**
 * Thinking that a model writes into its answer, apart from what it says. Only at the beginning: further down the
 * tag is text like any other. Some templates open it themselves, so that only its end is written.
 * @returns {{thinking: string, content: string}}
 */
export function apart(text) {
  const open = OPEN.exec(text);
  const close = (open ? CLOSE : LONE_CLOSE).exec(text);
  if (!open && !close) return { thinking: "", content: text };
  const from = open ? open[0].length : 0;
  if (!close) return { thinking: text.slice(from), content: "" };
  return { thinking: text.slice(from, close.index), content: text.slice(close.index + close[0].length) };
}

/**
 * Asks and reads to the end; `changed` is called whenever there is more. Throws GatewayError, or AbortError when it
 * was stopped; what came until then has been told.
 * @param {object} body of `/v1/chat/completions`
 * @param {AbortSignal} signal
 * @param {(answer: Answer) => void} changed
 */
export async function ask(body, signal, changed) {
  const answer = { content: "", thinking: "", model: "", route: "", id: "", finish: "", tokens: 0, seconds: 0 };
  const reply = await call("/v1/chat/completions", { body: { ...body, stream: true, stream_options: { include_usage: true } }, signal });
  answer.model = reply.headers.get("x-rolecast-model") ?? "";
  answer.route = reply.headers.get("x-rolecast-route") ?? "";
  answer.id = reply.headers.get("x-request-id") ?? "";
  let [text, reasoning, began, counted] = ["", "", 0, 0];
  for await (const event of events(reply)) {
    const [choice] = event.choices ?? [];
    const delta = choice?.delta ?? {};
    const more = (delta.content ?? "") + (delta.refusal ?? "");
    const thought = delta.reasoning_content ?? delta.reasoning ?? "";
    if (more || thought) {
      began ||= performance.now();
      counted += 1;
      answer.seconds = (performance.now() - began) / 1000;
    }
    text += more;
    reasoning += thought;
    const { thinking, content } = apart(text);
    Object.assign(answer, { content, thinking: reasoning + thinking, finish: choice?.finish_reason ?? answer.finish });
    answer.tokens = event.usage?.completion_tokens ?? (answer.tokens > counted ? answer.tokens : counted);
    changed(answer);
  }
}

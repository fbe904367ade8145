/** What was said in this browser, and how to ask: kept over a reload, bounded, never sent anywhere but to a model. */

const PLACE = "rolecast-chat";
const KEPT_CHARACTERS = 1_000_000;

/**
 * @typedef {object} Message
 * @property {"user" | "assistant"} role
 * @property {string} content
 * @property {string} [thinking]
 * @property {string} [model] @property {string} [route] @property {string} [id]
 * @property {number} [tokens] @property {number} [seconds]
 * @property {string} [note] What there is to know about how it ended.
 * @property {boolean} [failed] The note is about a failure.
 */

export const DEFAULTS = { model: "auto", system: "", temperature: "", max_tokens: "1024" };

export class Conversation {
  constructor() {
    /** @type {Message[]} */
    this.messages = [];
    this.settings = { ...DEFAULTS };
    this.load();
  }

  /** Reads what was kept; what cannot be read is left out. */
  load() {
    try {
      const { messages, settings } = JSON.parse(localStorage.getItem(PLACE) ?? "{}");
      if (Array.isArray(messages)) this.messages = messages.filter((m) => ["user", "assistant"].includes(m?.role) && typeof m.content === "string");
      for (const name of Object.keys(DEFAULTS)) if (typeof settings?.[name] === "string") this.settings[name] = settings[name];
    } catch {
      // nothing usable is kept, or the browser keeps nothing: the conversation begins empty
    }
  }

  /** Keeps it; the oldest messages are left out when it is too long. False when the browser keeps nothing. */
  save() {
    let from = this.messages.length;
    for (let room = KEPT_CHARACTERS; from > 0; from -= 1) {
      const { content, thinking = "" } = this.messages[from - 1];
      room -= content.length + thinking.length;
      if (room < 0 && from < this.messages.length) break;
    }
    try {
      localStorage.setItem(PLACE, JSON.stringify({ messages: this.messages.slice(from), settings: this.settings }));
      return true;
    } catch {
      return false;
    }
  }

  clear() {
    this.messages = [];
    this.save();
  }

  /** The body of a request for the next answer. A question that got none is left out, but for the last one. */
  request() {
    const { model, system, temperature, max_tokens } = this.settings;
    const said = this.messages.filter((m) => m.content);
    const turns = said.filter((m, at) => m.role === "assistant" || said[at + 1]?.role !== "user");
    const messages = turns.map(({ role, content }) => ({ role, content }));
    if (system.trim()) messages.unshift({ role: "system", content: system });
    const body = { model, messages };
    if (temperature !== "") body.temperature = Number(temperature);
    if (max_tokens !== "") body.max_tokens = Number(max_tokens);
    return body;
  }

  /** All of it as Markdown, for a file. */
  markdown() {
    const parts = this.messages.map((m) => `## ${m.role === "user" ? "You" : m.model || "Model"}\n\n${m.content}`);
    if (this.settings.system.trim()) parts.unshift(`## System\n\n${this.settings.system}`);
    return `${parts.join("\n\n")}\n`;
  }
}

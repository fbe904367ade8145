/** The conversation with a model: asking, stopping, asking again, and how it looks. */
import { ask } from "./answer.js";
import { Conversation, DEFAULTS } from "./conversation.js";
import { $, copyButton, h, save, setText } from "./dom.js";
import { rate } from "./format.js";
import { show } from "./markdown.js";

const SAVE_MS = 1000;
const NEAR_PX = 60;

/** @param {(id: string) => void} openRequest Shows the details of a request. */
export class Chat {
  constructor(openRequest, onAsked) {
    this.openRequest = openRequest;
    this.onAsked = onAsked;
    this.talk = new Conversation();
    /** @type {AbortController | null} */
    this.running = null;
    this.left = false;
    this.savedAt = 0;
    this.wire();
    this.drawSettings();
    this.drawAll();
  }

  // -- the form ----------------------------------------------------------------------------------------------

  wire() {
    $("chat").addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.running) return this.running.abort();
      const text = $("prompt").value.trim();
      if (!text) return $("prompt").focus();
      $("prompt").value = "";
      this.say(text);
    });
    $("prompt").addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.running) this.running.abort();
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      if (!this.running) $("chat").requestSubmit();
    });
    for (const name of Object.keys(DEFAULTS)) {
      $(name).addEventListener("change", () => {
        if (!$(name).reportValidity()) return;
        this.talk.settings[name] = $(name).value;
        this.talk.save();
        this.drawAdvice();
      });
    }
    $("clear").addEventListener("click", () => {
      this.running?.abort();
      this.talk.clear();
      this.drawAll();
      $("prompt").focus();
    });
    $("export").addEventListener("click", () => save("conversation.md", this.talk.markdown(), "text/markdown"));
    $("copy-talk").replaceWith(copyButton(() => this.talk.markdown(), "Copy", "the conversation"));
    addEventListener("pagehide", () => {
      this.talk.save();
      this.left = true; // what breaks from here on does so because the page ends
    });
    addEventListener("pageshow", () => (this.left = false));
    addEventListener("storage", (event) => {
      if (event.key !== "rolecast-chat" || this.running) return;
      this.talk = new Conversation(); // another tab went on with it
      this.drawSettings();
      this.drawAll();
    });
  }

  /** Offers these names, and keeps the one that is chosen, also when it is gone. */
  offer(groups) {
    const wanted = this.talk.settings.model;
    const known = groups.some(([, names]) => names.includes(wanted));
    const all = known ? groups : [...groups, ["Not there any more", [wanted]]];
    const shown = JSON.stringify(all);
    if ($("model").shown === shown) return;
    $("model").shown = shown;
    $("model").replaceChildren(...all.map(([label, names]) => h("optgroup", { label }, ...names.map((name) => h("option", { value: name }, name)))));
    $("model").value = wanted;
  }

  /** Chooses a model for what is said next. */
  choose(name) {
    this.talk.settings.model = name;
    this.talk.save();
    $("model").value = name;
    $("prompt").focus();
  }

  drawSettings() {
    for (const name of Object.keys(DEFAULTS)) $(name).value = this.talk.settings[name];
    this.drawAdvice();
  }

  drawAdvice() {
    const { system, temperature, max_tokens } = this.talk.settings;
    const parts = [system.trim() && "system prompt", temperature && `temperature ${temperature}`, max_tokens ? `at most ${max_tokens} tokens` : "no limit"];
    setText($("settings-summary"), `Settings: ${parts.filter(Boolean).join(", ")}`);
  }

  // -- asking ------------------------------------------------------------------------------------------------

  say(text) {
    this.talk.messages.push({ role: "user", content: text });
    this.drawAll();
    this.answer();
  }

  /** Asks again for the last answer. */
  again() {
    if (this.running) return;
    if (this.talk.messages.at(-1)?.role === "assistant") this.talk.messages.pop();
    this.drawAll();
    this.answer();
  }

  async answer() {
    const talk = this.talk;
    const body = talk.request();
    const message = { role: "assistant", content: "", model: "", note: "It has not ended: the page was left." };
    talk.messages.push(message);
    const stop = (this.running = new AbortController());
    const element = this.append(message);
    element.setAttribute("aria-busy", "true");
    setText($("send"), "Stop");
    let finish = "";
    const changed = (answer) => {
      ({ finish } = answer);
      Object.assign(message, { content: answer.content, thinking: answer.thinking, model: answer.model, route: answer.route });
      Object.assign(message, { id: answer.id, tokens: answer.tokens, seconds: answer.seconds });
      this.drawSoon(element, message);
    };
    try {
      await ask(body, stop.signal, changed);
      message.note = ended(message, finish);
    } catch (error) {
      if (this.left) return;
      message.failed = !stop.signal.aborted;
      message.note = stop.signal.aborted ? "Stopped." : error.message;
      if (error.status === 401) message.note += " Reload the page to enter a key.";
    }
    if (this.running === stop) this.running = null;
    element.removeAttribute("aria-busy");
    setText($("send"), "Send");
    if (this.talk.messages.includes(message)) this.finish(element, message);
    if (!this.talk.save()) setText($("chat-notice"), "This browser keeps nothing, so the conversation ends with the page.");
    this.onAsked();
  }

  // -- drawing -----------------------------------------------------------------------------------------------

  drawAll() {
    const { messages } = this.talk;
    $("talk").replaceChildren(...messages.map((m, at) => this.draw(m, at === messages.length - 1)));
    $("talk-empty").hidden = messages.length > 0;
    toEnd();
  }

  append(message) {
    const element = $("talk").appendChild(this.draw(message, false, true));
    $("talk-empty").hidden = true;
    toEnd();
    return element;
  }

  /** The answer is complete: its facts and buttons come below it. Whoever reads further up is left there. */
  finish(element, message) {
    const follows = isAtEnd();
    element.replaceWith(this.draw(message, this.talk.messages.at(-1) === message));
    if (follows) toEnd();
  }

  /** At the next frame, and not more often than there are frames. */
  drawSoon(element, message) {
    const now = performance.now();
    if (now - this.savedAt > SAVE_MS) {
      this.savedAt = now;
      this.talk.save();
    }
    if (element.planned) return;
    element.planned = true;
    requestAnimationFrame(() => {
      element.planned = false;
      const follows = isAtEnd();
      element.fill(message);
      if (follows) toEnd();
    });
  }

  draw(message, isLast, isRunning = false) {
    if (message.role === "user") {
      return h("article", { class: "mine", "aria-label": "You" }, h("p", { class: "said" }, message.content));
    }
    const text = h("div", { class: "markdown" });
    const thought = h("p", { class: "said" });
    const thinking = h("details", { class: "thinking" }, h("summary", {}, "Thinking"), thought);
    const who = h("p", { class: "who" });
    const element = h("article", { class: "theirs", "aria-label": "Answer" }, who, thinking, text);
    element.fill = (now) => {
      setText(who, now.model || (isRunning ? "waiting for a model…" : "no model"));
      thinking.hidden = !now.thinking;
      if (!isRunning && !now.content) thinking.open = true;
      setText(thinking.firstChild, now.content || !isRunning ? "Thinking" : "Thinking…");
      setText(thought, now.thinking ?? "");
      show(text, now.content);
    };
    element.fill(message);
    if (!isRunning) element.append(...this.foot(message, isLast));
    return element;
  }

  foot(message, isLast) {
    const note = message.note && h("p", { class: message.failed ? "bad" : "soft", role: message.failed ? "alert" : null }, message.note);
    const perSecond = message.tokens > 1 && message.seconds > 0.02 ? message.tokens / message.seconds : 0;
    const facts = [message.route, message.tokens && `${message.tokens} tokens`, rate(perSecond)].filter(Boolean).join(" · ");
    const actions = h("div", { class: "actions" }, facts && h("span", { class: "soft" }, facts));
    if (message.content) actions.append(copyButton(() => message.content, "Copy", "this answer"));
    if (message.id) actions.append(h("button", { type: "button", class: "quiet", onclick: () => this.openRequest(message.id) }, "Details"));
    if (isLast) actions.append(h("button", { type: "button", class: "quiet", onclick: () => this.again() }, message.failed ? "Try again" : "Regenerate"));
    return [note, actions].filter(Boolean);
  }
}

function isAtEnd() {
  const box = $("talk");
  return box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_PX;
}

function toEnd() {
  $("talk").scrollTop = $("talk").scrollHeight;
}

function ended(message, finish) {
  if (finish === "length") return "Cut off at the limit of tokens; raise it under Settings.";
  if (!message.content && !message.thinking) return "The model ended without a word.";
  return finish === "content_filter" ? "Cut off by the model's filter." : "";
}

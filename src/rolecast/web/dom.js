/** Elements from plain values. Text is only ever set as text, so nothing that a model or a log says becomes markup. */

/** @param {string} id */
export const $ = (id) => document.getElementById(id);

/**
 * An element. Properties that begin with `on` are listeners, `class` is its class, the rest are attributes
 * (`false`, `null` and `undefined` leave them out). Children are nodes and texts.
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null && child !== false));
  return element;
}

/** Sets text, class or attribute only where that changes something: selection, focus and readers stay undisturbed. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setAttribute(element, name, value) {
  if (value == null || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/**
 * Makes the children of `parent` show `items` in that order; an item keeps its element as long as it is shown.
 * @param {(item: any) => string} keyOf
 * @param {(item: any) => HTMLElement & {update: (item: any) => void}} make
 */
export function keep(parent, items, keyOf, make) {
  const old = new Map([...parent.children].map((element) => [element.key, element]));
  items.forEach((item, at) => {
    const key = keyOf(item);
    let element = old.get(key);
    old.delete(key);
    if (!element) {
      element = make(item);
      element.key = key;
    }
    element.update(item);
    if (parent.children[at] !== element) parent.insertBefore(element, parent.children[at] ?? null);
  });
  for (const element of old.values()) element.remove();
}

/** Copies text; where the browser offers no clipboard (plain HTTP from another machine), by way of a selection. */
export async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = document.body.appendChild(h("textarea", { class: "offscreen", "aria-hidden": "true" }));
  field.value = text;
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  if (!done) throw new Error("the browser does not allow it");
}

/** A button that copies what `text()` gives, and says so for a moment. */
export function copyButton(text, label = "Copy", what = "") {
  const button = h("button", { type: "button", class: "quiet", "aria-label": what && `${label} ${what}` }, label);
  button.addEventListener("click", async () => {
    try {
      await copy(text());
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not allowed";
    }
    setTimeout(() => (button.textContent = label), 1500);
  });
  return button;
}

/** Saves text as a file of that name. */
export function save(name, text, type = "text/plain") {
  const address = URL.createObjectURL(new Blob([text], { type }));
  h("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

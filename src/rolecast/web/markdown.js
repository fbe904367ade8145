/**
 * Markdown to elements, while it grows. What is not understood is shown as it was written: no text is lost, HTML is
 * text, and every node is made here, so there is nothing that could be run. Knows nothing of chats.
 */
import { copyButton, h } from "./dom.js";

const DEEPEST = 8;
const FENCE = /^( {0,3})(`{3,}|~{3,})[ \t]*(.*)$/;
const HEADING = /^ {0,3}(#{1,6})[ \t]+(.+)$/;
const RULE = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])(?:( +)(.*)|)$/;
const DASHES = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;

/**
 * Shows `text` in `parent`. Blocks that did not change keep their elements, so a growing answer does not flicker.
 * @param {HTMLElement} parent
 * @param {string} text
 */
export function show(parent, text) {
  const found = blocks(text.split("\n"), 0);
  found.forEach((block, at) => {
    const shown = parent.children[at];
    const source = JSON.stringify(block);
    if (shown?.source === source) return;
    if (shown && block.kind === "code" && shown.kind === "code" && shown.info === block.info) {
      shown.code.textContent = block.text;
      shown.source = source;
      return;
    }
    const element = draw(block);
    Object.assign(element, { source, kind: block.kind });
    if (shown) shown.replaceWith(element);
    else parent.append(element);
  });
  while (parent.children.length > found.length) parent.lastElementChild.remove();
}

// -- blocks ------------------------------------------------------------------------------------------------------

/** The blocks in these lines, as plain values. */
function blocks(lines, depth) {
  const found = [];
  let at = 0;
  while (at < lines.length) {
    if (!lines[at].trim()) {
      at += 1;
      continue;
    }
    const [block, next] = fence(lines, at) ?? line(lines, at) ?? nested(lines, at, depth) ?? table(lines, at) ?? paragraph(lines, at, depth);
    found.push(block);
    at = next;
  }
  return found;
}

function fence(lines, at) {
  const open = opensFence(lines[at]);
  if (!open) return null;
  const [, indent, mark, info] = open;
  const close = new RegExp(`^ {0,3}\\${mark[0]}{${mark.length},}[ \\t]*$`);
  const strip = new RegExp(`^ {0,${indent.length}}`);
  let end = at + 1;
  while (end < lines.length && !close.test(lines[end])) end += 1;
  const text = lines.slice(at + 1, end).map((each) => each.replace(strip, "")).join("\n");
  return [{ kind: "code", info: info.trim(), text }, end + 1];
}

function opensFence(text) {
  const open = FENCE.exec(text);
  return open && !(open[2][0] === "`" && open[3].includes("`")) ? open : null;
}

function line(lines, at) {
  if (RULE.test(lines[at])) return [{ kind: "rule" }, at + 1];
  const heading = HEADING.exec(lines[at]);
  return heading && [{ kind: "heading", level: heading[1].length, text: heading[2] }, at + 1];
}

function nested(lines, at, depth) {
  if (depth >= DEEPEST) return null;
  return quote(lines, at, depth) ?? list(lines, at, depth);
}

function quote(lines, at, depth) {
  let end = at;
  while (end < lines.length && QUOTE.test(lines[end])) end += 1;
  if (end === at) return null;
  return [{ kind: "quote", blocks: blocks(lines.slice(at, end).map((each) => each.replace(QUOTE, "")), depth + 1) }, end];
}

function list(lines, at, depth) {
  const first = ITEM.exec(lines[at]);
  if (!first) return null;
  const mark = first[2].at(-1);
  const items = [];
  let end = at;
  for (let item = first; item && item[2].at(-1) === mark && !RULE.test(lines[end]); item = end < lines.length ? ITEM.exec(lines[end]) : null) {
    const width = item[1].length + item[2].length + Math.min(item[3]?.length ?? 1, 4);
    const content = [lines[end].slice(width)];
    end += 1;
    end = gather(lines, end, width, content);
    items.push({ number: parseInt(item[2], 10), blocks: blocks(content, depth + 1) });
  }
  return [{ kind: "list", ordered: mark === "." || mark === ")", items }, end];
}

/** Takes into `content` what belongs to an item whose text begins at `width`; gives the line after it. */
function gather(lines, from, width, content) {
  let end = from;
  while (end < lines.length) {
    const indent = lines[end].search(/\S/);
    const blank = indent < 0;
    if (blank) {
      let next = end;
      while (next < lines.length && !lines[next].trim()) next += 1;
      const goesOn = next < lines.length && (lines[next].search(/\S/) >= Math.min(width, 2) || ITEM.test(lines[next]));
      if (!goesOn) break;
      if (lines[next].search(/\S/) < Math.min(width, 2)) return next;
    } else if (indent < Math.min(width, 2) && begins(lines, end)) {
      break;
    }
    content.push(blank ? "" : lines[end].slice(Math.min(indent, width)));
    end += 1;
  }
  return end;
}

function begins(lines, at) {
  const text = lines[at];
  return Boolean(opensFence(text) || RULE.test(text) || HEADING.test(text) || QUOTE.test(text) || ITEM.test(text) || isTable(lines, at));
}

function isTable(lines, at) {
  const [head, dashes] = [lines[at], lines[at + 1] ?? ""];
  return head.includes("|") && dashes.includes("|") && DASHES.test(dashes);
}

function table(lines, at) {
  if (!isTable(lines, at)) return null;
  let end = at + 2;
  while (end < lines.length && lines[end].includes("|") && lines[end].trim()) end += 1;
  return [{ kind: "table", head: cells(lines[at]), rows: lines.slice(at + 2, end).map(cells) }, end];
}

function cells(row) {
  const text = row.trim().replace(/^\|/, "").replace(/(^|[^\\])\|$/, "$1");
  return text.split(/(?<!\\)\|/).map((cell) => cell.trim());
}

function paragraph(lines, at, depth) {
  let end = at + 1;
  while (end < lines.length && lines[end].trim() && !(depth < DEEPEST && begins(lines, end))) end += 1;
  return [{ kind: "paragraph", text: lines.slice(at, end).join("\n") }, end];
}

// -- elements ----------------------------------------------------------------------------------------------------

function draw(block) {
  switch (block.kind) {
    case "code":
      return drawCode(block);
    case "rule":
      return h("hr");
    case "heading":
      return h(`h${Math.min(6, block.level + 2)}`, {}, ...inline(block.text));
    case "quote":
      return h("blockquote", {}, ...block.blocks.map(draw));
    case "list":
      return drawList(block);
    case "table":
      return drawTable(block);
    default:
      return h("p", {}, ...inline(block.text));
  }
}

/** Numbers are shown as they were written, unless all are the same, which means: count them. */
function drawList({ ordered, items }) {
  if (!ordered) return h("ul", {}, ...items.map((item) => drawItem(item, null)));
  const counted = items.every((item) => item.number === items[0].number);
  return h("ol", {}, ...items.map((item, at) => drawItem(item, counted ? item.number + at : item.number)));
}

function drawItem({ blocks: [first, ...rest] }, value) {
  const begin = first?.kind === "paragraph" ? inline(first.text) : first ? [draw(first)] : [];
  return h("li", { value }, ...begin, ...rest.map(draw));
}

function drawCode(block) {
  const code = h("code", {}, block.text);
  const bar = h("div", { class: "bar" }, h("span", {}, block.info), copyButton(() => code.textContent, "Copy", "this code"));
  return Object.assign(h("div", { class: "code" }, bar, h("pre", { tabindex: "0" }, code)), { code, info: block.info });
}

function drawTable({ head, rows }) {
  const row = (tag, texts) => h("tr", {}, ...texts.map((text) => h(tag, {}, ...inline(text))));
  return h("div", { class: "wide", tabindex: "0" }, h("table", {}, h("thead", {}, row("th", head)), h("tbody", {}, ...rows.map((texts) => row("td", texts)))));
}

// -- inside a line -----------------------------------------------------------------------------------------------

const PAIRS = { "**": "strong", __: "strong", "~~": "del", "*": "em", _: "em" };
const ADDRESS = /https?:\/\/[^\s<>"`|]+/y;
const LONGEST_LINK = 2000;

/** The nodes of one text; also of a very long or hostile one, in about linear time. */
export function inline(text, depth = 0) {
  const nodes = [];
  const hopeless = new Set(); // marks that are not closed before the end: not looked for again
  let plain = "";
  const add = (node) => {
    if (plain) nodes.push(document.createTextNode(plain));
    plain = "";
    nodes.push(node);
  };
  let at = 0;
  while (at < text.length) {
    const found = depth < DEEPEST ? special(text, at, hopeless, depth) : null;
    if (!found) {
      plain += text[at];
      at += 1;
    } else if (typeof found.node === "string") {
      plain += found.node;
      at = found.end;
    } else {
      add(found.node);
      at = found.end;
    }
  }
  if (plain) nodes.push(document.createTextNode(plain));
  return nodes;
}

function special(text, at, hopeless, depth) {
  switch (text[at]) {
    case "\\":
      return "*_`~#|".includes(text[at + 1] || " ") ? { node: text[at + 1], end: at + 2 } : null;
    case "`":
      return codeSpan(text, at, hopeless);
    case "*":
    case "_":
    case "~":
      return emphasis(text, at, hopeless, depth);
    case "[":
      return link(text, at, depth);
    case "h":
      return address(text, at);
    default:
      return null;
  }
}

function run(text, at) {
  let end = at;
  while (text[end] === text[at]) end += 1;
  return end;
}

function codeSpan(text, at, hopeless) {
  const end = run(text, at);
  const mark = text.slice(at, end);
  if (!hopeless.has(mark)) {
    for (let close = text.indexOf("`", end); close >= 0; ) {
      const after = run(text, close);
      if (after - close === mark.length) {
        const inside = text.slice(end, close);
        const padded = inside.startsWith(" ") && inside.endsWith(" ") && inside.trim();
        return { node: h("code", {}, padded ? inside.slice(1, -1) : inside), end: after };
      }
      close = text.indexOf("`", after);
    }
    hopeless.add(mark);
  }
  return { node: mark, end };
}

const isWord = (character) => character !== undefined && /[\p{L}\p{N}]/u.test(character);
const isSpace = (character) => character === undefined || /\s/.test(character);

function emphasis(text, at, hopeless, depth) {
  const sign = text[at];
  const length = run(text, at) - at;
  for (const mark of [sign + sign, sign]) {
    if (mark.length > length || !PAIRS[mark] || hopeless.has(mark)) continue;
    const from = at + mark.length;
    if (isSpace(text[from]) || (sign === "_" && isWord(text[at - 1]))) continue;
    const close = closing(text, from, mark);
    if (close < 0) hopeless.add(mark);
    else if (close > from) return { node: h(PAIRS[mark], {}, ...inline(text.slice(from, close), depth + 1)), end: close + mark.length };
  }
  return { node: text.slice(at, at + length), end: at + length };
}

/** Where `mark` is closed, code spans left aside; -1 when it is not. */
function closing(text, from, mark) {
  const sign = mark[0];
  for (let at = from; at < text.length; ) {
    if (text[at] === "\\") at += 2;
    else if (text[at] === "`") {
      const end = run(text, at);
      const close = text.indexOf(text.slice(at, end), end);
      at = close < 0 ? end : run(text, close);
    } else if (text[at] !== sign) at += 1;
    else {
      const end = run(text, at);
      const fits = mark.length === 1 ? (end - at) % 2 === 1 : end - at >= 2;
      const closes = !isSpace(text[at - 1]) && at > from && !(sign === "_" && isWord(text[end]));
      if (fits && closes) return end - mark.length;
      at = end;
    }
  }
  return -1;
}

function link(text, at, depth) {
  const middle = text.slice(at, at + LONGEST_LINK);
  const found = /^\[((?:[^[\]\\]|\\.|\[[^[\]]*\])+)\]\(<?((?:[^\s()<>]|\([^\s()<>]*\))+)>?(?:\s+"([^"]*)")?\)/.exec(middle);
  if (!found || !/^(https?:\/\/|mailto:)/i.test(found[2])) return null;
  return { node: anchor(found[2], inline(found[1], Math.max(depth + 1, DEEPEST - 2)), found[3]), end: at + found[0].length };
}

function address(text, at) {
  if (isWord(text[at - 1])) return null;
  ADDRESS.lastIndex = at;
  const found = ADDRESS.exec(text);
  if (!found) return null;
  let url = found[0].replace(/[.,;:!?*_~'"\]}]+$/, "");
  if (url.endsWith(")") && !url.includes("(")) url = url.replace(/[).,;:!?]+$/, "");
  return { node: anchor(url, [url]), end: at + url.length };
}

const anchor = (url, content, title) => h("a", { href: url, target: "_blank", rel: "noopener noreferrer", title: title ?? (content[0] === url ? null : url) }, ...content);

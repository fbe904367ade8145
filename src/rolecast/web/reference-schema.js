/** What a request takes and an answer gives, as lists of fields. Reads JSON Schema as OpenAPI 3.1 has it. */
import { h } from "./dom.js";

/** Text in which `code` is marked. */
export function words(text) {
  return text.split("`").map((part, at) => (at % 2 ? h("code", {}, part) : part));
}

/** What a reference means. */
function meant(whole, thing) {
  const path = thing?.$ref?.startsWith("#/") ? thing.$ref.slice(2).split("/") : null;
  return path ? path.reduce((found, step) => found?.[step], whole) : thing;
}

const nameOf = (schema) => schema?.$ref?.split("/").pop() ?? "";

export function parameters(whole, operation) {
  if (!operation.parameters?.length) return null;
  const items = operation.parameters.map((each) =>
    h("li", {}, h("code", {}, each.name), " ", h("span", { class: "type" }, `${type(each.schema)}, in the ${each.in}`), each.description ? `: ${each.description}` : ""),
  );
  return h("div", {}, h("h3", {}, "Parameters"), h("ul", { class: "fields-of" }, ...items));
}

export function body(whole, operation) {
  const content = operation.requestBody?.content?.["application/json"];
  if (!content) return null;
  return h("div", {}, h("h3", {}, "Body"), opened(shape(whole, content.schema)));
}

export function answers(whole, operation) {
  const list = h("dl", { class: "statuses" });
  for (const [status, given] of Object.entries(operation.responses)) {
    const answer = meant(whole, given);
    list.append(h("dt", { class: status < 400 ? "good" : "soft" }, status), h("dd", {}, ...told(whole, answer)));
  }
  return list;
}

function told(whole, answer) {
  const parts = Object.entries(answer.content ?? {}).map(([media, { schema }]) => {
    const fields = shape(whole, schema);
    return h("div", {}, h("span", { class: "type" }, `${media} `), fields);
  });
  return [answer.description, ...parts];
}

/** A schema: its fields where it has some, else its type. An object within is opened by who looks. */
function shape(whole, schema) {
  const inner = meant(whole, schema) ?? {};
  if (inner.properties) return unfolding(nameOf(schema) || "object", () => fields(whole, inner));
  const choices = inner.anyOf?.filter((each) => meant(whole, each)?.properties) ?? [];
  if (choices.length) {
    return unfolding(type(inner), () => h("div", {}, ...choices.map((each) => fields(whole, meant(whole, each), choices.length > 1 && nameOf(each)))));
  }
  const items = inner.items && meant(whole, inner.items);
  if (items?.properties) return unfolding(type(inner), () => fields(whole, items));
  const values = inner.additionalProperties && meant(whole, inner.additionalProperties);
  if (values?.properties) return unfolding(`object of ${nameOf(inner.additionalProperties)}`, () => fields(whole, values));
  if (inner.contentSchema) return h("span", {}, h("span", { class: "type" }, "text that holds "), shape(whole, inner.contentSchema));
  return h("span", { class: "type" }, type(inner));
}

function unfolding(name, make) {
  const element = h("details", {}, h("summary", {}, name));
  element.addEventListener("toggle", () => element.open && element.children.length === 1 && element.append(make()));
  return element;
}

/** The same, open at once: what a request takes is what people come for. */
function opened(element) {
  if (element?.tagName === "DETAILS") element.open = true; // its toggle fills it
  return element;
}

/** The fields of an object, those that are needed first. */
function fields(whole, schema, name = "") {
  const needed = new Set(schema.required ?? []);
  const sorted = Object.entries(schema.properties).sort(([one], [other]) => needed.has(other) - needed.has(one));
  const lines = sorted.map(([name, each]) => {
    const needs = needed.has(name) ? h("span", { class: "needed" }, "needed ") : null;
    return h("li", {}, h("code", {}, name), " ", needs, shape(whole, each), rules(each));
  });
  const about = schema.description && h("p", { class: "soft" }, ...words(schema.description));
  return h("div", {}, name && h("code", {}, name), about, h("ul", { class: "fields-of" }, ...lines));
}

/** The limits of a value, in words. */
function rules(schema) {
  const range = [schema.minimum, schema.maximum];
  const parts = [
    range.every((end) => end != null) ? `${range[0]} to ${range[1]}` : range[0] != null ? `from ${range[0]}` : range[1] != null ? `up to ${range[1]}` : "",
    schema.maxLength != null && `at most ${schema.maxLength} characters`,
    schema.maxItems != null && `at most ${schema.maxItems}`,
    schema.default != null && schema.default !== 0 && `else ${JSON.stringify(schema.default)}`,
  ].filter(Boolean);
  return parts.length ? h("span", { class: "type" }, `, ${parts.join(", ")}`) : null;
}

/** A type in a few words. What may be left out may mostly be null as well, and that is not said each time. */
function type(schema) {
  if (!schema || !Object.keys(schema).length) return "any JSON";
  if (schema.$ref) return nameOf(schema);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" or ");
  if (schema.const != null) return JSON.stringify(schema.const);
  if (schema.anyOf) return schema.anyOf.filter(({ type: name }) => name !== "null").map(type).join(" or ");
  const names = [schema.type].flat().filter((name, at, all) => name !== "null" || all.length === 1).map((name) => (name === "array" && schema.items ? `list of ${type(schema.items)}` : name));
  return names.join(" or ");
}

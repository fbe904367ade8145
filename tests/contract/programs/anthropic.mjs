// Anthropic's official client for Node: what it offers, asked of the gateway at argv[2] with the key argv[3].
import Anthropic from "@anthropic-ai/sdk";

const [url, key] = process.argv.slice(2);
const client = new Anthropic({ baseURL: url, apiKey: key, maxRetries: 0 });
const model = "smollm2-135m";
const messages = [{ role: "user", content: "Name a colour." }];
const usual = { model, messages, max_tokens: 8, temperature: 0 };
const input_schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = [{ name: "get_weather", description: "The weather.", input_schema }];
const told = { errors: {} };

const whole = await client.messages.create(usual);
told.whole = [whole.content[0].text, whole.usage.input_tokens, whole.usage.output_tokens, whole.stop_reason];

const stream = client.messages.stream(usual);
let text = "";
stream.on("text", (piece) => {
  text += piece;
});
const last = await stream.finalMessage();
told.streamed = [text, last.usage.input_tokens, last.usage.output_tokens, last.stop_reason];

const history = [{ role: "user", content: "call it" }];
const called = await client.messages.stream({ model: "scripted", max_tokens: 64, messages: history, tools }).finalMessage();
const call = called.content[0];
history.push({ role: "assistant", content: called.content });
history.push({ role: "user", content: [{ type: "tool_result", tool_use_id: call.id, content: "sunny" }] });
const after = await client.messages.create({ model: "scripted", max_tokens: 64, messages: history, tools });
told.tools = [call.name, call.input, after.content[0].text];

const schema = {
  type: "object",
  properties: { colour: { type: "string", enum: ["red", "green", "blue"] } },
  required: ["colour"],
  additionalProperties: false,
};
const format = { type: "json_schema", schema };
const bound = await client.messages.create({ ...usual, max_tokens: 60, output_config: { format } });
told.schema = JSON.parse(bound.content[0].text);

told.counted = (await client.messages.countTokens({ model, messages })).input_tokens;
told.listed = [];
for await (const card of client.models.list()) told.listed.push(card.id);

async function failed(name, ask) {
  try {
    await ask();
    told.errors[name] = "nothing";
  } catch (error) {
    told.errors[name] = [error.constructor.name, error.status, Boolean(error.requestID)];
  }
}
const asks = (fields) => () => client.messages.create({ ...usual, ...fields });
await failed("unknown", asks({ model: "nobody" }));
await failed("unknown streamed", asks({ model: "nobody", stream: true }));
await failed("long", asks({ messages: [{ role: "user", content: "word ".repeat(3000) }] }));
await failed("crowded", asks({ model: "crowded" }));
await failed("off", asks({ model: "off" }));
const stranger = new Anthropic({ baseURL: url, apiKey: "wrong", maxRetries: 0 });
await failed("stranger", () => stranger.messages.create(usual));

const endless = await client.messages.create({
  model: "coding",
  max_tokens: 5000,
  messages: [{ role: "user", content: "endless" }],
  stream: true,
});
for await (const event of endless) {
  if (event.type === "content_block_delta") break; // leaves the stream
}
console.log(JSON.stringify(told));

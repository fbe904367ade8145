// OpenAI's official client for Node: what it offers, asked of the gateway at argv[2] with the key argv[3].
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const [url, key] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
const model = "smollm2-135m";
const messages = [{ role: "user", content: "Name a colour." }];
const usual = { model, messages, max_tokens: 8, temperature: 0 };
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = [{ type: "function", function: { name: "get_weather", parameters } }];
const told = { errors: {} };

const whole = await client.chat.completions.create(usual);
told.whole = [whole.choices[0].message.content, whole.usage.prompt_tokens, whole.usage.completion_tokens];

const stream = await client.chat.completions.create({ ...usual, stream: true, stream_options: { include_usage: true } });
let text = "";
let usage = null;
for await (const chunk of stream) {
  text += chunk.choices[0]?.delta.content ?? "";
  usage = chunk.usage ?? usage;
}
told.streamed = [text, usage.prompt_tokens, usage.completion_tokens];

const history = [{ role: "user", content: "call it" }];
const runner = client.chat.completions.stream({ model: "scripted", messages: history, tools });
const called = await runner.finalMessage();
const call = called.tool_calls[0];
history.push(called, { role: "tool", tool_call_id: call.id, content: "sunny" });
const after = await client.chat.completions.create({ model: "scripted", messages: history, tools });
told.tools = [call.function.name, JSON.parse(call.function.arguments), after.choices[0].message.content];

const shape = z.object({ colour: z.enum(["red", "green", "blue"]) });
const response_format = zodResponseFormat(shape, "colour");
const parsed = await client.chat.completions.parse({ ...usual, max_tokens: 60, response_format });
told.schema = parsed.choices[0].message.parsed;

const responses = { model, input: "Name a colour.", max_output_tokens: 8, temperature: 0 };
const response = await client.responses.create(responses);
told.response = [response.output_text, response.usage.input_tokens, response.usage.output_tokens];
const events = client.responses.stream(responses);
told.response_streamed = (await events.finalResponse()).output_text;

told.vectors = (await client.embeddings.create({ model: "minilm", input: ["a", "b"] })).data.map(
  (each) => each.embedding.length,
);
told.completion = (await client.completions.create({ model, prompt: "Once upon", max_tokens: 4 })).choices[0].text;
told.listed = (await client.models.list()).data.map((each) => each.id);

async function failed(name, ask) {
  try {
    await ask();
    told.errors[name] = "nothing";
  } catch (error) {
    told.errors[name] = [error.constructor.name, error.status, Boolean(error.requestID)];
  }
}
const asks = (fields) => () => client.chat.completions.create({ ...usual, ...fields });
await failed("unknown", asks({ model: "nobody" }));
await failed("unknown streamed", asks({ model: "nobody", stream: true }));
await failed("long", asks({ messages: [{ role: "user", content: "word ".repeat(3000) }] }));
await failed("crowded", asks({ model: "crowded" }));
await failed("off", asks({ model: "off" }));
const stranger = new OpenAI({ baseURL: `${url}/v1`, apiKey: "wrong", maxRetries: 0 });
await failed("stranger", () => stranger.chat.completions.create(usual));

const endless = await client.chat.completions.create({
  model: "coding",
  messages: [{ role: "user", content: "endless" }],
  stream: true,
});
for await (const chunk of endless) {
  if (chunk.choices[0]?.delta.content) break; // leaves the stream
}
console.log(JSON.stringify(told));

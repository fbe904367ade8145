// The AI SDK with each of its providers that fits, asked of the gateway at argv[2] with the key argv[3].
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { createOllama } from "ai-sdk-ollama";
import { z } from "zod";

globalThis.AI_SDK_LOG_WARNINGS = false;
const [url, key] = process.argv.slice(2);

function providers(apiKey) {
  const headers = { authorization: `Bearer ${apiKey}` };
  return {
    openai: createOpenAICompatible({
      name: "rolecast",
      baseURL: `${url}/v1`,
      apiKey,
      includeUsage: true,
      supportsStructuredOutputs: true,
    }),
    anthropic: createAnthropic({ baseURL: `${url}/v1`, apiKey }),
    ollama: createOllama({ baseURL: url, headers }),
  };
}

const model = "smollm2-135m";
const usual = { prompt: "Name a colour.", maxOutputTokens: 8, temperature: 0, maxRetries: 0 };
const shape = z.object({ colour: z.enum(["red", "green", "blue"]) });
const weather = tool({
  description: "The weather.",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `sun${city}`,
});

async function ask(name, provider, stranger) {
  const told = { errors: {} };
  const whole = await generateText({ model: provider(model), ...usual });
  told.whole = [whole.text, whole.usage.inputTokens, whole.usage.outputTokens, whole.finishReason];

  const stream = streamText({ model: provider(model), ...usual });
  let text = "";
  for await (const piece of stream.textStream) text += piece;
  const usage = await stream.usage;
  told.streamed = [text, usage.inputTokens, usage.outputTokens, await stream.finishReason];

  const loop = { model: provider("scripted"), prompt: "call it", tools: { weather }, stopWhen: stepCountIs(2), maxRetries: 0 };
  const called = await generateText(loop);
  told.tools = [called.steps[0].toolCalls[0].toolName, called.steps[0].toolResults[0].output, called.text];
  const streamed = streamText(loop);
  told.tools_streamed = await streamed.text;

  const output = Output.object({ schema: shape });
  const binds = { ...usual, maxOutputTokens: 60, output };
  // This provider asks for JSON by a forced call for models whose names it does not know.
  const by = name === "anthropic" ? { model: provider("scripted") } : { model: provider(model) };
  told.schema = (await generateText({ ...binds, ...by })).output;

  const embedder = provider.textEmbeddingModel ?? provider.embeddingModel;
  if (embedder && name !== "anthropic") {
    const { embeddings } = await embedMany({ model: embedder("minilm"), values: ["a", "b"], maxRetries: 0 });
    told.vectors = embeddings.map((each) => each.length);
  }

  async function failed(kind, from, fields) {
    try {
      await generateText({ model: from(fields.model ?? model), ...usual, ...fields.more });
      told.errors[kind] = "nothing";
    } catch (error) {
      told.errors[kind] = [error.name, error.statusCode ?? error.cause?.status_code ?? null, error.isRetryable ?? null];
    }
  }
  await failed("unknown", provider, { model: "nobody" });
  await failed("long", provider, { more: { prompt: "word ".repeat(3000) } });
  await failed("crowded", provider, { model: "crowded" });
  await failed("off", provider, { model: "off" });
  await failed("stranger", stranger, {});
  return told;
}

const all = {};
const [ours, strangers] = [providers(key), providers("wrong")];
for (const name of Object.keys(ours)) {
  all[name] = await ask(name, ours[name], strangers[name]);
}
console.log(JSON.stringify(all));

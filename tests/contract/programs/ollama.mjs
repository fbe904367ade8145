// Ollama's official client for Node: what it offers, asked of the gateway at argv[2] with the key argv[3].
import { Ollama } from "ollama";
const [host, key] = process.argv.slice(2);
const client = new Ollama({ host, headers: { authorization: `Bearer ${key}` } });
const options = { num_predict: 8, temperature: 0, seed: 7 };
const told = {};
const messages = [{ role: "user", content: "Name a colour." }];
told.chat = (await client.chat({ model: "standard", messages, options })).message.content;
told.streamed = "";
for await (const piece of await client.chat({ model: "standard", messages, options, stream: true })) {
  told.streamed += piece.message.content;
}
const prompt = "Name a colour.";
told.generated = "";
for await (const piece of await client.generate({ model: "standard", prompt, options, stream: true })) {
  told.generated += piece.response;
}
told.vectors = (await client.embed({ model: "minilm", input: ["a", "b"] })).embeddings.map((v) => v.length);
told.listed = (await client.list()).models.map((m) => m.name);
told.shown = (await client.show({ model: "standard" })).capabilities;
told.loaded = (await client.ps()).models.length;
told.version = (await client.version()).version;
told.pulled = (await client.pull({ model: "standard" })).status;
try {
  await client.generate({ model: "nobody", prompt });
} catch (error) {
  told.error = [error.name, error.status_code];
}
const stopping = await client.chat({ model: "coding", messages: [{ role: "user", content: "endless" }], stream: true });
try {
  for await (const piece of stopping) {
    stopping.abort();
  }
} catch (error) {
  told.aborted = error.name;
}
console.log(JSON.stringify(told));

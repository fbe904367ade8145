"""Rolecast's own client: ask without naming a model, stream, embed. Needs a running gateway (`make up`).

Another address than port 8000 of this machine: `LLM_BASE_URL` or `ROLECAST_URL`.
"""

from rolecast import LLMClient

with LLMClient() as client:
    answer = client.chat_completion([{"role": "user", "content": "Name three rivers."}], max_tokens=60)
    print(answer.content, "\n--", answer.model, answer.usage)

    for delta in client.stream_chat([{"role": "user", "content": "Count to five."}], max_tokens=40):
        print(delta.content or "", end="", flush=True)

    near, far = client.embeddings(["a river in France", "a bug in a program"])
    print("\ncosine similarity:", round(sum(a * b for a, b in zip(near, far, strict=True)), 3))

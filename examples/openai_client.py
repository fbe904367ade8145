"""The official OpenAI client against Rolecast. Needs `pip install openai` and a running gateway (`make up`).

The gateway is looked for where Rolecast's own client looks: LLM_BASE_URL, AGENT_LLM_BASE_URL, ROLECAST_URL, else
port 8000.
"""

import os

from openai import OpenAI

names = ("LLM_BASE_URL", "AGENT_LLM_BASE_URL", "ROLECAST_URL")
address = next((value for name in names if (value := os.environ.get(name))), "http://localhost:8000")
client = OpenAI(
    base_url=address.rstrip("/").removesuffix("/v1") + "/v1",
    api_key=os.environ.get("ROLECAST_API_KEY") or "none-needed-on-loopback",
)

reply = client.chat.completions.with_raw_response.create(
    model="coding",  # a role; `auto`, an alias or a model's id do as well
    messages=[{"role": "user", "content": "Write a function that adds two numbers in Python."}],
    max_tokens=80,
)
print(reply.parse().choices[0].message.content)
print("--", reply.headers["x-rolecast-model"], "|", reply.headers["x-rolecast-route"])

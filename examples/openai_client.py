"""The official OpenAI client against Rolecast. Needs `pip install openai` and a running gateway (`make up`)."""

from openai import OpenAI

client = OpenAI(base_url="http://localhost:8000/v1", api_key="none-needed-on-loopback")

reply = client.chat.completions.with_raw_response.create(
    model="coding",  # a role; `auto`, an alias or a model's id do as well
    messages=[{"role": "user", "content": "Write a function that adds two numbers in Python."}],
    max_tokens=80,
)
print(reply.parse().choices[0].message.content)
print("--", reply.headers["x-rolecast-model"], "|", reply.headers["x-rolecast-route"])

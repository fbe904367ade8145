"""`look`: what a request is, from its words. Pure; knows no configuration and no model."""

from msgspec.structs import replace

from rolecast.decision import Facts
from rolecast.values import Chat, Completion, Embedding, Message, Ranking, Words


def of_words(facts: Facts, words: Words) -> Facts:
    """The same facts with all that the words tell."""
    if isinstance(words, Completion):
        return replace(facts, text=words.prompt if isinstance(words.prompt, str) else "")
    if isinstance(words, Embedding | Ranking):
        return facts
    return _of_chat(facts, words)


def _of_chat(facts: Facts, chat: Chat) -> Facts:
    asked = next((message for message in reversed(chat.messages) if message.role == "user"), None)
    return replace(facts, text=_text(asked) if asked is not None else "", tools=len(chat.tools))


def _text(message: Message) -> str:
    if isinstance(message.content, str):
        return message.content
    return "\n".join(part.text for part in message.content if part.kind == "text")

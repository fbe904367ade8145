# ruff: noqa: RUF001  # letters of other languages are meant
"""`of_words`: what a request is, from its words. Pure; knows no configuration and no model.

Holds for any words: what a client sent may have texts where nobody expects them, and none where one should be. The
work is bounded by what the model of the router reads, but for counting the length of a prompt.
"""

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from rolecast.decision import Facts
from rolecast.routing import harness, tokens
from rolecast.routing.code import holds_code
from rolecast.routing.language import of_text as language_of
from rolecast.values import Chat, Completion, Embedding, Message, Ranking, Words

HEAD, TAIL = 8192, 8192
"""Of a long text so many characters at its beginning and at its end are kept: what is pasted stands between."""
SYSTEM_HEAD, SYSTEM_TAIL = 4096, 1024
SYSTEM = ("system", "developer")
SHORT = 40
"""A text that is longer says something."""
_BARE = """
    yes, yeah, yep, yup, yes please, please, sure, ok, okay, kk, alright, right, correct, exactly, fine, great,
    perfect, good, sounds good, no, nope, go, go on, go ahead, continue, please continue, proceed, carry on,
    keep going, resume, next, more, and more, again, try again, retry, do it, please do, done, confirm, confirmed,
    approved, and, and then, then, so, ja, ja bitte, bitte, nein, doch, weiter, mach weiter, bitte weiter, gerne,
    genau, passt, los, nochmal, noch mal, mehr, oui, non, vas-y, allez, continuez, d'accord, encore, suite,
    la suite, plus, sí, si, sigue, continúa, continua, adelante, vale, dale, claro, más, otra vez, de acuerdo, sì,
    vai, avanti, vai avanti, va bene, ancora, certo, sim, não, pode ser, mais, siga, nee, ga door, ga verder,
    verder, meer, graag, tak, nie, dalej, kontynuuj, jeszcze, ano, ne, pokračuj, dál, evet, hayır, devam, devam et,
    tamam, да, нет, дальше, продолжай, продолжи, продолжить, ок, хорошо, ещё, еще, давай, так, ні, далі, продовжуй,
    好的, 是的, 继续, 请继续, 可以, 下一步, はい, いいえ, うん, 続けて, 続き, お願いします,
    아니요, 계속, 계속해, 계속해줘, 다음, نعم, لا, تابع, استمر, أكمل,
    حسنا, हाँ, हां, नहीं, आगे, जारी रखें, ठीक है, có, không, vâng, tiếp, tiếp tục
"""
BARE = frozenset(each.strip() for each in _BARE.split(","))
"""Words that only mean: go on. What they are about was said before."""


def of_words(facts: Facts, words: Words) -> Facts:
    """The same facts with all that the words tell."""
    if isinstance(words, Chat):
        return _of_chat(facts, words)
    if isinstance(words, Completion):
        return _of_completion(facts, words)
    if isinstance(words, Embedding | Ranking):
        return facts
    return facts


def length_of(facts: Facts, words: Words) -> Facts:
    """The same facts with how long prompt and answer are, and nothing else."""
    if isinstance(words, Completion):
        return replace(facts, tokens=_tokens_of_completion(words, ""), answer_tokens=_answer_tokens(words))
    if isinstance(words, Chat):
        return replace(facts, tokens=_tokens_of_chat(words, ""), answer_tokens=_answer_tokens(words))
    return facts


def opening(chat: Chat) -> tuple[str, str]:
    """The system prompt and what the user said first, whole: what all turns of a conversation begin with.

    What a program put around it is left out: all conversations of an agent may begin with that, and it may change.
    """
    leading = next((i for i, m in enumerate(chat.messages) if m.role not in SYSTEM), len(chat.messages))
    said = (words for m in chat.messages if m.role == "user" and (words := harness.spoken(_text(m))))
    return _system(chat.messages[:leading]), next(said, "")


def _of_completion(facts: Facts, words: Completion) -> Facts:
    if not isinstance(words.prompt, str):
        return length_of(facts, words)
    text = clipped(words.prompt, HEAD, TAIL)
    language = language_of(text)
    return replace(
        facts,
        text=text,
        language=language,
        tokens=_tokens_of_completion(words, language),
        answer_tokens=_answer_tokens(words),
        code=holds_code(text),
        schema=words.answer_schema is not None or "json_schema" in words.extra,
    )


def _of_chat(facts: Facts, chat: Chat) -> Facts:
    messages = chat.messages
    aside = _side_task(chat)
    text = clipped(aside or _asked(messages), HEAD, TAIL)
    language = language_of(text)
    if aside:  # it asks for something about a conversation, whose words say nothing of who should do it
        text = text.partition(harness.HISTORY)[0]
    return replace(
        facts,
        text=text,
        background=aside != "",
        conversation="" if aside else facts.conversation,
        system=clipped(_system(messages), SYSTEM_HEAD, SYSTEM_TAIL),
        language=language,
        tokens=_tokens_of_chat(chat, language),
        answer_tokens=_answer_tokens(chat),
        turns=sum(message.role == "user" and harness.is_spoken(_text(message)) for message in messages),
        tools=len(chat.tools),
        images=_media(messages).count("image"),
        code=holds_code(text),
        schema=chat.answer_schema is not None or "json_schema" in chat.extra,
        open_call=_open_call(messages),
    )


def _answer_tokens(words: Chat | Completion) -> int:
    most = words.sampling.max_tokens
    return max(0, most) if isinstance(most, int) else 0


def _tokens_of_completion(words: Completion, language: str) -> int:
    if not isinstance(words.prompt, str):
        return len(words.prompt)
    return round(tokens.of_texts([words.prompt, words.suffix] if words.suffix else [words.prompt], language))


def _tokens_of_chat(chat: Chat, language: str) -> int:
    estimate = tokens.of_texts(list(_all_texts(chat.messages)), language) + tokens.PER_MESSAGE * len(chat.messages)
    return round(estimate + tokens.PER_MEDIUM * len(_media(chat.messages)) + _weight_of_tools(chat))


def _media(messages: Sequence[Message]) -> list[str]:
    """The kinds of all parts that are no texts."""
    return [part.kind for m in messages if isinstance(m.content, tuple) for part in m.content if part.kind != "text"]


def clipped(text: str, head: int, tail: int) -> str:
    """A text, or its beginning and its end."""
    return text if len(text) <= head + tail else f"{text[:head]}\n{text[-tail:]}"


def _asked(messages: Sequence[Message]) -> str:
    """The user's last words that say something; else the last ones, else what the system asks for.

    Nobody asks anything where a program alone speaks in the user's name.
    """
    last, speaks = "", False
    for message in reversed(messages):
        if message.role == "user":
            whole = _text(message)
            text = harness.spoken(whole)
            if not _is_bare(text):
                return text
            last, speaks = last or text, speaks or not harness.is_spoken(whole)
    return last if last or speaks else _system(messages)


def _side_task(chat: Chat) -> str:
    """The words with which a program asks for something of its own beside a conversation; '' when it does not."""
    messages = chat.messages
    if chat.tools or not messages or any(message.role in ("assistant", "tool", "function") for message in messages):
        return ""
    systems = [_text(message) for message in messages if message.role in SYSTEM]
    text = next((_text(message) for message in reversed(messages) if message.role == "user"), "")
    if not harness.is_side_task(text, systems):
        return ""
    return text if harness.is_side_task(text, ()) else systems[0]


def _is_bare(text: str) -> bool:
    """Whether a text says nothing by itself: it is empty, a sign, an option of several, or means `go on`."""
    if len(text) > SHORT:
        return False
    word = text.strip(" \t\r\n.,!?…。！？、*\"'`()").lower()
    return len(word) <= 1 or word in BARE or not any(letter.isalnum() for letter in word)


def _text(message: Message) -> str:
    content = message.content
    if isinstance(content, str):
        return content
    if not isinstance(content, tuple):
        return ""
    return "\n".join(part.text for part in content if part.kind == "text" and isinstance(part.text, str))


def _system(messages: Sequence[Message]) -> str:
    texts = [_text(message) for message in messages if message.role in SYSTEM]
    return texts[0] if len(texts) == 1 else "\n\n".join(texts)


def _all_texts(messages: Sequence[Message]) -> Iterable[str]:
    """All that the model reads of these messages; thoughts of earlier turns are left out by most templates."""
    for message in messages:
        yield _text(message)
        for call in message.tool_calls:
            yield call.name
            yield call.arguments


def _weight_of_tools(chat: Chat) -> float:
    """Tokens of what comes as JSON or is put into it."""
    size = sum(len(bytes(tool.parameters)) + len(tool.name) + _length(tool.description) + 40 for tool in chat.tools)
    return tokens.TOOL_SHARE * size


def _length(text: object) -> int:
    return len(text) if isinstance(text, str) else 0


def _open_call(messages: Sequence[Message]) -> bool:
    """Whether the model, since it called a tool, has said nothing: results are missing, or not answered yet."""
    for message in reversed(messages):
        if message.role in ("tool", "function"):
            return True
        if message.role == "assistant":
            return bool(message.tool_calls)
    return False

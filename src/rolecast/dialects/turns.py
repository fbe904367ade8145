"""The turns of a conversation as chat templates take them.

Most know one system message, at the beginning, and turns that alternate. Of anything else some make an error, and some
drop it without a word. What the system says later stays at its place, in the mouth of the user: moved to the
beginning it would change the prompt from there on with each of them, and no engine could go on from what it has read.
"""

from collections.abc import Iterable

import msgspec

from rolecast.values import Message, Part

SYSTEM = ("system", "developer")
_TAG = "system-reminder"
"""Agents have told their models what stands in it."""
Content = str | tuple[Part, ...]


def settled(messages: Iterable[Message]) -> list[Message]:
    """One system message at the beginning at most, and no two of the user's or of a model's in a row."""
    found: list[Message] = []
    for message in placed(messages):
        join(found, message)
    return found


def placed(messages: Iterable[Message]) -> list[Message]:
    """One system message at the beginning at most; what is said later is the user's, behind the results of calls."""
    found: list[Message] = []
    waiting: Content = ""
    """What the system said behind calls: their results come first."""
    for message in map(_without_empty, messages):
        if message.role not in SYSTEM:
            if waiting and message.role == "assistant":
                found.append(Message("user", waiting))
                waiting = ""
            found.append(_more(message, waiting) if waiting else message)
            waiting = ""
        elif all(each.role == "system" for each in found):
            join(found, msgspec.structs.replace(message, role="system"))
        elif found[-1].role in ("user", "tool"):
            found[-1] = _more(found[-1], _reminder(message.content))
        else:
            waiting = both(waiting, _reminder(message.content))
    return [*found, Message("user", waiting)] if waiting else found


def join(found: list[Message], said: Message) -> None:
    """Add a message. One of the same role as the one before goes on with it, but for results, and after calls."""
    before = found[-1] if found else None
    alike = before is not None and before.role == said.role and before.name == said.name
    if before is None or not alike or said.role == "tool" or before.tool_calls:
        found.append(said)
        return
    thought = "\n\n".join(filter(None, (before.reasoning, said.reasoning)))
    content = both(before.content, said.content)
    found[-1] = msgspec.structs.replace(before, content=content, reasoning=thought, tool_calls=said.tool_calls)


def both(first: Content, second: Content) -> Content:
    """Two contents as one."""
    if isinstance(first, str) and isinstance(second, str):
        return "\n\n".join(filter(None, (first, second)))
    return (*_parts(first), *_parts(second))


def _parts(content: Content) -> tuple[Part, ...]:
    return content if isinstance(content, tuple) else (Part("text", text=content),) if content else ()


def _more(message: Message, content: Content) -> Message:
    return msgspec.structs.replace(message, content=both(message.content, content))


def _reminder(content: Content) -> Content:
    """What the system said, marked as such unless it is already."""
    text = content if isinstance(content, str) else "\n\n".join(part.text for part in content if part.text)
    rest = () if isinstance(content, str) else tuple(part for part in content if part.kind != "text")
    if text and not text.lstrip().startswith(f"<{_TAG}>"):
        text = f"<{_TAG}>\n{text}\n</{_TAG}>"
    return both(text, rest) if rest else text


def _without_empty(message: Message) -> Message:
    """Without texts of nothing among its parts, which strict servers refuse."""
    if isinstance(message.content, str) or all(part.kind != "text" or part.text for part in message.content):
        return message
    parts = tuple(part for part in message.content if part.kind != "text" or part.text)
    whole: Content = parts[0].text if len(parts) == 1 and parts[0].kind == "text" else parts or ""
    return msgspec.structs.replace(message, content=whole)

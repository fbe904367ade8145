"""What routing may know of a request: little where a name is asked for, and all that counts where nobody is named."""

from msgspec.structs import replace

from rolecast.config.routing import PREFERENCES
from rolecast.decision import Facts, Hints
from rolecast.dialects import Dialect, glimpse, hints
from rolecast.dialects.request import Request
from rolecast.errors import UNREADABLE, BadRequest, RolecastError
from rolecast.routing import facts as routing_facts
from rolecast.turn import conversation
from rolecast.values import Caller, Chat, Words


def look(request: Request, asked: str) -> Facts:
    """What costs nothing; `asked` is the name it asks for, or that of its port."""
    return Facts(asked, request.kind, request.needs, request.prefers)


def look_closely(facts: Facts, request: Request, caller: Caller, dialect: Dialect) -> Facts:
    """The rest of the facts, from the words of the request. Raises BadRequest for a preference that is none.

    From then on its body has no hints to a router any more.
    """
    said = _hints(request, caller)
    words = _words(request, dialect)
    belongs = ""
    if session := request.session or caller.session:
        belongs = conversation.of_session(caller, session)
    elif isinstance(words, Chat):
        belongs = conversation.of_chat(caller, words)
    facts = replace(facts, hints=said, conversation=belongs)
    return facts if words is None else routing_facts.of_words(facts, words)


def look_at_length(facts: Facts, request: Request, dialect: Dialect) -> Facts:
    """How long prompt and answer are, of a request that names who is to answer it. Its body stays as it is."""
    words = _words(request, dialect)
    return facts if words is None else routing_facts.length_of(facts, words)


def words_of(request: Request, dialect: Dialect) -> Words | None:
    """The request in words of no dialect, as far as it can be said in them; None when nothing can."""
    return _words(request, dialect)


def _hints(request: Request, caller: Caller) -> Hints:
    """What the body says, and where it is silent, the headers."""
    if request.hints is None:
        request.hints = hints.in_body(request.body)
        if request.hints.metadata and request.family:
            request.body = hints.without(request.body)
    said = request.hints
    if said.prefer and said.prefer not in PREFERENCES:
        allowed = ", ".join(PREFERENCES)
        raise BadRequest(f"`metadata.prefer` must be one of {allowed}.", param="metadata.prefer", code="invalid_value")
    if caller.prefer or caller.task:
        said = replace(said, prefer=said.prefer or caller.prefer, category=said.category or caller.task)
    return said


def _words(request: Request, dialect: Dialect) -> Words | None:
    """The request in words of no dialect, as far as it can be said in them; None when nothing can."""
    if request.plain is not None:
        return request.plain
    if request.kind == "completion":
        return glimpse.completion(request.body)
    if request.kind != "chat":
        return None
    if request.chat is None:
        try:
            request.chat = dialect.chat(request)
        except (RolecastError, *UNREADABLE):  # what cannot be said in words may still pass as it is
            return glimpse.chat(request.body)
    return request.chat

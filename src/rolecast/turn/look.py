"""What routing may know of a request: little where a name is asked for, and all that counts where nobody is named."""

from rolecast.decision import Facts
from rolecast.dialects import Dialect
from rolecast.dialects.request import Request
from rolecast.errors import RolecastError
from rolecast.routing import facts as routing_facts
from rolecast.values import Caller


def look(request: Request, asked: str) -> Facts:
    """What costs nothing; `asked` is the name it asks for, or that of its port."""
    return Facts(asked, request.kind, request.needs, request.prefers)


def look_closely(facts: Facts, request: Request, caller: Caller, dialect: Dialect) -> Facts:
    """The rest of the facts, from the words of the request."""
    if request.plain is not None:
        return routing_facts.of_words(facts, request.plain)
    if request.kind != "chat":
        return facts
    if request.chat is None:
        try:
            request.chat = dialect.chat(request)
        except RolecastError:  # what cannot be said in words may still pass as it is
            return facts
    return routing_facts.of_words(facts, request.chat)

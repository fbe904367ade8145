"""Whether a request says of itself, or a rule says of it, that it stays on this machine."""

import msgspec

from rolecast.config.schema import Config
from rolecast.decision import Facts
from rolecast.dialects import Dialect
from rolecast.dialects.request import Request
from rolecast.errors import UNREADABLE
from rolecast.routing import Router
from rolecast.routing.abilities import Can
from rolecast.routing.facts import of_words
from rolecast.turn.gate import LOCAL
from rolecast.turn.look import look, look_closely
from rolecast.values import Caller, Chat, Kind, Message

FIELD = "local_only"
_NAME = b"local_only"
_YES = (True, 1, "true", "1", "yes", "on")


class _Extra(msgspec.Struct):
    metadata: msgspec.Raw = msgspec.Raw()


class _Body(_Extra):
    extra_body: msgspec.Raw = msgspec.Raw()


_decode = msgspec.json.Decoder(_Body).decode
_decode_extra = msgspec.json.Decoder(_Extra).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def says_so(body: bytes) -> bool:
    """Whether its `metadata.local_only` is true."""
    if _NAME not in body:
        return False
    try:
        fields = _decode(body)
        extra = _decode_extra(fields.extra_body) if bytes(fields.extra_body).startswith(b"{") else _Extra()
        given = [_decode_object(raw) for raw in (fields.metadata, extra.metadata) if bytes(raw).startswith(b"{")]
        said = [msgspec.json.decode(each[FIELD]) for each in given if FIELD in each]
    except UNREADABLE:
        return False
    return any(each.lower() in _YES if isinstance(each, str) else each in _YES for each in said)


def mark(router: Router, request: Request, caller: Caller, dialect: Dialect) -> None:
    """Have the request need to stay, if it does. Raises BadRequest as `look_closely`."""
    if LOCAL in request.needs:
        return
    stays = says_so(request.body)
    if not stays and router.local_rules:
        facts = look_closely(look(request, request.asked), request, caller, dialect)
        if request.order is not None:  # a task, whose prompt is still to be written
            facts = of_words(facts, Chat(request.asked, (Message("user", request.order.prompt),)))
        stays = router.stays(facts)
    if stays:
        request.needs |= {LOCAL}


def marked(router: Router, facts: Facts, request: Request) -> Facts:
    """The facts of a request that is looked into for its choice, marked likewise."""
    if LOCAL not in facts.needs and (says_so(request.body) or router.stays(facts)):
        request.needs |= {LOCAL}
        facts = msgspec.structs.replace(facts, needs=facts.needs | {LOCAL})
    return facts


def able(config: Config, can: Can, kind: Kind) -> list[str]:
    """The models on this machine that do this kind of work."""
    return [i for i, m in config.models.items() if m.enabled and kind in m.capabilities and can(i, LOCAL)]

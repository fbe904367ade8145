"""Rules that are built in: what a request says of itself, and what is so plain that nobody has to guess.

Few and nearly always right; all else is the learned model's. Each is a strategy that abstains where this configuration
has nobody for it. Reasons name the words of `labels`, never what a caller wrote.
"""

from collections.abc import Callable, Mapping

from rolecast.config import labels
from rolecast.config.routing import SHORTCUTS, Shortcut
from rolecast.decision import Consult, Facts, Verdict
from rolecast.routing.known import Known
from rolecast.routing.llm import ROLE
from rolecast.routing.view import View
from rolecast.routing.wishes import greets, wants_thought, wants_tools

Said = Verdict | Consult | None
SHORT_TOKENS = 50
"""An answer of less is light work."""


class BuiltIn:
    """One of them, for one configuration."""

    def __init__(self, judge: Callable[[View, Known], Said], known: Known) -> None:
        self._judge = judge
        self._known = known

    def decide(self, view: View) -> Said:
        """Whom it names, if the request is what it is for."""
        return self._judge(view, self._known)


def of(known: Known) -> list[BuiltIn]:
    """Those that this configuration wants."""
    return [BuiltIn(_JUDGES[name], known) for name in SHORTCUTS if name in known.routing.shortcuts]


def _said(name: str, why: str) -> Verdict | None:
    return Verdict(name, "rule", f"{why}, so {name}") if name else None


def _domain(view: View, known: Known) -> Said:
    """`metadata.force_domain`: whoever is called so here, a label's `use`, else the heavy one for a business's work."""
    word = view.facts.hints.metadata.get("force_domain", "")
    domain = labels.destination(word) if word else ""
    if not domain:
        return None
    spelled = (domain, domain.replace("_", ""), f"{domain}_agent", word.strip())
    if name := known.role(*spelled):
        return _said(name, f"domain {name} is forced")
    for each in known.routing.labels.values():
        for label, use in each.use.items():
            if labels.destination(label) == domain:
                return _said(use, f"domain {label} is forced")
    if domain not in labels.DESTINATIONS:
        return None
    heavy = labels.HEAVY if domain in labels.BUSINESS else ()
    return _said(known.usual(heavy), f"domain {domain} is forced")


def _category(view: View, known: Known) -> Said:
    """The task that the caller names."""
    if not (said := view.facts.hints.category) or not (task := labels.category(said)):
        return None
    name = known.own(task) if task == labels.EXTERNAL else known.meant(task)
    return _said(name, f"task {task} is asked")


def _channel(view: View, known: Known) -> Said:
    """Where it comes from. What comes from a chat starts at the router, which decides if it is asked at all."""
    hints = view.facts.hints
    if not (said := hints.channel or hints.metadata.get("channel", "")):
        return None
    channel = labels.plain(said).replace("-", "_").upper()
    if channel not in labels.CHANNELS:
        return None
    name = known.role(*labels.CHANNELS[channel])
    asks = view.facts.kind == "chat" and not view.facts.open_call
    if name == ROLE and asks and "llm" in known.routing.strategies:
        return Consult(name)
    return _said(name, f"channel {channel}")


def _type(view: View, known: Known) -> Said:
    """The kind of work, as BestBox's clients name it."""
    hints = view.facts.hints
    if not (said := hints.type or hints.metadata.get("type", "")):
        return None
    kind = labels.plain(said).replace("-", "_")
    if kind not in labels.TYPES:
        return None
    return _said(known.role(*labels.TYPES[kind]), f"type {kind}")


def _background(view: View, known: Known) -> Said:
    """What a program wants beside a conversation: nobody waits for much, and it may come after every turn."""
    if not view.facts.background or view.facts.needs:
        return None
    return _said(known.usual(("light", "router")), "beside a conversation")


def _greeting(view: View, known: Known) -> Said:
    """Nothing but a greeting or thanks: the smallest one answers it."""
    facts = view.facts
    if _has_tools(facts) or facts.needs or facts.images or facts.schema or not greets(facts.text):
        return None
    return _said(known.role("router", "light"), "a bare greeting")


def _thought(view: View, known: Known) -> Said:
    """An explicit wish for thought, but not about code: that is for who codes."""
    facts = view.facts
    name = known.role(*labels.REASONING)
    if not name or facts.code or not wants_thought(facts.text) or _is_for(view, known, "coding"):
        return None
    return _said(name, "asks for thought")


def _tools(view: View, known: Known) -> Said:
    """Tools are heavy work, unless it is surely for a role that is there for such work."""
    if not _has_tools(view.facts) or not (heavy := known.role("heavy")):
        return None
    if _is_for(view, known, "coding") or _is_for(view, known, "reasoning"):
        return None
    return _said(heavy, "brings tools")


def _files(view: View, known: Known) -> Said:
    """To use tools or to look at files is not coding."""
    facts = view.facts
    if facts.code or not wants_tools(facts.text):
        return None
    return _said(known.role("standard"), "asks for tools or files, which is no coding")


def _short(view: View, known: Known) -> Said:
    """A short answer is light work, unless it surely wants more."""
    facts = view.facts
    if not 0 < facts.answer_tokens < SHORT_TOKENS or _has_tools(facts) or facts.code:
        return None
    if not (light := known.role("light")) or view.sure("tier") == "heavy":
        return None
    return _said(light, "asks for a short answer")


def _has_tools(facts: Facts) -> bool:
    return facts.tools > 0 or facts.open_call


def _is_for(view: View, known: Known, role: str) -> bool:
    """Whether the model is sure that it is for that role, and there is one."""
    if known.role(role) == "":
        return False
    least = known.routing.min_confidence
    return view.sure("role", least) == role or (role == "coding" and view.sure("category", least) in labels.CODE)


_JUDGES: Mapping[Shortcut, Callable[[View, Known], Said]] = {
    "domain": _domain,
    "category": _category,
    "channel": _channel,
    "type": _type,
    "background": _background,
    "greeting": _greeting,
    "thought": _thought,
    "tools": _tools,
    "files": _files,
    "short": _short,
}

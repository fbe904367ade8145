"""What makes the section `routing` wrong, or probably not meant: names that lead nowhere, labels that teach nothing.

Pure: a configuration in, problems with their places out, or sentences.
"""

import importlib.util
from collections.abc import Iterator, Mapping

from rolecast.config import labels, names, words
from rolecast.config.names import Name
from rolecast.config.patterns import MISSING, compiled, lost_edge
from rolecast.config.routing import Cascade, Consulting, Labels, Rule, When
from rolecast.config.schema import Config
from rolecast.config.shape import Problem, meant

MOST_NAME = 64
"""Characters of what is told in reasons: names of rules and of sets, and labels."""
MOST_RULES = 200
MOST_SETS = 20
"""Of labels: each takes memory, and time of every request."""
MOST_LABELS = 200
"""Of a set: each makes an opinion dearer, and takes memory."""
MOST_EXAMPLES = 2000
"""Of all labels of a set: beyond it, learning would hold up a reload."""
MOST_OF_ALL = 5000
"""Examples of all sets together: the first request waits until they are learned, some milliseconds for each."""
MOST_EXAMPLE = 20_000
"""Characters of one."""


def problems(config: Config) -> Iterator[Problem]:
    """Every problem of the section, in its order."""
    routing = config.routing
    table = names.table(config)
    for field in ("strategies", "shortcuts"):
        given = list(getattr(routing, field))
        again = (i for i, each in enumerate(given) if each in given[:i])
        yield from ((("routing", field, i), f"'{given[i]}' is already in the list; name it once") for i in again)
    if len(routing.rules) > MOST_RULES:
        yield ("routing", "rules"), f"there are {len(routing.rules)} rules; at most {MOST_RULES} are asked"
    called: dict[str, int] = {}
    for i, rule in enumerate(routing.rules):
        yield from ((("routing", "rules", i, *trail), text) for trail, text in _rule(rule, config, table))
        name = rule.name or str(i + 1)  # as it is called in reasons
        if called.setdefault(name, i) != i:
            text = f"the name '{name}' is already that of rule {called[name] + 1}; take another"
            yield ("routing", "rules", i, "name"), text
    yield from ((("routing", "labels", *trail), text) for trail, text in _sets(config, table))
    if routing.cascade.enabled:
        for field in ("first", "then"):
            given = getattr(routing.cascade, field)
            if given and (text := _nobody(given, config, table)):
                yield ("routing", "cascade", field), text


def warnings(config: Config) -> Iterator[str]:
    """What does nothing, or not what it seems to."""
    routing = config.routing
    if routing.rules and "rules" not in routing.strategies:
        yield "routing.rules: are not asked, because routing.strategies has no `rules`"
    if any(each.use for each in routing.labels.values()) and "learned" not in routing.strategies:
        yield "routing.labels: decide nothing, because routing.strategies has no `learned`"
    asks = bool(routing.labels) or any(rule.when.label for rule in routing.rules)
    learns = "learned" in routing.strategies and len(_chatting(config)) > 1
    if (asks or learns) and importlib.util.find_spec("numpy") is None:
        yield "routing.strategies: nothing is learned without numpy: pip install 'rolecast[router]'"
    yield from _idle(config)
    if "llm" in routing.strategies and "router" not in config.roles:
        yield "routing.strategies: `llm` asks a model of the role `router`, and there is none; add it under roles"
    for i, rule in enumerate(routing.rules):
        if beside := lost_edge(rule.when.matches):
            text = f"`\\b` knows ASCII alone and never fits beside '{beside}'; leave it out, or write (?:^|\\PL) before"
            yield f"routing.rules.{i}.when.matches: {text} a word and (?:\\PL|$) behind it"
    for i, rule in enumerate(routing.rules[:-1]):
        if rule.when == When():
            yield f"routing.rules.{i}: fits every request, so the rules after it are asked only when it finds nobody"


def _chatting(config: Config) -> list[str]:
    """Roles among which there is something to choose."""
    can = {i for i, m in config.models.items() if m.enabled and "chat" in m.capabilities}
    return [role for role, models in config.roles.items() if can.intersection(names.members(models))]


def _idle(config: Config) -> Iterator[str]:
    """What is set for the cascade and for `llm`, and has no effect."""
    routing, table = config.routing, names.table(config)
    cascade, asks = routing.cascade, "llm" in routing.strategies
    if not cascade.enabled and cascade != Cascade():
        yield "routing.cascade: does nothing, because it is off; set `enabled: true`"
    elif cascade.enabled and cascade.then and _same(cascade.first, cascade.then, config, table):
        yield "routing.cascade.then: is the same as `first`, so nobody is asked again; name a bigger model"
    if not asks and routing.llm != Consulting():
        yield "routing.llm: does nothing, because routing.strategies has no `llm`"
    elif asks and not routing.llm.timeout:
        yield "routing.llm.timeout: no model answers at once, so the default role always does; allow a few seconds"


def _same(one: str, other: str, config: Config, table: Mapping[str, Name]) -> bool:
    """Whether both names are answered by the same model."""
    found = [names.find(table, name) or words.find(config, table, name) for name in (one, other)]
    return all(found) and len({name.models[0] for name in found if name is not None and name.models}) == 1


def _rule(rule: Rule, config: Config, table: Mapping[str, Name]) -> Iterator[Problem]:
    if rule.use is None and not rule.local_only:
        yield (), "'use' is missing"
    elif rule.use is not None and (text := _nobody(rule.use, config, table)):
        yield ("use",), text
    if text := _untellable(rule.name):
        yield ("name",), text
    when = rule.when
    if when.matches:
        try:
            compiled(when.matches)
        except ValueError as fault:
            yield ("when", "matches"), str(fault) if str(fault) == MISSING else f"the pattern {fault}"
    if when.max_tokens and when.max_tokens < when.min_tokens:
        yield ("when", "max_tokens"), f"is less than min_tokens ({when.min_tokens}), so no request fits"
    for i, language in enumerate(when.language):
        if not (len(language) == 2 and language.isascii() and language.isalpha()):
            yield ("when", "language", i), f"'{language[:20]}' is no language; expected two letters such as de"
    for of, label in when.label.items():
        yield from ((("when", "label", of), text) for text in _label(of, label, config))


def _label(of: str, label: str, config: Config) -> Iterator[str]:
    """Why no request can be sure to have that label."""
    own = config.routing.labels.get(of)
    known = list(own.examples) if own is not None else list(labels.JUDGED.get(of, ()))
    if not known:
        sets = [*labels.JUDGED, *config.routing.labels]
        yield f"there are no labels '{of}'; {_instead(of, sets)}"
    elif label not in known and not (of == "category" and labels.category(label)):
        yield f"there is no label '{label}' of {of}; {_instead(label, known)}"


def _sets(config: Config, table: Mapping[str, Name]) -> Iterator[Problem]:
    sets = config.routing.labels
    if len(sets) > MOST_SETS:
        yield (), f"there are {len(sets)} sets; at most {MOST_SETS} are learned"
    for name, each in sets.items():
        yield from (((name, *trail), text) for trail, text in _labels(name, each, config, table))
    count = sum(len(texts) for each in sets.values() for texts in each.examples.values())
    if count > MOST_OF_ALL:
        yield (), f"there are {count} examples; at most {MOST_OF_ALL} of all sets are learned"


def _labels(name: str, each: Labels, config: Config, table: Mapping[str, Name]) -> Iterator[Problem]:
    if name in labels.RESERVED:
        yield (), f"'{name}' has a meaning of its own where labels are said; take another name"
    elif text := _untellable(name, needed=True):
        yield (), text
    yield from ((("examples", *trail), text) for trail, text in _examples(each))
    for label, use in each.use.items():
        if label not in each.examples:
            yield ("use", label), f"there is no label '{label}'; {_instead(label, each.examples)}"
        elif text := _nobody(use, config, table):
            yield ("use", label), text


def _examples(each: Labels) -> Iterator[Problem]:
    """Why they teach nothing, or too slowly."""
    if len(each.examples) < 2:
        yield (), "it takes at least two labels to tell apart; add one, for example `other`"
    if len(each.examples) > MOST_LABELS:
        yield (), f"there are {len(each.examples)} labels; at most {MOST_LABELS} are told apart"
    for label, texts in each.examples.items():
        if text := _untellable(label, needed=True):
            yield (label,), text
        if not any(text.strip() for text in texts):
            yield (label,), "has no examples; give it about ten prompts"
        long = next((i for i, text in enumerate(texts) if len(text) > MOST_EXAMPLE), None)
        if long is not None:
            yield (label, long), f"is longer than {MOST_EXAMPLE} characters; keep its beginning"
    if (count := sum(map(len, each.examples.values()))) > MOST_EXAMPLES:
        yield (), f"there are {count} examples; at most {MOST_EXAMPLES} are taken"


def _nobody(use: str, config: Config, table: Mapping[str, Name]) -> str:
    """Why nobody answers that name, or ''."""
    if names.untagged(use) in names.RESERVED:
        return f"'{use}' names nobody; name a model, a role or a tier"
    name = names.find(table, use) or words.find(config, table, use)
    if name is None:
        return f"there is no '{use}'; {_instead(use, [*table, *labels.MEANS])}"
    if not any(config.models[model_id].enabled for model_id in name.models if model_id in config.models):
        return f"'{use}' has no enabled model; enable one, or name another"
    return ""


def _untellable(text: str, *, needed: bool = False) -> str:
    """Why that cannot be told in a reason, or ''."""
    if needed and not text:
        return "is called nothing; give it a name"
    if len(text) > MOST_NAME:
        return f"is longer than {MOST_NAME} characters; it is told in a header of every answer, so shorten it"
    return "" if text.isprintable() else "holds a character that cannot be printed; take it out"


def _instead(name: str, options: "Mapping[str, object] | list[str]") -> str:
    known = list(options)
    hint = meant(name, known)
    return f"did you mean '{hint}'?" if hint else f"known here: {', '.join(known[:30]) or 'none'}"

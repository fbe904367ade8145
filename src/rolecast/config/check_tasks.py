"""What makes the section `tasks` wrong: options that cannot be read, plays that do not exist, models that nobody has.

Pure but for the rows that Rolecast brings, which are read where the section changes them.
"""

from collections.abc import Iterator, Mapping
from math import inf

from rolecast.config import labels, names, words
from rolecast.config.schema import Config
from rolecast.config.shape import Problem, meant
from rolecast.config.task_rows import built_in, merged
from rolecast.config.tasks import Option, Task

MOST_NAME = 64
"""Characters of a category: replies and metrics tell it."""
MOST_OPTIONS = 50
FLAG = ("true", "false")
MARK = "{value}"
_COMMON_WORDS = "prompt category model session_id stream extra_params max_tokens temperature top_p top_k seed persona"
COMMON = frozenset([*_COMMON_WORDS.split(), "repetition_penalty"])
"""What every request may say besides options, which therefore cannot be called so."""


def problems(config: Config) -> Iterator[Problem]:
    """Every problem of the section, in its order."""
    if not config.tasks:
        return
    table = names.table(config)
    tasks = merged(config.tasks)
    seen: dict[str, str] = {}
    for word, own in config.tasks.items():
        trail = ("tasks", word)
        name = labels.task_of(word)
        yield from ((trail, text) for text in _name(name))
        if (first := seen.setdefault(name, word)) != word:
            yield trail, f"is the same task as '{first}'; write both changes there"
        if own.model and not (names.find(table, own.model) or words.find(config, table, own.model)):
            near = meant(own.model, [*table])
            there = f"did you mean '{near}'?" if near else f"known here: {', '.join([*table][:30])}"
            yield (*trail, "model"), f"there is no model, role or variant '{own.model}'; {there}"
        if own.play and (text := _play(own.play)):
            yield (*trail, "play"), text
        if not labels.category(name) and not (own.system.strip() or own.options or own.model):
            yield trail, f"says nothing; give it a `system` prompt{_hint(name)}"
        if len(own.options) > MOST_OPTIONS:
            yield (*trail, "options"), f"there are {len(own.options)} options; at most {MOST_OPTIONS} are read"
        yield from (((*trail, *place), text) for place, text in _options(own, tasks[name]))
        yield from (((*trail, "options", *place), text) for place, text in _idle(own, name))


def _name(name: str) -> Iterator[str]:
    """Why nothing can be called that."""
    if name in names.RESERVED:
        yield f"the name '{name}' is reserved: it asks Rolecast to choose; take another name"
    elif names.fault(name) or len(name) > MOST_NAME:
        yield f"a category is a word of at most {MOST_NAME} printable ASCII characters; take another name"


def _hint(name: str) -> str:
    near = meant(name, labels.CATEGORIES, 0.8)
    return f", or did you mean the task '{near}'?" if near else ""


def _play(play: str) -> str:
    """Why no code of that name sees a task through, or ''."""
    known = sorted({task.play for task in built_in().values() if task.play})
    if play in known:
        return ""
    near = meant(play, known)
    return f"there is no play '{play}'; {f'did you mean {near!r}?' if near else 'known here: ' + ', '.join(known)}"


def _options(own: Task, whole: Task) -> Iterator[Problem]:
    """What is wrong with the options that the user wrote, as they are when joined with those that Rolecast brings."""
    taken: dict[str, str] = {}
    for name, option in whole.options.items():
        for word in (name, *option.also):
            owner = taken.setdefault(word, name)
            if name not in own.options and owner not in own.options:
                continue
            trail = ("options", name if name in own.options else owner)
            if word in COMMON:
                yield trail, f"'{word}' is a field that every request has; call the option otherwise"
            elif owner != name:
                yield trail, f"the options '{owner}' and '{name}' are both called '{word}'; rename one of them"
    for name in own.options:
        option = whole.options[name]
        yield from ((("options", name, *place), text) for place, text in _option(option))


def _idle(own: Task, name: str) -> Iterator[Problem]:
    """New options of a task that Rolecast brings which change nothing, as a name with a slip of the pen does."""
    task = built_in().get(name)
    if task is None or task.passes_on or own.play or own.passes_on:
        return
    for word, option in own.options.items():
        if word not in task.options and not option.says and not option.puts:
            near = meant(word, task.options)
            hint = f"; did you mean '{near}'?" if near else "; give it a sentence in `says`, or a text in `puts`"
            yield (word,), f"is a new option of {name} that does nothing{hint}"


def _option(option: Option) -> Iterator[Problem]:
    kind = option.kind or "text"
    if not option.values and kind == "word" and not option.open:
        yield (), "a `word` needs `values`, the words that it may be; or `open: true`"
    if option.values and kind != "word":
        yield ("values",), f"only a `word` has values, and this is of the kind `{kind}`; set `kind: word`"
    for i, value in enumerate(option.values):
        if value != value.strip().lower().replace("-", "_").replace(" ", "_"):
            yield ("values", i), f"'{value[:40]}' is never met: write it in small letters, with _ for spaces"
    if option.default not in (None, "") and (text := _default(kind, option)):
        yield ("default",), text
    if option.puts and MARK not in option.puts:
        yield ("puts",), f"has no {MARK}, so that its value is lost; put {MARK} where it belongs"
    if isinstance(option.says, Mapping):
        yield from ((("says", word), text) for word, text in _says(kind, option, option.says))
    elif option.says and MARK not in option.says and kind in ("word", "number") and not option.puts:
        yield ("says",), f"has no {MARK}, so that every value says the same; put {MARK} where it belongs"


def _says(kind: str, option: Option, says: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if kind not in ("word", "flag"):
        yield next(iter(says), ""), f"sentences by value are for a `word` or a `flag`, and this is a `{kind}`"
        return
    known = (*FLAG,) if kind == "flag" else (*option.values, "*")
    for word in says:
        if word not in known:
            near = meant(word, known)
            there = f"did you mean '{near}'?" if near else f"values are: {', '.join(known)}"
            yield word, f"'{word[:40]}' is none of its values; {there}"


def _default(kind: str, option: Option) -> str:
    """Why that default cannot be, or ''."""
    value = option.default
    if kind == "word":
        known = isinstance(value, str) and (value in option.values or option.open)
        near = meant(str(value), option.values)
        there = f"did you mean '{near}'?" if near else f"values are: {', '.join(option.values)}"
        return "" if known else f"'{str(value)[:40]}' is none of its values; {there}"
    if kind == "flag":
        return "" if isinstance(value, bool) else "the option is a `flag`; say true or false"
    if kind == "number":
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < inf
        return "" if is_number else "the option is a `number`; give one"
    if kind == "texts":
        texts = value if isinstance(value, list) else [value]
        return "" if all(isinstance(each, str) for each in texts) else "expected a text, or a list of texts"
    return "" if isinstance(value, str | int | float) else "the option is a `text`; give one, in quotes"

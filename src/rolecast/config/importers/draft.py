"""A configuration being put together from somebody else's file, kept valid at every step.

Knows the rules of ours: what does not fit is left out or disabled, with a note saying so. Knows no format.
"""

import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec

from rolecast.config import names, presets
from rolecast.config.about import Backends
from rolecast.config.check import check, is_key
from rolecast.config.document import parse
from rolecast.config.importers import kinds
from rolecast.config.importers.section import EMPTY, Section, shown
from rolecast.config.schema import Config, Model
from rolecast.config.shape import build

Members = list[str | list[str]]
"""The models of a role, best first; those of an inner list are equals."""
_PLACEHOLDERS = frozenset(
    {"anything", "dummy", "empty", "fake", "fake-key", "key", "lm-studio", "n/a", "no-key", "no-key-required", "none"}
    | {"not-needed", "not-used", "null", "ollama", "placeholder", "sk-fake", "sk-no-key-required", "sk-none"}
    | {"sk-not-needed", "sk-xxx", "test", "unused", "x", "xxx"}
)
"""What people write where a server wants no key, but a client does."""


class Found(msgspec.Struct, frozen=True):
    """A file to import: its text, its plain values when it is YAML or JSON, and the same as a section."""

    name: str
    text: str
    value: Any
    top: Section


class Imported(msgspec.Struct, frozen=True):
    """A `rolecast.yaml` that loads, and one sentence for everything that did not come along."""

    config_yaml: str
    notes: list[str]


class Draft:
    """Collects models, roles and listeners; `finish` writes them down."""

    def __init__(self, backends: Backends) -> None:
        self.backends = backends
        self.models: dict[str, dict[str, Any]] = {}
        self.roles: dict[str, Members] = {}
        self.kept_roles: set[str] = set()
        """Roles that somebody answers even when none of their own models can run."""
        self.listeners: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.sections: dict[str, dict[str, Any]] = {}
        """Sections that a format fills as a whole."""
        self.log_level = ""
        self.surface = ""
        self.default = "standard"
        self._notes: dict[str, dict[str, None]] = {}
        self._secrets: dict[str, str] = {}
        self._reserved: set[str] = set()
        self._named: Counter[str] = Counter()

    def note(self, place: str, text: str) -> None:
        """Say what did not come along; the same of several places is said once, naming all of them."""
        self._notes.setdefault(text, {})[place] = None

    def notes(self) -> list[str]:
        """The sentences so far, each on one line."""
        lines = (f"{', '.join(places)}: {text}" for text, places in self._notes.items())
        return ["".join(c if c.isprintable() else " " for c in line) for line in lines]

    def secret(self, value: str, variable: str, place: str) -> str:
        """The `env:` form of a credential that stands in the file as text; the text is not repeated anywhere.

        `variable` is how it is called, unless that name means another one; the same text is the same variable.
        A known placeholder is no credential.
        """
        if value.strip().lower() in _PLACEHOLDERS:
            self.note(place, "the key left out; it is a placeholder for servers that want none")
            return ""
        wanted = re.sub(r"\W+", "_", variable, flags=re.ASCII).strip("_").upper()[:60] or "API_KEY"
        wanted = wanted if re.match("[A-Z_]", wanted) else f"KEY_{wanted}"
        name = self._secrets.get(value, "")
        while not name or (name in self._reserved and value not in self._secrets):
            self._named[wanted] += 1
            name = wanted if self._named[wanted] == 1 else f"{wanted}_{self._named[wanted]}"
        self._secrets[value] = name
        self.note(place, f"the key stands in the file as text and is not repeated; set {name} to it before the start")
        return f"env:{name}"

    def address(self, url: str, place: str) -> str:
        """A URL without what may be a secret in it: a user with a password, or a query."""
        try:
            parts = urlsplit(url)
        except ValueError:
            parts = urlsplit("")
        host = parts.netloc.rpartition("@")[2]
        if host != parts.netloc or parts.query or parts.fragment:
            self.note(place, "user, password and query of the address left out; a credential belongs into key")
        if not host and "@" in url:
            self.note(place, "the address left out; it is none, and may hold a password")
            return ""
        return urlunsplit((parts.scheme, host, parts.path, "", "")) if host else url

    def reserve(self, variables: Iterable[str]) -> None:
        """Keep variables that already mean something from being given to another credential."""
        self._reserved.update(variables)

    def add_model(self, model_id: str, *, disabled: str = "", **settings: Any) -> None:
        """Take a model with our settings (None = unset); without wrong ones; disabled if it cannot run."""
        place = f"models.{shown(model_id)}"
        if fault := names.fault(model_id):
            self.note(place, f"left out: {fault}")
            return
        kept = {name: value for name, value in settings.items() if value not in EMPTY}
        problems: list[tuple[tuple[str | int, ...], str]] = []
        build(Model, kept, ("models", model_id), problems)
        for trail, text in problems:
            kept.pop(str(trail[2]), None)
            self.note(place, f"{trail[2]} left out: {text}")
        if disabled:
            kept["enabled"] = False
            self.note(place, f"disabled: {disabled}")
        self._settle_model(model_id, place, kept)
        self.models[model_id] = kept

    def _settle_model(self, model_id: str, place: str, kept: dict[str, Any]) -> None:
        """Take out settings that break a rule; a model that does not work without them is disabled."""
        for _ in range(len(kept) + 1):
            model = build(Model, kept, ("models", model_id), []) or Model()
            found = check(Config(models={model_id: model}), self.backends)
            faults = [(t, text) for t, text in found if t[:2] == ("models", model_id)]
            faults = [(t, text) for t, text in faults if t[2:3] != ("aliases",)]
            if not faults:
                return
            for trail, text in faults:
                setting = str(trail[2]) if len(trail) > 2 else ""
                if setting in kept and setting not in ("source", "url", "command"):
                    del kept[setting]
                    self.note(place, f"{setting} left out: {text}")
                else:
                    kept["enabled"] = False
                    self.note(place, f"disabled: {text}")

    def add_listener(self, port: int | None, name: str, model_id: str) -> None:
        """One more port that looks like this model, unless it is taken."""
        if port is None:
            return
        if not 0 < port < 65536:
            self.note(f"port {port}", f"left out: not a port number (model '{model_id}')")
        elif port == Config().server.port or any(x["port"] == port for x in self.listeners):
            self.note(f"port {port}", f"left out: already in use (model '{model_id}')")
        else:
            self.listeners.append({"port": port, "name": name, "model": model_id})

    def enabled(self) -> list[str]:
        """Ids of the models that can answer."""
        return [model_id for model_id, model in self.models.items() if model.get("enabled", True)]

    def finish(self, origin: str) -> Imported:
        """The YAML and the notes. A section that breaks a rule is left out."""
        for name, section in list(self.sections.items()):
            faults: list[tuple[tuple[str | int, ...], str]] = []
            config = build(Config, {name: section}, (), faults) or Config()
            faults += [fault for fault in check(config, self.backends) if fault[0][:1] == (name,)]
            for trail, text in faults:
                self.sections.pop(name, None)
                self.note(".".join(map(str, trail)), f"left out: {text}")
        made = f"# Made from {shown(origin)} by `rolecast import`.\n{_yaml(self.value())}"
        return Imported(made, self.notes())

    def value(self) -> dict[str, Any]:
        """The plain values of the file. Names that lead nowhere go; an empty cast gets the embedded one."""
        if not self.enabled():
            self._add_embedded()
        self._settle_roles()
        self._settle_embeddings()
        self._settle_aliases()
        value: dict[str, Any] = {
            "server": self._server(),
            "models": self.models,
            "roles": self.roles,
            "routing": {"default": self._default()},
        }
        value |= {"log": {"level": self.log_level}} if self.log_level else {}
        return value | self.sections

    def embeds(self, model_id: str) -> bool:
        """Whether the model only makes vectors."""
        return self.models.get(model_id, {}).get("capabilities") == ["embeddings"]

    def is_text(self, model_id: str) -> bool:
        """Whether texts are written or embedded by it, which others of its kind can do in its place."""
        given = self.models.get(model_id, {}).get("capabilities") or [kinds.CHAT]
        return bool({kinds.CHAT, "completion", kinds.EMBEDDINGS} & set(given))

    def _server(self) -> dict[str, Any]:
        server: dict[str, Any] = {"host": "127.0.0.1", "port": Config().server.port}
        server |= {"surface": self.surface} if self.surface else {}
        enabled = self.enabled()
        listeners = [x for x in self.listeners if x["model"] in enabled]
        server |= {"listeners": listeners} if listeners else {}
        keys = [key for key in dict.fromkeys(self.keys) if is_key(key)]
        if len(keys) < len(set(self.keys)):
            self.note("server.keys", "a key left out; it is empty, or no sha256: with 64 hexadecimal digits")
        return server | ({"keys": keys} if keys else {})

    def _default(self) -> str:
        """The role for requests that name nobody: one that can chat, if there is one."""
        talking = [role for role, members in self.roles.items() if not self.embeds(next(flat(members)))]
        for role in (self.default, "standard"):
            if role in self.roles:
                return role
        chosen = (talking or list(self.roles))[0]
        self.note("routing.default", f"'{chosen}' answers requests without a model")
        return chosen

    def _add_embedded(self) -> None:
        embedded = parse(presets.text("default"), name="default.yaml").value
        self.note("models", "none of the file can run as it is; the embedded models answer meanwhile")
        for model_id, model in embedded["models"].items():
            self.models[model_id] = model
        for role, models in embedded["roles"].items():
            self.roles[role] = [*self.roles.get(role, []), *models]

    def _settle_aliases(self) -> None:
        """Drop aliases that are taken: ids come first, then roles, then aliases in order."""
        taken = {*self.models, *self.roles}
        for model_id, model in self.models.items():
            aliases = []
            for alias in dict.fromkeys(model.pop("aliases", [])):
                if alias == model_id:
                    continue
                if fault := names.fault(alias) or ("the name is taken" if alias in taken else ""):
                    self.note(f"models.{model_id}.aliases", f"'{shown(alias)}' left out: {fault}")
                else:
                    aliases.append(alias)
                    taken.add(alias)
            if aliases:
                model["aliases"] = aliases

    def _settle_roles(self) -> None:
        settled: dict[str, Members] = {}
        enabled = set(self.enabled())
        for role, wanted in self.roles.items():
            fault = names.fault(role) or ("the name is taken" if role in enabled else "")
            members = self._alike(role, self._usable(wanted))
            if not members and role not in self.kept_roles:
                fault = fault or "no model of it can run"
            if fault:
                self.note(f"roles.{shown(role)}", f"left out: {fault}")
            else:
                settled[role] = members
        self.roles = self._filled(settled)
        if not self.roles:
            options = ("standard", "default", *(f"role-{n}" for n in range(len(enabled) + 1)))
            self.default = next(name for name in options if name not in enabled)
            first = self._first()
            self.roles[self.default] = [first]
            self.note(f"roles.{self.default}", f"added for requests without a model: {first}")

    def _usable(self, members: Members) -> Members:
        """Without models that are not there, cannot answer, or were named before."""
        open_ids = set(self.enabled())
        found: Members = []
        for member in members:
            ids = [m for m in dict.fromkeys(flat([member])) if m in open_ids]
            open_ids -= set(ids)
            if ids:
                found.append(ids if len(ids) > 1 else ids[0])
        return found

    def _alike(self, role: str, members: Members) -> Members:
        """Only models that can stand in for the first: vectors of another model mean something else."""
        if not members or not any(self.embeds(m) for m in flat(members)):
            return members
        first = next(flat(members))
        kept = members[:1] if self.embeds(first) else [m for m in members if not any(map(self.embeds, flat([m])))]
        stay = set(flat(kept))
        gone = [m for m in flat(members) if m not in stay]
        if gone:
            reason = "an embedding model stands in for no other, and nothing else for it"
            self.note(f"roles.{shown(role)}", f"{', '.join(gone)} left out; {reason}")
        return kept

    def _filled(self, roles: dict[str, Members]) -> dict[str, Members]:
        """Roles that are kept without a model of their own get that of the default role."""
        stand_in = roles.get(self.default) or [self._first()]
        for role in [role for role, members in roles.items() if not members]:
            roles[role] = list(stand_in)
            names_ = ", ".join(flat(stand_in))
            self.note(f"roles.{role}", f"no model of its own can run here; {names_} answers meanwhile")
        return roles

    def _first(self) -> str:
        """The model for requests that name none: one called like the default role, else the first that can chat."""
        enabled = self.enabled()
        texts = [model_id for model_id in enabled if self.is_text(model_id)]
        talking = [model_id for model_id in texts if not self.embeds(model_id)] or enabled
        return "standard" if "standard" in talking else talking[0]

    def _settle_embeddings(self) -> None:
        """The role for embeddings without a model: one model or equals, never several kinds of vectors."""
        roles = [members for members in self.roles.values() if self.embeds(next(flat(members)))]
        in_roles = {m for members in roles for m in flat(members)}
        alone = [m for m in self.enabled() if self.embeds(m) and m not in in_roles]
        choices: list[Members] = [*roles]
        choices += [[m] for m in alone]
        if not choices or "embeddings" in self.enabled() or "embeddings" in self.roles:
            return
        self.roles["embeddings"] = list(choices[0])
        first = list(flat(choices[0]))
        others = dict.fromkeys(m for members in choices for m in flat(members) if m not in first)
        if others:
            told = f"requests without a model go to {', '.join(first)}; name {', '.join(others)} to use another"
            self.note("roles.embeddings", told)


def flat(members: Members) -> Iterator[str]:
    """The ids of a role's models, equals one after the other."""
    for member in members:
        yield from [member] if isinstance(member, str) else member


def _yaml(value: Any) -> str:
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.ignore_aliases = lambda _: True  # a list that two places share is written twice
    out = io.StringIO()
    yaml.dump(value, out)
    return out.getvalue()

"""A configuration being put together from somebody else's file, kept valid at every step.

Knows the rules of ours: what does not fit is left out or disabled, with a note saying so. Knows no format.
"""

import io
from typing import Any

import msgspec

from rolecast.config import names, presets
from rolecast.config.check import check, is_key
from rolecast.config.document import parse
from rolecast.config.schema import Config, Model
from rolecast.config.shape import build


class Found(msgspec.Struct, frozen=True):
    """A file to import: its text, and its plain values when it is YAML or JSON."""

    name: str
    text: str
    value: Any


class Imported(msgspec.Struct, frozen=True):
    """A `rolecast.yaml` that loads, and one sentence for everything that did not come along."""

    config_yaml: str
    notes: list[str]


class Draft:
    """Collects models, roles and listeners; `finish` writes them down."""

    def __init__(self) -> None:
        self.models: dict[str, dict[str, Any]] = {}
        self.roles: dict[str, list[str]] = {}
        self.listeners: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.default = "standard"
        self.notes: list[str] = []

    def note(self, place: str, text: str) -> None:
        """Say what did not come along, once."""
        line = f"{place}: {text}"
        if line not in self.notes:
            self.notes.append(line)

    def left_out(self, place: str, settings: dict[str, Any], names: tuple[str, ...], why: str) -> None:
        """Note those of `names` that are set."""
        present = [name for name in names if settings.get(name) not in (None, False, "", [], {})]
        if present:
            self.note(place, f"{', '.join(present)} left out; {why}")

    def add_model(self, model_id: str, **settings: Any) -> None:
        """Take a model with our settings (None = unset); without wrong ones; disabled if it cannot run."""
        place = f"models.{model_id}"
        if fault := names.fault(model_id):
            self.note(place, f"left out: {fault}")
            return
        kept = {name: value for name, value in settings.items() if value not in (None, "", [], {})}
        problems: list[tuple[tuple[str | int, ...], str]] = []
        model = build(Model, kept, ("models", model_id), problems) or Model()
        for trail, text in problems:
            kept.pop(str(trail[2]), None)
            self.note(place, f"{trail[2]} left out: {text}")
        faults = check(Config(models={model_id: model}))
        for trail, text in faults:
            if trail[:2] == ("models", model_id) and trail[2:3] != ("aliases",):
                kept["enabled"] = False
                self.note(place, f"disabled: {text}")
        self.models[model_id] = kept

    def add_listener(self, port: Any, name: str, model_id: str) -> None:
        """One more port that looks like this model, unless it is taken."""
        if type(port) is not int or not 0 < port < 65536:
            self.note(f"port {port}", f"left out: not a port number (model '{model_id}')")
        elif port == Config().server.port or any(x["port"] == port for x in self.listeners):
            self.note(f"port {port}", f"left out: already in use (model '{model_id}')")
        else:
            self.listeners.append({"port": port, "name": name, "model": model_id})

    def enabled(self) -> list[str]:
        """Ids of the models that can answer."""
        return [model_id for model_id, model in self.models.items() if model.get("enabled", True)]

    def finish(self, origin: str) -> Imported:
        """The YAML and the notes. Names that lead nowhere go; an empty cast gets the embedded one."""
        if not self.enabled():
            self._add_embedded()
        self._settle_roles()
        self._settle_aliases()
        default = self.default if self.default in self.roles else next(iter(self.roles))
        server: dict[str, Any] = {"host": "127.0.0.1", "port": Config().server.port}
        enabled = self.enabled()
        listeners = [x for x in self.listeners if x["model"] in enabled]
        server |= {"listeners": listeners} if listeners else {}
        keys = [key for key in self.keys if is_key(key)]
        if len(keys) < len(self.keys):
            self.note("server.keys", "a key left out; it is empty, or no sha256: with 64 hexadecimal digits")
        server |= {"keys": keys} if keys else {}
        value = {
            "server": server,
            "models": self.models,
            "roles": self.roles,
            "routing": {"default": default},
        }
        return Imported(f"# Made from {origin} by `rolecast import`.\n{_yaml(value)}", self.notes)

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
            for alias in model.get("aliases", []):
                if fault := names.fault(alias) or ("the name is taken" if alias in taken else ""):
                    self.note(f"models.{model_id}.aliases", f"'{alias}' left out: {fault}")
                else:
                    aliases.append(alias)
                    taken.add(alias)
            model.pop("aliases", None)
            if aliases:
                model["aliases"] = aliases

    def _settle_roles(self) -> None:
        enabled = self.enabled()
        for role, models in list(self.roles.items()):
            usable = [m for m in dict.fromkeys(models) if m in enabled]
            fault = names.fault(role) or ("the name is taken" if role in self.models else "")
            if not usable:
                fault = fault or "no model of it can run"
            if fault:
                self.note(f"roles.{role}", f"left out: {fault}")
            self.roles[role] = [] if fault else usable
        self.roles = {role: models for role, models in self.roles.items() if models}
        vectors = [m for m in enabled if self.models[m].get("capabilities") == ["embeddings"]]
        if not self.roles:
            first = next((m for m in enabled if m not in vectors), enabled[0])
            self.roles["standard"] = [first]
            self.note("roles.standard", f"added for requests without a model: {first}")
        if vectors and "embeddings" not in self.models:
            self.roles.setdefault("embeddings", vectors)


def items(value: Any) -> list[Any]:
    """A foreign value as a list; [] when it is none."""
    return value if isinstance(value, list) else []


def entries(value: Any) -> dict[str, Any]:
    """A foreign value as a mapping; {} when it is none."""
    return value if isinstance(value, dict) else {}


def _yaml(value: Any) -> str:
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    out = io.StringIO()
    yaml.dump(value, out)
    return out.getvalue()

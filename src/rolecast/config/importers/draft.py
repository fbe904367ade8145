"""A configuration being put together from somebody else's file, kept valid at every step.

Knows the rules of ours: what does not fit is left out or disabled, with a note saying so. Knows no format.
"""

import io
from typing import Any

import msgspec

from rolecast.config import presets
from rolecast.config.check import check
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
        """Take a model with our settings (None = unset); wrong ones are dropped, an unusable model is disabled."""
        place = f"models.{model_id}"
        kept = {name: value for name, value in settings.items() if value not in (None, "", [], {})}
        problems: list[tuple[tuple[str | int, ...], str]] = []
        model = build(Model, kept, ("models", model_id), problems) or Model()
        for trail, text in problems:
            kept.pop(str(trail[2]), None)
            self.note(place, f"{trail[2]} left out: {text}")
        faults = check(Config(models={model_id: model}))
        for trail, text in faults:
            if trail == ("models", model_id) and "name" in text.split("'")[0]:
                self.note(place, f"left out: {text}")
                return
            if trail[:2] == ("models", model_id) and trail[2:3] != ("aliases",):
                kept["enabled"] = False
                self.note(place, f"disabled: {text}")
        self.models[model_id] = kept

    def add_listener(self, port: Any, name: str, model_id: str) -> None:
        """One more port that looks like this model, unless it is taken."""
        if not isinstance(port, int) or not 0 < port < 65536:
            self.note(f"port {port}", f"left out: not a port number (model '{model_id}')")
        elif port == Config().server.port or any(x["port"] == port for x in self.listeners):
            self.note(f"port {port}", f"left out: already in use (model '{model_id}')")
        else:
            self.listeners.append({"port": port, "name": name, "model": model_id})

    def enabled(self) -> list[str]:
        """Ids of the models that can answer."""
        return [model_id for model_id, model in self.models.items() if model.get("enabled", True)]

    def finish(self, origin: str) -> Imported:
        """The YAML and the notes. What names nothing any more is dropped; an empty cast gets the embedded one."""
        if not self.enabled():
            self._add_embedded()
        self._settle_names()
        self._settle_roles()
        default = self.default if self.default in self.roles else next(iter(self.roles))
        server: dict[str, Any] = {"host": "127.0.0.1", "port": Config().server.port}
        enabled = self.enabled()
        listeners = [x for x in self.listeners if x["model"] in enabled]
        server |= {"listeners": listeners} if listeners else {}
        server |= {"keys": self.keys} if self.keys else {}
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

    def _settle_names(self) -> None:
        """Drop aliases that are taken: ids come first, then roles, then aliases in order."""
        taken = {*self.models, *self.roles, "", "auto"}
        for model_id, model in self.models.items():
            aliases = []
            for alias in model.get("aliases", []):
                if alias in taken or not alias.isascii() or not alias.isprintable() or alias != alias.strip():
                    self.note(f"models.{model_id}.aliases", f"'{alias}' left out: taken or not a usable name")
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
            if role in self.models or role in ("", "auto"):
                self.note(f"roles.{role}", "left out: the name is taken")
                usable = []
            elif not role.isascii() or not role.isprintable() or role != role.strip():
                self.note(f"roles.{role}", "left out: a name is printable ASCII without spaces around it")
                usable = []
            elif not usable:
                self.note(f"roles.{role}", "left out: no model of it can run")
            self.roles[role] = usable
        self.roles = {role: models for role, models in self.roles.items() if models}
        if not self.roles:
            self.roles["standard"] = enabled[:1]
            self.note("roles.standard", f"added for requests without a model: {enabled[0]}")


def _yaml(value: Any) -> str:
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    out = io.StringIO()
    yaml.dump(value, out)
    return out.getvalue()

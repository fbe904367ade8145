"""What this gateway registers itself: its models, its ports and its tasks, and how they fare.

Made anew from the configuration, the open ports and the state of the fleet whenever that is asked; keeps nothing but
the last measurement.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, get_args
from urllib.parse import urlsplit

import msgspec

from rolecast import __version__
from rolecast.backends import reach
from rolecast.books.pace import slowest
from rolecast.books.store import Store, StoreError
from rolecast.config.current import Current
from rolecast.config.schema import Config, Listener, Model
from rolecast.config.schema import Service as Surface
from rolecast.config.variants import Served
from rolecast.fleet import Fleet
from rolecast.registry.service import AGENT, MANAGED, OURS, Beat, Kind, Service, Status
from rolecast.routing.abilities import LACKING, Abilities
from rolecast.statefile import Address
from rolecast.values import KINDS, authority

SURFACES: tuple[str, ...] = get_args(Surface)
CLASSIFIER = "tlc_domain_classifier"
CLASSIFIES = ("domain_classification", "tmd_extraction", "domain_validation")
"""What PAS's classifier is for; it shares its weights with another port, and the words for both are the model's."""
INTERVAL_S, TTL_S = 60.0, 120.0
"""As PAS's services promise. Ours are heard twice as often."""
CENTS_PER_MILLION = 100_000
"""In a dollar for a thousand."""
STATUS_OF: Mapping[str, Status] = {"failed": "down", "disabled": "down", "absent": "degraded"}
"""By the state of a model; all others can answer, if only after loading."""
SAYS: Mapping[str, str] = {
    "failed": "it does not run; the gateway's status says why",
    "absent": "its weights are not here",
}
_ANYWHERE = ("0.0.0.0", "::", "[::]")
_LOOPBACK = ("127.0.0.1", "::1")


class Task(msgspec.Struct, frozen=True):
    """A kind of work that somebody here answers."""

    name: str
    path: str
    """Its own path; '' = it has none."""
    says: str


class Sources(msgspec.Struct, frozen=True):
    """Whom to ask what there is, and how it fares."""

    current: Current
    fleet: Fleet
    abilities: Abilities
    store: Store
    addresses: Callable[[], Sequence[Address]]
    """The open ports, the front door first."""
    state: Callable[[str], str]
    """Of a model."""
    tasks: Callable[[], Awaitable[Sequence[Task]]]
    written: Callable[[], int]
    """How many rows the ledger has written."""


class Own(NamedTuple):
    """A service of ours, with what it is measured by."""

    service: Service
    model_id: str = ""
    """The model behind it; '' = none."""
    port: str = ""
    """The name of its port; '' = any."""


class Ours:
    """Our own services."""

    def __init__(self, sources: Sources) -> None:
        self._of = sources
        self._own: Mapping[str, Own] = {}
        self._p95_ms: Mapping[tuple[str, str], float] = {}
        self._measured = -1
        self._measures = asyncio.Lock()

    async def services(self, adopted: Mapping[str, Model]) -> dict[str, Service]:
        """All of them by id, as they are described now. Models that others brought are theirs to register."""
        config, addresses = self._of.current.config, self._of.addresses()
        tasks: Sequence[Task] = ()
        if any(
            address.surface in SURFACES for address in addresses
        ):  # else nobody could ask, and they take time to read
            tasks = await self._of.tasks()
        self._own = await asyncio.to_thread(self._described, config, addresses, tasks, dict(adopted))
        return {service_id: own.service for service_id, own in self._own.items()}

    async def measure(self) -> None:
        """Look into the ledger, when there are requests that were not looked at."""
        async with self._measures:  # or an older look, that took longer, would come last
            written = self._of.written()
            if written != self._measured:
                try:
                    self._p95_ms = await slowest(self._of.store)
                except StoreError:
                    return
                self._measured = written

    def beat(self, service_id: str) -> Beat:
        """How this one fares."""
        own = self._own.get(service_id)
        if own is None or not own.model_id:
            return Beat()
        state, answerer_id = self._of.state(own.model_id), self._of.current.answerer_of(own.model_id)
        p95_ms = self._p95_ms.get((own.port, answerer_id))
        if answerer_id not in self._of.fleet.stations.at:
            return Beat(STATUS_OF.get(state, "ok"), p95_ms)
        worker = self._of.fleet.worker(answerer_id)
        load = (worker.active + len(worker.waiting)) / worker.parallel
        return Beat(STATUS_OF.get(state, "ok"), p95_ms, len(worker.waiting), round(load, 3), SAYS.get(state, state))

    # -- in a thread: what models can do may have to be read from the disk ------------------------------------

    def _described(
        self, config: Config, addresses: Sequence[Address], tasks: Sequence[Task], adopted: Mapping[str, Model]
    ) -> dict[str, Own]:
        if not addresses:
            return {}
        ports = list(_ports(config, addresses))
        front = ports[0][1]
        found = [*self._agents(config, ports), *self._cast(config, front, adopted), *self._avatars(config, front)]
        found += [Own(service) for service in (_front(front), *_surfaces(ports), *(_task(t, front) for t in tasks))]
        return {own.service.id: own for own in reversed(found)}  # of two with one id the first

    def _cast(self, config: Config, front: str, adopted: Mapping[str, Model]) -> Iterator[Own]:
        for model_id, model in config.models.items():
            if model.enabled and not model.hidden and adopted.get(model_id) != model:
                caps = words(self._of.current, self._of.abilities, model_id)
                yield Own(self._service(f"model-{model_id}", model_id, "model", front, model_id, model, caps), model_id)

    def _avatars(self, config: Config, front: str) -> Iterator[Own]:
        """Those that answer by the plain name: not each of their versions."""
        for name, served in config.variants.items():
            model = config.models.get(served.model)
            if isinstance(served, Served) and model is not None and name != served.version:
                caps = [*words(self._of.current, self._of.abilities, served.model), "avatar"]
                found = self._service(f"model-{name}", name, "model", front, served.model, model, caps)
                metadata = {**found.metadata, "model": name, "description": served.description}
                labels = {**found.labels, "model": name, "version": served.version}
                yield Own(msgspec.structs.replace(found, metadata=metadata, labels=labels), served.model)

    def _agents(self, config: Config, ports: Iterable[tuple[Address, str]]) -> Iterator[Own]:
        for address, url in ports:
            model = config.models.get(address.model)
            if model is None or not model.enabled or address.surface in SURFACES:
                continue
            caps = words(self._of.current, self._of.abilities, address.model)
            if address.surface == "pas":
                caps = of_port(caps, address.name)
            found = self._service(AGENT + address.name, address.name, "model", url, address.model, model, caps)
            labels = {
                **found.labels,
                "tier": "2",
                "mode": "service",
                "agent_role": "execution",
                "transport": "rest",
                "ollama_backend": model.url if model.url.startswith("http") else url,
            }
            yield Own(msgspec.structs.replace(found, labels=labels), address.model, address.name)

    def _service(
        self, service_id: str, name: str, kind: Kind, url: str, model_id: str, model: Model, caps: Sequence[str]
    ) -> Service:
        usd = _usd_per_1k(model)
        labels = {
            **_LABELS,
            "model": model_id,
            "provider": model.provider or ("ollama" if service_id.startswith(AGENT) else "rolecast"),
            "cost_per_1k_tokens": "unknown" if usd is None else f"{usd:g}" if usd else "0.0",
        }
        if (stand_in := self._of.current.stand_ins.get(model_id)) is not None:
            labels["stand_in"] = stand_in
        facts = {"parameters": model.parameters, "quantization": model.quantization, "description": model.description}
        return Service(
            id=service_id,
            name=name,
            kind=kind,
            url=url,
            caps=tuple(caps),
            labels=labels,
            metadata={"model": model_id, "provider": labels["provider"], **{k: v for k, v in facts.items() if v}},
            ctx_limit=self._of.abilities.context(model_id),
            usd_per_1k=usd,
            interval_s=INTERVAL_S,
            ttl_s=TTL_S,
            is_ours=True,
        )


_LABELS = {MANAGED: OURS, "version": __version__}


def words(current: Current, abilities: Abilities, model_id: str) -> list[str]:
    """What a model can do. What it is for, in words of the configuration, its stand-in plays, too."""
    found = abilities.words(model_id)
    if model_id in current.stand_ins:
        model = current.config.models[model_id]
        played = [word for word in model.capabilities if word not in KINDS and word not in LACKING]
        found = list(dict.fromkeys([*found, *played]))
    return found


def of_port(caps: Sequence[str], name: str) -> list[str]:
    """Those of a port of PAS: the classifier's words are its alone, and it has no others."""
    return [cap for cap in caps if (cap in CLASSIFIES) is (name == CLASSIFIER)]


def _front(url: str) -> Service:
    return _tool("service-rolecast", "rolecast", url, ("gateway",))


def _surfaces(ports: Iterable[tuple[Address, str]]) -> Iterator[Service]:
    for address, url in ports:
        if address.surface in SURFACES:
            yield _tool(f"service-{address.surface}", f"rolecast-{address.surface}", url, (address.surface,))


def _task(task: Task, front: str) -> Service:
    return _tool(f"task-{task.name}", task.name, front + (task.path or "/generate"), (task.name,), task.says)


def _tool(service_id: str, name: str, url: str, caps: tuple[str, ...], says: str = "") -> Service:
    return Service(
        id=service_id,
        name=name,
        kind="tool",
        url=url,
        caps=caps,
        labels={**_LABELS, "transport": "rest"},
        metadata={"description": says} if says else {},
        interval_s=INTERVAL_S,
        ttl_s=TTL_S,
        is_ours=True,
    )


def _ports(config: Config, addresses: Sequence[Address]) -> Iterator[tuple[Address, str]]:
    """Each port with the address by which others reach it."""
    hosts = {listener.label: _host(listener, config) for listener in config.server.listeners}
    for number, address in enumerate(addresses):
        url = urlsplit(address.url)
        host = config.server.host if number == 0 else hosts.get(address.name, "")
        if host in _ANYWHERE:
            shown = socket.gethostname()
        else:
            shown = "localhost" if url.hostname in _LOOPBACK else url.hostname or ""
        yield address, f"{url.scheme}://{authority(shown, url.port)}"


def _host(listener: Listener, config: Config) -> str:
    return listener.host or config.server.host


def _usd_per_1k(model: Model) -> float | None:
    """The mean of what prompts and answers cost; None = not known. A hint for people, never added up."""
    if reach.is_free(model):
        return 0.0
    price = model.price
    return None if price is None else (price.input + price.output) / 2 / CENTS_PER_MILLION

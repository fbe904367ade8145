"""Services of others that may answer requests: those of type model, or agents with a web address, whose address the
configuration lists (`registry.backends`). Each becomes a model (`adopted.py`) while it is well, and none is given a key
of ours.
"""

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping
from urllib.parse import urlsplit

from rolecast import backends
from rolecast.config import names
from rolecast.config.current import Current
from rolecast.config.loopback import is_loopback
from rolecast.config.schema import Model, Price
from rolecast.errors import RolecastError
from rolecast.net.cork import Cork
from rolecast.net.pool import Pool
from rolecast.net.probe import fetch
from rolecast.registry.adopted import Adopted, may_be_asked
from rolecast.registry.service import Service
from rolecast.values import KINDS, Endpoint, Listen

log = logging.getLogger("rolecast.registry")

BACKEND = "openai"
SPARE = "service/"
"""In front of a name that is taken here."""
PATIENCE_S = 3.0
CHATS = "/chat/completions"
"""Some register the path that is asked, not what it is below."""
AT_ONCE = 8
"""So many are asked at a time."""
MOST_BYTES = 1024 * 1024
CENTS_PER_MILLION = 100_000.0
"""In a dollar for a thousand."""
MOST_CENTS = 1e9


class Lent:
    """Keeps the adopted models as the registered services are. `ports` are those of this machine that are ours."""

    def __init__(self, adopted: Adopted, current: Current, cork: Cork) -> None:
        self._adopted = adopted
        self._current = current
        self._cork = cork
        self._called: dict[str, str] = {}
        """The model by the id of its service."""
        self._bases: dict[tuple[str, str], str] = {}
        """Base URLs that were found out, by service and address."""

    def eligible(self, services: Iterable[Service], ports: Collection[int]) -> list[Service]:
        """Those that may answer now, the oldest first."""
        allowed = self._current.config.registry.backends
        if not allowed:
            return []
        return sorted(
            (
                service
                for service in services
                if service.kind in ("model", "agent")
                and not service.is_ours
                and service.condition != "down"
                and may_be_asked(service.url, allowed)
                and not _is_here(service.url, ports)
            ),
            key=lambda service: (service.registered_at, service.id),
        )

    async def settle(self, services: Iterable[Service], ports: Collection[int]) -> None:
        """Let those answer that may, and no others."""
        eligible = {service.id: service for service in self.eligible(services, ports)}
        for service_id in [i for i in self._called if i not in eligible]:
            gone = self._called.pop(service_id)
            log.info("%s is no longer a model here", gone)
            await self._adopted.drop(gone)
        self._bases = {place: base for place, base in self._bases.items() if place[0] in eligible}
        await self._find_bases(eligible.values())
        for service in eligible.values():
            base = self._bases.get(_place(service))
            if base is None:
                continue  # nobody is there; it is tried again with the next look
            model_id = self._name(service)
            if model_id is None:
                continue
            if (before := self._called.get(service.id)) not in (None, model_id):
                await self._adopted.drop(str(before))
            if before != model_id:
                log.info("the service %s answers as the model %s", service.id, model_id)
            self._called[service.id] = model_id
            await self._adopted.adopt(model_id, model_of(service, base))

    def _name(self, service: Service) -> str | None:
        """As it is called, unless that is taken here; None = it cannot be called anything."""
        mine = set(self._called.values())
        others = {name for i, name in self._called.items() if i != service.id} | (set(self._adopted.models) - mine)
        taken = {name: found for name, found in self._current.names.items() if not self._is_lent(name)}
        for name in (service.name, SPARE + service.name, SPARE + service.id):
            if not names.model_fault(name) and name not in others and names.find(taken, name) is None:
                return name
        return None

    def _is_lent(self, name: str) -> bool:
        """Whether a name of the configuration is there only because of an adopted model."""
        model = self._adopted.models.get(name) if name in self._called.values() else None
        return model is not None and self._current.config.models.get(name) == model

    async def _find_bases(self, services: Iterable[Service]) -> None:
        """Find out where the API of each is: as it was registered, or with /v1 if that answers."""
        unknown = [service for service in services if _place(service) not in self._bases]
        for service in unknown:
            if urlsplit(service.url).path.strip("/"):
                self._bases[_place(service)] = service.url.rstrip("/").removesuffix(CHATS)
        asked = [service for service in unknown if _place(service) not in self._bases]
        gate = asyncio.Semaphore(AT_ONCE)

        async def ask(service: Service) -> None:
            async with gate:
                if (base := await self._ask(service.url)) is not None:
                    self._bases[_place(service)] = base

        await asyncio.gather(*map(ask, asked))

    async def _ask(self, url: str) -> str | None:
        base = url.rstrip("/")
        try:
            endpoint = backends.get(BACKEND).plan("", Model(backend=BACKEND, url=base), None, Listen())
            assert isinstance(endpoint, Endpoint)
            pool = Pool(endpoint, self._cork)
            try:
                status = (await fetch(pool, "GET", "/v1/models", timeout_s=PATIENCE_S, limit=MOST_BYTES)).status
            finally:
                pool.close()
        except RolecastError as error:
            log.debug("a service does not answer yet: %s", error.message)
            return None
        return base if status == 404 else f"{base}/v1"


def _place(service: Service) -> tuple[str, str]:
    return service.id, service.url


def model_of(service: Service, base: str) -> Model:
    """The model that this service is, asked at this base URL."""
    caps = service.caps if any(cap in KINDS for cap in service.caps) else ("chat", *service.caps)
    cents = service.usd_per_1k * CENTS_PER_MILLION if service.usd_per_1k is not None else None
    return Model(
        backend=BACKEND,
        url=base,
        remote_model=_told(service.labels, service.metadata) or service.name,
        capabilities=list(dict.fromkeys(caps)),
        context=service.ctx_limit or Model().context,
        price=Price(cents, cents) if cents is not None and cents <= MOST_CENTS else None,
        description=f"The service {service.id}, which registered itself.",
    )


def _told(*said: Mapping[str, object]) -> str:
    """What it calls its model."""
    return next((name for each in said if isinstance(name := each.get("model"), str) and not names.fault(name)), "")


def _is_here(url: str, ports: Collection[int]) -> bool:
    """Whether it is one of our own ports, which would only lead back."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return is_loopback(parts.hostname or "") and port in ports

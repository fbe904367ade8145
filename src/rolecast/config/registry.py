"""The section `registry`: services that register here, and which of them may be used."""

from rolecast.config.units import Seconds, Section


class Registry(Section, frozen=True):
    """Services and providers that register themselves."""

    backends: list[str] = []
    """Addresses whose registered services and providers may answer requests, such as `http://127.0.0.1:8100` or
    `http://10.0.0.*`; a service elsewhere is only listed. Empty = none is ever asked."""
    check_interval: Seconds = Seconds(30)
    """How often missed heartbeats are counted, half a minute at most; who asks is told what is so at that moment."""
    summaries: str = ""
    """Folder of what the token governor has summed up; empty = `summaries` in the data folder."""
    reservation_ttl: Seconds = Seconds(86400)
    """A reservation of resources that does not say how long ends by itself after this."""
    receipts: str = ""
    """Folder in which the gateway of PAS keeps the receipts of each run besides, as RUN.jsonl; empty = in the ledger
    alone."""

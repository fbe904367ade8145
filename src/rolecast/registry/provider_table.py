"""The table of registered providers: read once at the start, written before a registration is answered."""

import msgspec

from rolecast.books.store import Query, Store, change
from rolecast.registry.providers import Provider, Slo

ALL = Query(
    "SELECT name, model, context_window, input_cost, output_cost, endpoint, features, slo, metadata, created_at,"
    " updated_at, active FROM providers ORDER BY created_at, name"
)
PUT = Query(
    "INSERT INTO providers (name, model, context_window, input_cost, output_cost, endpoint, features, slo, metadata,"
    " created_at, updated_at, active) VALUES (:name, :model, :context_window, :input_cost, :output_cost, :endpoint,"
    " :features, :slo, :metadata, :created_at, :updated_at, :active)"
    " ON CONFLICT (name) DO UPDATE SET model = excluded.model, context_window = excluded.context_window,"
    " input_cost = excluded.input_cost, output_cost = excluded.output_cost, endpoint = excluded.endpoint,"
    " features = excluded.features, slo = excluded.slo, metadata = excluded.metadata,"
    " updated_at = excluded.updated_at, active = excluded.active"
)


async def kept(store: Store) -> list[Provider]:
    """All that ever registered. Raises StoreError."""
    return [
        Provider(
            name=str(name),
            model=str(model),
            context_window=int(context_window),
            input_cost=int(input_cost),
            output_cost=int(output_cost),
            endpoint=str(endpoint),
            features=tuple(msgspec.json.decode(features, type=list[str])),
            slo=msgspec.json.decode(slo, type=Slo | None),
            metadata=msgspec.json.decode(metadata, type=dict[str, object]),
            created_at=float(created_at),
            updated_at=float(updated_at),
            active=bool(active),
        )
        for (
            name,
            model,
            context_window,
            input_cost,
            output_cost,
            endpoint,
            features,
            slo,
            metadata,
            created_at,
            updated_at,
            active,
        ) in await store.read(ALL)
    ]


async def keep(store: Store, provider: Provider) -> None:
    """Write one as it is now. Raises StoreError, and Unstorable for a text that no column holds."""
    await change(
        store,
        PUT,
        name=provider.name,
        model=provider.model,
        context_window=provider.context_window,
        input_cost=provider.input_cost,
        output_cost=provider.output_cost,
        endpoint=provider.endpoint,
        features=_json(provider.features),
        slo=_json(provider.slo),
        metadata=_json(provider.metadata),
        created_at=provider.created_at,
        updated_at=provider.updated_at,
        active=int(provider.active),
    )


def _json(value: object) -> str:
    """In ASCII but for what stands in the texts; a NUL there is written as an escape, which every column holds."""
    return msgspec.json.encode(value).decode()

"""Where the conversations are that avatars are made of: our own database, or somebody's Neo4j."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from rolecast.avatars.conversation import Conversations
from rolecast.avatars.settings import Extraction

if TYPE_CHECKING:
    from rolecast.avatars.kept import Kept


@asynccontextmanager
async def conversations_of(extraction: Extraction, database: str) -> AsyncIterator[Conversations]:
    """Where the conversations are: a Neo4j, or our own database, opened for the block. Raises RolecastError."""
    if extraction.neo4j:
        from rolecast.avatars.sources.neo4j import Neo4jGraph

        user, password = os.environ.get("NEO4J_USERNAME", "neo4j"), os.environ.get("NEO4J_PASSWORD", "")
        graph = Neo4jGraph(extraction.neo4j, user, password, extraction.database)
        try:
            yield graph
        finally:
            await graph.close()
        return
    async with kept_of(database) as kept:
        yield kept


@asynccontextmanager
async def kept_of(database: str) -> "AsyncIterator[Kept]":
    """Our own database, opened for the block. Raises ConfigError and StoreError."""
    from rolecast import books
    from rolecast.avatars.kept import Kept
    from rolecast.config.schema import Config, Storage

    store = books.store_of(Config(storage=Storage(url=database)))
    await store.open()
    try:
        yield Kept(store)
    finally:
        await store.close()

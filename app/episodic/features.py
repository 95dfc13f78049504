"""What is switched on, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from app.episodic.engine import connected
from app.episodic.tables import switches
from app.records import Feature


class PostgresFeatureStore:
    """`FeatureStore` on the table `features`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._writing = engine
        self._reading = engine.execution_options(isolation_level="AUTOCOMMIT")

    async def load(self) -> Mapping[Feature, bool]:
        async with connected(self._reading) as session:
            found = await session.run("load_features", select(switches.c.name, switches.c.is_on))
        known = {feature.value: feature for feature in Feature}
        return {known[row.name]: row.is_on for row in found if row.name in known}

    async def save(self, features: Mapping[Feature, bool], at: datetime) -> None:
        if not features:
            return
        values = [{"name": feature.value, "is_on": is_on, "changed_at": at} for feature, is_on in features.items()]
        statement = insert(switches).values(values)
        replacing = statement.on_conflict_do_update(
            index_elements=[switches.c.name],
            set_={"is_on": statement.excluded.is_on, "changed_at": func.greatest(switches.c.changed_at, at)},
        )
        async with connected(self._writing) as session:
            await session.run("save_features", replacing)
            await session.commit()

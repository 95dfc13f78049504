"""The in-memory twin of `FeatureStore`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from app.records import Feature


class InMemoryFeatureStore:
    """Keeps what was switched in this process; sits the same exam as PostgreSQL."""

    def __init__(self) -> None:
        self._switched: dict[Feature, bool] = {}

    async def load(self) -> Mapping[Feature, bool]:
        return dict(self._switched)

    async def save(self, features: Mapping[Feature, bool], at: datetime) -> None:  # noqa: ARG002 - nobody here asks when
        self._switched |= features

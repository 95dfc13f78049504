"""The tables of experiments and of daily figures."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from app.episodic.tables import ID_CHARACTERS, metadata


def _of_experiment() -> Column[Any]:
    return Column("experiment_id", Uuid, ForeignKey("experiments.id", ondelete="CASCADE"), nullable=False)


experiments: Final = Table(
    "experiments",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("namespace", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("variants", JSONB, nullable=False),
    Column("traffic_share", Double, nullable=False),
    Column("metric", Text, nullable=False),
    Column("metric_kind", Text, nullable=False),
    Column("is_lower_better", Boolean, nullable=False),
    Column("alpha", Double, nullable=False),
    Column("minimum_subjects", Integer, nullable=False),
    Column("planned_subjects", Integer, nullable=False),
    Column("minimum_effect", Double, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("started_at", DateTime(timezone=True)),
    Column("stopped_at", DateTime(timezone=True)),
    UniqueConstraint("namespace", "name"),
    CheckConstraint("unit IN ('session', 'user', 'agent', 'custom')", name="unit_is_known"),
    CheckConstraint("metric_kind IN ('binary', 'continuous')", name="metric_kind_is_known"),
    CheckConstraint("state IN ('draft', 'running', 'stopped')", name="state_is_known"),
    CheckConstraint("traffic_share BETWEEN 0 AND 1", name="traffic_share_is_a_share"),
    CheckConstraint(f"length(namespace) <= {ID_CHARACTERS} AND length(name) <= {ID_CHARACTERS}", name="ids_are_short"),
)

experiment_exposures: Final = Table(
    "experiment_exposures",
    metadata,
    Column("experiment_id", Uuid, ForeignKey("experiments.id", ondelete="CASCADE"), primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("search_id", Uuid, primary_key=True),
    Column("variant", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    CheckConstraint(f"length(subject) <= {ID_CHARACTERS} AND length(variant) <= {ID_CHARACTERS}", name="ids_are_short"),
    Index("ix_experiment_exposures_search_id", "search_id"),
)

experiment_observations: Final = Table(
    "experiment_observations",
    metadata,
    Column("id", Uuid, primary_key=True),
    _of_experiment(),
    Column("metric", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("variant", Text, nullable=False),
    Column("value", Double, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    CheckConstraint(
        f"length(metric) <= {ID_CHARACTERS} AND length(subject) <= {ID_CHARACTERS} AND length(variant) <= {ID_CHARACTERS}",
        name="ids_are_short",
    ),
    Index("ix_experiment_observations_experiment_id_metric", "experiment_id", "metric"),
)

memory_metrics: Final = Table(
    "memory_metrics",
    metadata,
    Column("day", Date, primary_key=True),
    Column("namespace", Text, primary_key=True),
    Column("process", Uuid, primary_key=True, comment="each process says what it saw of the day so far"),
    Column("searches", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("degraded", BigInteger, nullable=False),
    Column("latency_ms", Double, nullable=False, comment="of all searches together"),
    Column("buckets", ARRAY(BigInteger), nullable=False, comment="searches by latency"),
    CheckConstraint(f"length(namespace) <= {ID_CHARACTERS}", name="ids_are_short"),
    CheckConstraint("searches >= 0 AND failed >= 0 AND degraded >= 0", name="counts_are_not_negative"),
)

"""The tables of learning: a queue of episodes, patterns with their evidence, and marks on what is out of date."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from app.episodic.tables import ID_CHARACTERS, metadata

extractions: Final = Table(
    "extractions",
    metadata,
    Column("episode_id", Uuid, ForeignKey("episodes.id", ondelete="CASCADE"), primary_key=True),
    Column("namespace", Text, nullable=False),
    Column("generation", BigInteger, Identity(), nullable=False, comment="a new number with every change and claim"),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("next_attempt_at", DateTime(timezone=True)),
    Column("leased_until", DateTime(timezone=True)),
    Column("last_error", Text),
    Column("is_dead", Boolean, nullable=False, server_default=text("false")),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    CheckConstraint("attempts >= 0 AND failures >= 0", name="counts_are_not_negative"),
    Index("ix_extractions_due", "generation", postgresql_where=text("NOT is_dead")),
)

patterns: Final = Table(
    "patterns",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("namespace", Text, nullable=False),
    Column("project_id", Text),
    Column("family", Uuid, nullable=False),
    Column("gist", Uuid, nullable=False),
    Column("premise", JSONB, nullable=False),
    Column("conclusion", JSONB, nullable=False),
    Column("words", ARRAY(Text), nullable=False),
    Column("description", Text, nullable=False),
    Column("content", JSONB, nullable=False),
    Column("confidence", Double, nullable=False, server_default=text("0")),
    Column("supporters", Integer, nullable=False, server_default=text("0")),
    Column("contradictors", Integer, nullable=False, server_default=text("0")),
    Column("state", Text, nullable=False, server_default=text("'candidate'")),
    Column("first_seen_at", DateTime(timezone=True), nullable=False),
    Column("weighed_at", DateTime(timezone=True)),
    # Deferred: a backup is filled in in any order.
    Column(
        "merged_into",
        Uuid,
        ForeignKey("patterns.id", ondelete="CASCADE", deferrable=True, initially="DEFERRED"),
        comment="its evidence goes there",
    ),
    CheckConstraint("kind IN ('tool_sequence', 'decision_point', 'error_recovery', 'context_outcome')", name="kind_is_known"),
    CheckConstraint("state IN ('candidate', 'kept')", name="state_is_known"),
    CheckConstraint("confidence BETWEEN 0 AND 1", name="confidence_is_a_share"),
    CheckConstraint("supporters >= 0 AND contradictors >= 0", name="counts_are_not_negative"),
    CheckConstraint(f"length(namespace) <= {ID_CHARACTERS} AND length(project_id) <= {ID_CHARACTERS}", name="ids_are_short"),
    Index("ix_patterns_namespace_id", "namespace", "id"),
    Index("ix_patterns_family", "family"),
    Index("ix_patterns_gist", "gist"),
    Index("ix_patterns_words", "words", postgresql_using="gin"),
    Index("ix_patterns_merged_into", "merged_into", postgresql_where=text("merged_into IS NOT NULL")),
)

pattern_evidence: Final = Table(
    "pattern_evidence",
    metadata,
    # No cascade: a pattern that somebody adds evidence to right now must not be deleted with it.
    Column("pattern_id", Uuid, ForeignKey("patterns.id"), primary_key=True),
    Column("episode_id", Uuid, ForeignKey("episodes.id", ondelete="CASCADE"), primary_key=True),
    Index("ix_pattern_evidence_episode_id", "episode_id"),
)

learning_marks: Final = Table(
    "learning_marks",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("namespace", Text, nullable=False),
    Column("project_id", Text),
    Column("family", Uuid, comment="whose evidence changed; without one the scope's heuristics are out of date"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Index("ix_learning_marks_family", "family"),
)

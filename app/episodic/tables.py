"""The tables of tier 2: what Alembic's migrations must add up to (a test compares the two).

Full text is a generated column on each searchable table. Its input is cut at `SEARCHABLE_CHARACTERS`, because a
`tsvector` over 1 MB is an error in PostgreSQL: a longer text is stored whole and found by its beginning.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSVECTOR

SEARCHABLE_CHARACTERS: Final = 200_000
"""200,000 characters of four bytes, each its own lexeme with a position, stay under the limit of 1,048,575 bytes."""
ID_CHARACTERS: Final = 255
"""Longest namespace, session, user, agent, project or author. Two of them and a number fit an index row (2704 bytes)."""

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _moment(name: str, *, nullable: bool = False) -> Column[datetime]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


def _now(name: str) -> Column[datetime]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=text("now()"))


def _document(name: str, default: str = "{}") -> Column[Any]:
    return Column(name, JSONB, nullable=False, server_default=text(f"'{default}'::jsonb"))


def _count(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default=text("0"))


def _flag(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False, server_default=text("false"))


def _version() -> Column[int]:
    """Of the record, not of its layout: raised by every change."""
    return Column("version", Integer, nullable=False, server_default=text("1"))


def _uuids(name: str) -> Column[Any]:
    return Column(name, ARRAY(Uuid), nullable=False, server_default=text("'{}'::uuid[]"))


def _searchable(expression: str) -> Column[Any]:
    return Column("search", TSVECTOR, Computed(f"to_tsvector('english'::regconfig, {expression})", persisted=True))


def _ids_are_short(*columns: str) -> CheckConstraint:
    return CheckConstraint(" AND ".join(f"length({c}) <= {ID_CHARACTERS}" for c in columns), name="ids_are_short")


def _one_of(column: str, *values: str) -> CheckConstraint:
    known = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({known})", name=f"{column}_is_known")


def _share(column: str) -> CheckConstraint:
    return CheckConstraint(f"{column} BETWEEN 0 AND 1", name=f"{column}_is_a_share")


episodes: Final = Table(
    "episodes",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("namespace", Text, nullable=False),
    Column("user_id", Text),
    Column("agent_id", Text),
    Column("session_id", Text),
    Column("project_id", Text),
    _moment("started_at"),
    _moment("ended_at"),
    _document("perception"),
    _document("reasoning"),
    _document("action"),
    Column("outcome", JSONB(none_as_null=True)),
    Column("outcome_quality", Double),
    Column("summary", Text, nullable=False, server_default=text("''")),
    Column("quality", Double),
    Column("is_open", Boolean, nullable=False, server_default=text("false")),
    _count("message_count"),
    _count("token_count"),
    Column("first_sequence", BigInteger, nullable=False, server_default=text("0")),
    Column("last_sequence", BigInteger, nullable=False, server_default=text("0")),
    _document("metadata"),
    Column("schema_version", Integer, nullable=False, server_default=text("1")),
    _version(),
    _flag("pinned"),
    _moment("archived_at", nullable=True),
    Column("agent_version", Text),
    Column("control_mode", Text),
    Column("decision_source", Text),
    Column("sprint_id", Text),
    Column("chronicle_note_id", Text),
    Column("patterns", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
    _flag("is_quality_given"),
    _count("step_count"),
    Column("step_bytes", BigInteger, nullable=False, server_default=text("0"), comment="of their JSON"),
    _now("created_at"),
    _now("updated_at"),
    # JSON's escapes are taken out, or the first word of a line would be read as "nword".
    _searchable(
        r"left(regexp_replace(summary || ' ' || perception::text || ' ' || reasoning::text || ' ' || action::text, "
        rf"'\\[bfnrt]', ' ', 'g'), {SEARCHABLE_CHARACTERS})"
    ),
    _one_of("kind", "conversation", "decision", "negotiation", "task"),
    _ids_are_short("namespace", "user_id", "agent_id", "session_id", "project_id"),
    _share("outcome_quality"),
    _share("quality"),
    CheckConstraint("message_count >= 0 AND token_count >= 0", name="counts_are_not_negative"),
    CheckConstraint("step_count >= 0 AND step_bytes >= 0", name="steps_are_counted"),
    _one_of("control_mode", "rule_based_only", "intelligence_enhanced", "memory_augmented"),
    CheckConstraint(
        " AND ".join(
            f"length({c}) <= {ID_CHARACTERS}" for c in ("agent_version", "decision_source", "sprint_id", "chronicle_note_id")
        ),
        name="labels_are_short",
    ),
    Index("ix_episodes_namespace_id", "namespace", "id"),
    Index("ix_episodes_search", "search", postgresql_using="gin"),
    Index(
        "uq_episodes_open_conversation",
        "namespace",
        "session_id",
        unique=True,
        postgresql_where=text("is_open AND kind = 'conversation'"),
    ),
    Index("ix_episodes_open_ended_at", "ended_at", postgresql_where=text("is_open AND kind = 'conversation'")),
    Index("ix_episodes_archivable", "ended_at", postgresql_where=text("archived_at IS NULL AND NOT is_open AND NOT pinned")),
    Index("ix_episodes_archived_at", "archived_at", postgresql_where=text("archived_at IS NOT NULL")),
    Index(
        "ix_episodes_unscored",
        "ended_at",
        "id",
        postgresql_where=text("quality IS NULL AND NOT is_open AND kind <> 'conversation'"),
    ),
    Index("ix_episodes_without_outcome", "namespace", "id", postgresql_where=text("outcome IS NULL AND kind <> 'conversation'")),
)

messages: Final = Table(
    "messages",
    metadata,
    Column("uid", Uuid, primary_key=True),
    Column("namespace", Text, nullable=False),
    Column("session_id", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("id", Uuid, nullable=False),
    Column("role", Text, nullable=False),
    Column("name", Text),
    Column("content", Text, nullable=False),
    _moment("created_at"),
    _document("metadata"),
    Column("user_id", Text),
    Column("agent_id", Text),
    Column("project_id", Text),
    # No cascade: a message must never go without its delete entry in the outbox, so `forgetting` deletes it by name.
    Column("episode_id", Uuid, ForeignKey("episodes.id"), nullable=False),
    Column("content_sha256", Text, nullable=False),
    _count("token_count"),
    # As its episode is: kept here too, so that full text need not look there.
    _flag("is_archived"),
    _searchable(f"left(coalesce(name, '') || ' ' || content, {SEARCHABLE_CHARACTERS})"),
    UniqueConstraint("namespace", "session_id", "sequence"),
    _one_of("role", "user", "assistant", "system", "tool"),
    _ids_are_short("namespace", "session_id", "user_id", "agent_id", "project_id", "name"),
    CheckConstraint("sequence > 0", name="sequence_counts_from_one"),
    CheckConstraint("token_count >= 0", name="token_count_is_not_negative"),
    CheckConstraint("length(content_sha256) = 64", name="content_sha256_is_hex"),
    Index("ix_messages_namespace_created_at", "namespace", "created_at"),
    Index("ix_messages_episode_id", "episode_id"),
    Index("ix_messages_id", "id"),
    Index("ix_messages_search", "search", postgresql_using="gin"),
)

episode_steps: Final = Table(
    "episode_steps",
    metadata,
    Column("episode_id", Uuid, ForeignKey("episodes.id", ondelete="CASCADE"), primary_key=True),
    Column("index", Integer, primary_key=True, autoincrement=False),
    Column("content", JSONB, nullable=False),
    _moment("created_at"),
    Column("call_id", Uuid, comment="the named call that brought the step"),
    CheckConstraint('"index" >= 0', name="index_counts_from_zero"),
)

episode_outcomes: Final = Table(
    "episode_outcomes",
    metadata,
    Column("episode_id", Uuid, ForeignKey("episodes.id", ondelete="CASCADE"), primary_key=True),
    Column("index", Integer, primary_key=True, autoincrement=False),
    Column("outcome", JSONB(none_as_null=True)),
    Column("outcome_quality", Double),
    _moment("recorded_at"),
    Column("call_id", Uuid, comment="the named call that said so"),
    CheckConstraint('"index" >= 0', name="index_counts_from_zero"),
    _share("outcome_quality"),
)

episode_generations: Final = Table(
    "episode_generations",
    metadata,
    Column("namespace", Text, primary_key=True),
    Column("generation", Uuid, nullable=False, comment="another one whenever cached recalls of episodes may have become wrong"),
    _ids_are_short("namespace"),
)

knowledge: Final = Table(
    "knowledge",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("namespace", Text, nullable=False),
    Column("user_id", Text),
    Column("agent_id", Text),
    Column("session_id", Text),
    Column("project_id", Text),
    Column("description", Text, nullable=False),
    _document("content"),
    Column("confidence", Double, nullable=False, server_default=text("1")),
    _uuids("supporting_episodes"),
    _uuids("contradicting_episodes"),
    _count("times_applied"),
    _count("success_count"),
    _count("failure_count"),
    Column(
        "success_rate",
        Double,
        Computed("success_count::double precision / nullif(success_count + failure_count, 0)", persisted=True),
    ),
    _moment("valid_from", nullable=True),
    _moment("valid_to", nullable=True),
    Column("superseded_by", Uuid),
    _version(),
    Column("schema_version", Integer, nullable=False, server_default=text("1")),
    _flag("pinned"),
    _moment("created_at"),
    _now("updated_at"),
    Column("origin", Text, nullable=False, server_default=text("'stated'")),
    Column("is_active", Boolean, nullable=False, server_default=text("true")),
    Column("inactive_reason", Text),
    Column("supersedes", Uuid),
    _count("evidence_count"),
    _count("applied_when_activated"),
    _searchable(rf"left(description || ' ' || regexp_replace(content::text, '\\[bfnrt]', ' ', 'g'), {SEARCHABLE_CHARACTERS})"),
    _one_of("kind", "fact", "strategy", "pattern", "constraint", "heuristic"),
    _ids_are_short("namespace", "user_id", "agent_id", "session_id", "project_id"),
    _share("confidence"),
    CheckConstraint("times_applied >= 0 AND success_count >= 0 AND failure_count >= 0", name="counts_are_not_negative"),
    Index("ix_knowledge_namespace_id", "namespace", "id"),
    Index("ix_knowledge_search", "search", postgresql_using="gin"),
    _one_of("origin", "stated", "learned"),
    CheckConstraint("evidence_count >= 0 AND applied_when_activated >= 0", name="evidence_is_not_negative"),
    Index("ix_knowledge_conditional", "namespace", "id", postgresql_where=text("content ? 'conditions'")),
)

knowledge_revisions: Final = Table(
    "knowledge_revisions",
    metadata,
    Column("knowledge_id", Uuid, ForeignKey("knowledge.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    _moment("recorded_at"),
    Column("cause", Text, nullable=False),
    _document("changes"),
    CheckConstraint("number > 0", name="number_counts_from_one"),
)

feedback: Final = Table(
    "feedback",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("namespace", Text, nullable=False),
    Column("user_id", Text),
    Column("agent_id", Text),
    Column("session_id", Text),
    Column("project_id", Text),
    # One of the three is the record it is about. Each goes with its row, whoever deletes that.
    Column("message_uid", Uuid, ForeignKey("messages.uid", ondelete="CASCADE")),
    Column("episode_id", Uuid, ForeignKey("episodes.id", ondelete="CASCADE")),
    Column("knowledge_id", Uuid, ForeignKey("knowledge.id", ondelete="CASCADE")),
    Column("record_id", Uuid, nullable=False, comment="as callers name the record"),
    Column("verdict", Text, nullable=False),
    Column("query", Text, comment="what the record was recalled for"),
    Column("note", Text),
    _moment("created_at"),
    CheckConstraint("num_nonnulls(message_uid, episode_id, knowledge_id) = 1", name="is_about_one_record"),
    _one_of("verdict", "useful", "wrong", "outdated", "harmful"),
    _ids_are_short("namespace", "user_id", "agent_id", "session_id", "project_id"),
    Index("ix_feedback_namespace_id", "namespace", "id"),
    *(
        Index(f"ix_feedback_{name}", name, postgresql_where=text(f"{name} IS NOT NULL"))
        for name in ("message_uid", "episode_id", "knowledge_id")
    ),
)

sessions: Final = Table(
    "sessions",
    metadata,
    Column("namespace", Text, primary_key=True),
    Column("session_id", Text, primary_key=True),
    _document("state"),
    Column("version", BigInteger, nullable=False, server_default=text("0"), comment="of the state; 0: none was saved"),
    _moment("created_at"),
    _moment("updated_at"),
    _moment("last_message_at", nullable=True),
    _moment("ended_at", nullable=True),
    Column("schema_version", Integer, nullable=False, server_default=text("1")),
    _ids_are_short("namespace", "session_id"),
)

consolidation_checkpoints: Final = Table(
    "consolidation_checkpoints",
    metadata,
    Column("namespace", Text, primary_key=True),
    Column("session_id", Text, primary_key=True),
    Column("sequence", BigInteger, nullable=False, server_default=text("0")),
    _now("updated_at"),
    CheckConstraint("sequence >= 0", name="sequence_is_not_negative"),
    _ids_are_short("namespace", "session_id"),
)

consolidation_runs: Final = Table(
    "consolidation_runs",
    metadata,
    Column("id", Uuid, primary_key=True),
    _moment("started_at"),
    _moment("finished_at"),
    _document("counts"),
    _document("errors", "[]"),
    Index("ix_consolidation_runs_started_at", "started_at"),
)

outbox: Final = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("op", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("namespace", Text, nullable=False),
    Column("record_uid", Uuid, nullable=False),
    Column("generation", BigInteger, nullable=False, server_default=text("1")),
    _count("attempts"),
    _count("failures"),
    _moment("next_attempt_at", nullable=True),
    _moment("leased_until", nullable=True),
    Column("last_error", Text),
    Column("is_dead", Boolean, nullable=False, server_default=text("false")),
    _now("created_at"),
    UniqueConstraint("kind", "record_uid"),
    _one_of("op", "upsert", "delete"),
    _one_of("kind", "message", "episode", "knowledge", "item"),
    CheckConstraint("attempts >= 0 AND failures >= 0 AND generation > 0", name="counts_are_not_negative"),
    Index("ix_outbox_due", "id", postgresql_where=text("NOT is_dead")),
    Index("ix_outbox_dead", "id", postgresql_where=text("is_dead")),
)

erasures: Final = Table(
    "erasures",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("namespace", Text, nullable=False),
    Column("user_id", Text),
    Column("agent_id", Text),
    Column("session_id", Text),
    Column("project_id", Text),
    Column("record_ids", ARRAY(Uuid)),
    _moment("requested_at"),
    _ids_are_short("namespace", "user_id", "agent_id", "session_id", "project_id"),
    Index("ix_erasures_namespace", "namespace"),
)

reconciliations: Final = Table(
    "reconciliations",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("namespace", Text),
    Column("is_repair", Boolean, nullable=False),
    Column("space", Text, nullable=False),
    _moment("started_at"),
    Column("total", BigInteger, nullable=False),
    Column("checked", BigInteger, nullable=False),
    _document("findings"),
    _document("examples"),
    Column("pending", BigInteger, nullable=False),
    Column("dead_letters", BigInteger, nullable=False),
    Column("cursor", Uuid),
    Column("state", Text, nullable=False),
    _moment("finished_at", nullable=True),
    _moment("leased_until", nullable=True),
    Column("generation", BigInteger, nullable=False),
    _one_of("state", "running", "done", "abandoned"),
    _ids_are_short("namespace"),
    Index("ix_reconciliations_started_at", "started_at"),
    Index("uq_reconciliations_running", "state", unique=True, postgresql_where=text("state = 'running'")),
)

idempotency_keys: Final = Table(
    "idempotency_keys",
    metadata,
    Column("call_id", Uuid, primary_key=True, comment="derived from caller, key and request"),
    Column("record_id", Uuid, nullable=False, comment="what the call was carried out on"),
    _moment("carried_out_at"),
    Index("ix_idempotency_keys_carried_out_at", "carried_out_at"),
)

api_keys: Final = Table(
    "api_keys",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("key_sha256", LargeBinary, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("namespaces", ARRAY(Text), nullable=False, comment="{*} opens all namespaces"),
    _now("created_at"),
    _moment("expires_at", nullable=True),
    _moment("revoked_at", nullable=True),
    CheckConstraint("octet_length(key_sha256) = 32", name="key_sha256_is_a_digest"),
)

switches: Final = Table(
    "features",
    metadata,
    Column("name", Text, primary_key=True),
    Column("is_on", Boolean, nullable=False),
    _moment("changed_at"),
)

items: Final = Table(
    "items",
    metadata,
    Column("id", Uuid, primary_key=True, comment="derived from namespace, labels and key"),
    Column("namespace", Text, nullable=False),
    # By code points, so that all that begins with the same labels stands together, whatever the labels are.
    Column("labels", ARRAY(Text(collation="C")), nullable=False),
    Column("key", Text, nullable=False),
    Column("value", JSONB, nullable=False),
    Column("ttl", Interval),
    _moment("expires_at", nullable=True),
    _moment("created_at"),
    _moment("updated_at"),
    _searchable(rf"left(regexp_replace(value::text, '\\[bfnrt]', ' ', 'g'), {SEARCHABLE_CHARACTERS})"),
    _ids_are_short("namespace"),
    CheckConstraint("cardinality(labels) > 0", name="labels_are_there"),
    CheckConstraint("jsonb_typeof(value) = 'object'", name="value_is_an_object"),
    CheckConstraint("(ttl IS NULL) = (expires_at IS NULL)", name="expires_with_a_ttl"),
    Index("ix_items_namespace_labels", "namespace", "labels", postgresql_include=["expires_at"]),
    Index("ix_items_expires_at", "expires_at", postgresql_where=text("expires_at IS NOT NULL")),
    Index("ix_items_search", "search", postgresql_using="gin"),
)

item_vectors: Final = Table(
    "item_vectors",
    metadata,
    Column("uid", Uuid, primary_key=True, comment="the point's: derived from item, field and element"),
    # No cascade: a text must never go without its delete entry in the outbox.
    Column("item_id", Uuid, ForeignKey("items.id"), nullable=False),
    Column("namespace", Text, nullable=False),
    Column("field", Text, nullable=False),
    Column("element", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Column("content_sha256", Text, nullable=False),
    _ids_are_short("namespace"),
    CheckConstraint("element >= 0", name="element_counts_from_zero"),
    CheckConstraint("length(content_sha256) = 64", name="content_sha256_is_hex"),
    Index("ix_item_vectors_item_id", "item_id"),
    Index("ix_item_vectors_namespace", "namespace"),
)

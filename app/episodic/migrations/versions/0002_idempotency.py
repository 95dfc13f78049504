"""Versions of records and session states, and the calls that were carried out."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

UP = (
    "ALTER TABLE episodes ADD COLUMN version integer NOT NULL DEFAULT 1",
    "ALTER TABLE knowledge ADD COLUMN version integer NOT NULL DEFAULT 1",
    "ALTER TABLE sessions ADD COLUMN version bigint NOT NULL DEFAULT 0",
    # States from before are at version 1, in Redis too.
    "UPDATE sessions SET version = 1 WHERE state <> '{}'::jsonb",
    "COMMENT ON COLUMN sessions.version IS 'of the state; 0: none was saved'",
    "ALTER TABLE episode_steps ADD COLUMN call_id uuid",
    "COMMENT ON COLUMN episode_steps.call_id IS 'the named call that brought the step'",
    """
    CREATE TABLE idempotency_keys (
        call_id uuid NOT NULL,
        record_id uuid NOT NULL,
        carried_out_at timestamptz NOT NULL,
        CONSTRAINT pk_idempotency_keys PRIMARY KEY (call_id)
    )
    """,
    "COMMENT ON COLUMN idempotency_keys.call_id IS 'derived from caller, key and request'",
    "COMMENT ON COLUMN idempotency_keys.record_id IS 'what the call was carried out on'",
    "CREATE INDEX ix_idempotency_keys_carried_out_at ON idempotency_keys (carried_out_at)",
)

DOWN = (
    "DROP TABLE idempotency_keys",
    "ALTER TABLE episode_steps DROP COLUMN call_id",
    "ALTER TABLE sessions DROP COLUMN version",
    "ALTER TABLE knowledge DROP COLUMN version",
    "ALTER TABLE episodes DROP COLUMN version",
)


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWN:
        op.execute(statement)

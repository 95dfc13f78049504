"""Where comparisons with the vector index keep how far they are and what they found."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE reconciliations (
            id uuid NOT NULL,
            namespace text,
            is_repair boolean NOT NULL,
            space text NOT NULL,
            started_at timestamptz NOT NULL,
            total bigint NOT NULL,
            checked bigint NOT NULL,
            findings jsonb NOT NULL DEFAULT '{}'::jsonb,
            examples jsonb NOT NULL DEFAULT '{}'::jsonb,
            pending bigint NOT NULL,
            dead_letters bigint NOT NULL,
            cursor uuid,
            state text NOT NULL,
            finished_at timestamptz,
            leased_until timestamptz,
            generation bigint NOT NULL,
            CONSTRAINT pk_reconciliations PRIMARY KEY (id),
            CONSTRAINT ck_reconciliations_state_is_known CHECK (state IN ('running', 'done', 'abandoned')),
            CONSTRAINT ck_reconciliations_ids_are_short CHECK (length(namespace) <= 255)
        )
        """
    )
    op.execute("CREATE INDEX ix_reconciliations_started_at ON reconciliations (started_at)")
    op.execute("CREATE UNIQUE INDEX uq_reconciliations_running ON reconciliations (state) WHERE state = 'running'")


def downgrade() -> None:
    op.execute("DROP TABLE reconciliations")

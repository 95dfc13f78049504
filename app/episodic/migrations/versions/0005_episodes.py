"""The full episode, its steps counted, whose judgement its quality is, and switches for features."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

UP = (
    """
    ALTER TABLE episodes
        ADD COLUMN agent_version text,
        ADD COLUMN control_mode text,
        ADD COLUMN decision_source text,
        ADD COLUMN sprint_id text,
        ADD COLUMN chronicle_note_id text,
        ADD COLUMN patterns text[] NOT NULL DEFAULT '{}'::text[],
        ADD COLUMN is_quality_given boolean NOT NULL DEFAULT false,
        ADD COLUMN step_count integer NOT NULL DEFAULT 0,
        ADD COLUMN step_bytes bigint NOT NULL DEFAULT 0,
        ADD CONSTRAINT ck_episodes_steps_are_counted CHECK (step_count >= 0 AND step_bytes >= 0),
        ADD CONSTRAINT ck_episodes_control_mode_is_known CHECK (
            control_mode IN ('rule_based_only', 'intelligence_enhanced', 'memory_augmented')
        ),
        ADD CONSTRAINT ck_episodes_labels_are_short CHECK (
            length(agent_version) <= 255 AND length(decision_source) <= 255
            AND length(sprint_id) <= 255 AND length(chronicle_note_id) <= 255
        )
    """,
    "COMMENT ON COLUMN episodes.step_bytes IS 'of their JSON'",
    # Nobody but a caller could have said it so far.
    "UPDATE episodes SET is_quality_given = true WHERE quality IS NOT NULL",
    """
    UPDATE episodes SET step_count = held.count, step_bytes = held.bytes
    FROM (
        SELECT episode_id, count(*) AS count, sum(octet_length(content::text)) AS bytes FROM episode_steps GROUP BY episode_id
    ) AS held
    WHERE held.episode_id = episodes.id
    """,
    """
    CREATE INDEX ix_episodes_unscored ON episodes (ended_at, id)
    WHERE quality IS NULL AND NOT is_open AND kind <> 'conversation'
    """,
    """
    CREATE TABLE features (
        name text NOT NULL,
        is_on boolean NOT NULL,
        changed_at timestamptz NOT NULL,
        CONSTRAINT pk_features PRIMARY KEY (name)
    )
    """,
)

DOWN = (
    "DROP TABLE features",
    "DROP INDEX ix_episodes_unscored",
    """
    ALTER TABLE episodes
        DROP COLUMN agent_version, DROP COLUMN control_mode, DROP COLUMN decision_source, DROP COLUMN sprint_id,
        DROP COLUMN chronicle_note_id, DROP COLUMN patterns, DROP COLUMN is_quality_given,
        DROP COLUMN step_count, DROP COLUMN step_bytes
    """,
)


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWN:
        op.execute(statement)

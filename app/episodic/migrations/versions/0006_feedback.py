"""The history of outcomes, feedback on records, and when cached recalls of episodes have become wrong."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

UP = (
    "CREATE INDEX ix_episodes_without_outcome ON episodes (namespace, id) WHERE outcome IS NULL AND kind <> 'conversation'",
    "CREATE INDEX ix_messages_id ON messages (id)",
    """
    CREATE TABLE episode_outcomes (
        episode_id uuid NOT NULL,
        "index" integer NOT NULL,
        outcome jsonb,
        outcome_quality double precision,
        recorded_at timestamptz NOT NULL,
        call_id uuid,
        CONSTRAINT pk_episode_outcomes PRIMARY KEY (episode_id, "index"),
        CONSTRAINT fk_episode_outcomes_episode_id FOREIGN KEY (episode_id) REFERENCES episodes (id) ON DELETE CASCADE,
        CONSTRAINT ck_episode_outcomes_index_counts_from_zero CHECK ("index" >= 0),
        CONSTRAINT ck_episode_outcomes_outcome_quality_is_a_share CHECK (outcome_quality BETWEEN 0 AND 1)
    )
    """,
    "COMMENT ON COLUMN episode_outcomes.call_id IS 'the named call that said so'",
    """
    CREATE TABLE episode_generations (
        namespace text NOT NULL,
        generation uuid NOT NULL,
        CONSTRAINT pk_episode_generations PRIMARY KEY (namespace),
        CONSTRAINT ck_episode_generations_ids_are_short CHECK (length(namespace) <= 255)
    )
    """,
    "COMMENT ON COLUMN episode_generations.generation IS 'another one whenever cached recalls of episodes may have become wrong'",
    """
    CREATE TABLE feedback (
        id uuid NOT NULL,
        namespace text NOT NULL,
        user_id text,
        agent_id text,
        session_id text,
        project_id text,
        message_uid uuid,
        episode_id uuid,
        knowledge_id uuid,
        record_id uuid NOT NULL,
        verdict text NOT NULL,
        query text,
        note text,
        created_at timestamptz NOT NULL,
        CONSTRAINT pk_feedback PRIMARY KEY (id),
        CONSTRAINT fk_feedback_message_uid FOREIGN KEY (message_uid) REFERENCES messages (uid) ON DELETE CASCADE,
        CONSTRAINT fk_feedback_episode_id FOREIGN KEY (episode_id) REFERENCES episodes (id) ON DELETE CASCADE,
        CONSTRAINT fk_feedback_knowledge_id FOREIGN KEY (knowledge_id) REFERENCES knowledge (id) ON DELETE CASCADE,
        CONSTRAINT ck_feedback_is_about_one_record CHECK (num_nonnulls(message_uid, episode_id, knowledge_id) = 1),
        CONSTRAINT ck_feedback_verdict_is_known CHECK (verdict IN ('useful', 'wrong', 'outdated', 'harmful')),
        CONSTRAINT ck_feedback_ids_are_short CHECK (length(namespace) <= 255 AND length(user_id) <= 255
            AND length(agent_id) <= 255 AND length(session_id) <= 255 AND length(project_id) <= 255)
    )
    """,
    "COMMENT ON COLUMN feedback.record_id IS 'as callers name the record'",
    "COMMENT ON COLUMN feedback.query IS 'what the record was recalled for'",
    "CREATE INDEX ix_feedback_namespace_id ON feedback (namespace, id)",
    "CREATE INDEX ix_feedback_message_uid ON feedback (message_uid) WHERE message_uid IS NOT NULL",
    "CREATE INDEX ix_feedback_episode_id ON feedback (episode_id) WHERE episode_id IS NOT NULL",
    "CREATE INDEX ix_feedback_knowledge_id ON feedback (knowledge_id) WHERE knowledge_id IS NOT NULL",
    # Points written before do not say how their episode turned out.
    """
    INSERT INTO outbox (op, kind, namespace, record_uid)
    SELECT 'upsert', 'episode', namespace, id FROM episodes
    WHERE outcome_quality IS NOT NULL AND NOT is_open AND archived_at IS NULL
    ON CONFLICT (kind, record_uid) DO UPDATE SET generation = outbox.generation + 1
    """,
)

DOWN = (
    "DROP TABLE feedback",
    "DROP TABLE episode_generations",
    "DROP TABLE episode_outcomes",
    "DROP INDEX ix_messages_id",
    "DROP INDEX ix_episodes_without_outcome",
)


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWN:
        op.execute(statement)

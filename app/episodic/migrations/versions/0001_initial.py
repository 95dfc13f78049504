"""The tables, their full-text indexes, and the views operators look at."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    r"""
    CREATE TABLE episodes (
        id uuid NOT NULL,
        kind text NOT NULL,
        namespace text NOT NULL,
        user_id text,
        agent_id text,
        session_id text,
        project_id text,
        started_at timestamptz NOT NULL,
        ended_at timestamptz NOT NULL,
        perception jsonb NOT NULL DEFAULT '{}'::jsonb,
        reasoning jsonb NOT NULL DEFAULT '{}'::jsonb,
        action jsonb NOT NULL DEFAULT '{}'::jsonb,
        outcome jsonb,
        outcome_quality double precision,
        summary text NOT NULL DEFAULT '',
        quality double precision,
        is_open boolean NOT NULL DEFAULT false,
        message_count integer NOT NULL DEFAULT 0,
        token_count integer NOT NULL DEFAULT 0,
        first_sequence bigint NOT NULL DEFAULT 0,
        last_sequence bigint NOT NULL DEFAULT 0,
        metadata jsonb NOT NULL DEFAULT '{}'::jsonb,
        schema_version integer NOT NULL DEFAULT 1,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        search tsvector GENERATED ALWAYS AS (
            to_tsvector('english'::regconfig, left(regexp_replace(
                summary || ' ' || perception::text || ' ' || reasoning::text || ' ' || action::text,
                '\\[bfnrt]', ' ', 'g'
            ), 200000))
        ) STORED,
        CONSTRAINT pk_episodes PRIMARY KEY (id),
        CONSTRAINT ck_episodes_kind_is_known CHECK (kind IN ('conversation', 'decision', 'negotiation', 'task')),
        CONSTRAINT ck_episodes_ids_are_short CHECK (
            length(namespace) <= 255 AND length(user_id) <= 255 AND length(agent_id) <= 255
            AND length(session_id) <= 255 AND length(project_id) <= 255
        ),
        CONSTRAINT ck_episodes_outcome_quality_is_a_share CHECK (outcome_quality BETWEEN 0 AND 1),
        CONSTRAINT ck_episodes_quality_is_a_share CHECK (quality BETWEEN 0 AND 1),
        CONSTRAINT ck_episodes_counts_are_not_negative CHECK (message_count >= 0 AND token_count >= 0)
    )
    """,
    "CREATE INDEX ix_episodes_namespace_id ON episodes (namespace, id)",
    "CREATE INDEX ix_episodes_search ON episodes USING gin (search)",
    """
    CREATE UNIQUE INDEX uq_episodes_open_conversation ON episodes (namespace, session_id)
    WHERE is_open AND kind = 'conversation'
    """,
    "CREATE INDEX ix_episodes_open_ended_at ON episodes (ended_at) WHERE is_open AND kind = 'conversation'",
    """
    CREATE TABLE messages (
        uid uuid NOT NULL,
        namespace text NOT NULL,
        session_id text NOT NULL,
        sequence bigint NOT NULL,
        id uuid NOT NULL,
        role text NOT NULL,
        name text,
        content text NOT NULL,
        created_at timestamptz NOT NULL,
        metadata jsonb NOT NULL DEFAULT '{}'::jsonb,
        user_id text,
        agent_id text,
        project_id text,
        episode_id uuid NOT NULL,
        content_sha256 text NOT NULL,
        token_count integer NOT NULL DEFAULT 0,
        search tsvector GENERATED ALWAYS AS (
            to_tsvector('english'::regconfig, left(coalesce(name, '') || ' ' || content, 200000))
        ) STORED,
        CONSTRAINT pk_messages PRIMARY KEY (uid),
        CONSTRAINT uq_messages_namespace_session_id_sequence UNIQUE (namespace, session_id, sequence),
        CONSTRAINT fk_messages_episode_id FOREIGN KEY (episode_id) REFERENCES episodes (id),
        CONSTRAINT ck_messages_role_is_known CHECK (role IN ('user', 'assistant', 'system', 'tool')),
        CONSTRAINT ck_messages_ids_are_short CHECK (
            length(namespace) <= 255 AND length(session_id) <= 255 AND length(user_id) <= 255
            AND length(agent_id) <= 255 AND length(project_id) <= 255 AND length(name) <= 255
        ),
        CONSTRAINT ck_messages_sequence_counts_from_one CHECK (sequence > 0),
        CONSTRAINT ck_messages_token_count_is_not_negative CHECK (token_count >= 0),
        CONSTRAINT ck_messages_content_sha256_is_hex CHECK (length(content_sha256) = 64)
    )
    """,
    "CREATE INDEX ix_messages_namespace_created_at ON messages (namespace, created_at)",
    "CREATE INDEX ix_messages_episode_id ON messages (episode_id)",
    "CREATE INDEX ix_messages_search ON messages USING gin (search)",
    """
    CREATE TABLE episode_steps (
        episode_id uuid NOT NULL,
        index integer NOT NULL,
        content jsonb NOT NULL,
        created_at timestamptz NOT NULL,
        CONSTRAINT pk_episode_steps PRIMARY KEY (episode_id, index),
        CONSTRAINT fk_episode_steps_episode_id FOREIGN KEY (episode_id) REFERENCES episodes (id) ON DELETE CASCADE,
        CONSTRAINT ck_episode_steps_index_counts_from_zero CHECK (index >= 0)
    )
    """,
    r"""
    CREATE TABLE knowledge (
        id uuid NOT NULL,
        kind text NOT NULL,
        namespace text NOT NULL,
        user_id text,
        agent_id text,
        session_id text,
        project_id text,
        description text NOT NULL,
        content jsonb NOT NULL DEFAULT '{}'::jsonb,
        confidence double precision NOT NULL DEFAULT 1,
        supporting_episodes uuid[] NOT NULL DEFAULT '{}'::uuid[],
        contradicting_episodes uuid[] NOT NULL DEFAULT '{}'::uuid[],
        times_applied integer NOT NULL DEFAULT 0,
        success_count integer NOT NULL DEFAULT 0,
        failure_count integer NOT NULL DEFAULT 0,
        success_rate double precision GENERATED ALWAYS AS (
            success_count::double precision / nullif(success_count + failure_count, 0)
        ) STORED,
        valid_from timestamptz,
        valid_to timestamptz,
        superseded_by uuid,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL DEFAULT now(),
        search tsvector GENERATED ALWAYS AS (
            to_tsvector('english'::regconfig, left(
                description || ' ' || regexp_replace(content::text, '\\[bfnrt]', ' ', 'g'), 200000
            ))
        ) STORED,
        CONSTRAINT pk_knowledge PRIMARY KEY (id),
        CONSTRAINT ck_knowledge_kind_is_known CHECK (kind IN ('fact', 'strategy', 'pattern', 'constraint', 'heuristic')),
        CONSTRAINT ck_knowledge_ids_are_short CHECK (
            length(namespace) <= 255 AND length(user_id) <= 255 AND length(agent_id) <= 255
            AND length(session_id) <= 255 AND length(project_id) <= 255
        ),
        CONSTRAINT ck_knowledge_confidence_is_a_share CHECK (confidence BETWEEN 0 AND 1),
        CONSTRAINT ck_knowledge_counts_are_not_negative CHECK (
            times_applied >= 0 AND success_count >= 0 AND failure_count >= 0
        )
    )
    """,
    "CREATE INDEX ix_knowledge_namespace_id ON knowledge (namespace, id)",
    "CREATE INDEX ix_knowledge_search ON knowledge USING gin (search)",
    """
    CREATE TABLE sessions (
        namespace text NOT NULL,
        session_id text NOT NULL,
        state jsonb NOT NULL DEFAULT '{}'::jsonb,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        last_message_at timestamptz,
        ended_at timestamptz,
        CONSTRAINT pk_sessions PRIMARY KEY (namespace, session_id),
        CONSTRAINT ck_sessions_ids_are_short CHECK (length(namespace) <= 255 AND length(session_id) <= 255)
    )
    """,
    """
    CREATE TABLE consolidation_checkpoints (
        namespace text NOT NULL,
        session_id text NOT NULL,
        sequence bigint NOT NULL DEFAULT 0,
        updated_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT pk_consolidation_checkpoints PRIMARY KEY (namespace, session_id),
        CONSTRAINT ck_consolidation_checkpoints_sequence_is_not_negative CHECK (sequence >= 0),
        CONSTRAINT ck_consolidation_checkpoints_ids_are_short CHECK (length(namespace) <= 255 AND length(session_id) <= 255)
    )
    """,
    """
    CREATE TABLE consolidation_runs (
        id uuid NOT NULL,
        started_at timestamptz NOT NULL,
        finished_at timestamptz NOT NULL,
        counts jsonb NOT NULL DEFAULT '{}'::jsonb,
        errors jsonb NOT NULL DEFAULT '[]'::jsonb,
        CONSTRAINT pk_consolidation_runs PRIMARY KEY (id)
    )
    """,
    "CREATE INDEX ix_consolidation_runs_started_at ON consolidation_runs (started_at)",
    """
    CREATE TABLE outbox (
        id bigint GENERATED BY DEFAULT AS IDENTITY,
        op text NOT NULL,
        kind text NOT NULL,
        namespace text NOT NULL,
        record_uid uuid NOT NULL,
        generation bigint NOT NULL DEFAULT 1,
        attempts integer NOT NULL DEFAULT 0,
        next_attempt_at timestamptz,
        leased_until timestamptz,
        last_error text,
        is_dead boolean NOT NULL DEFAULT false,
        created_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT pk_outbox PRIMARY KEY (id),
        CONSTRAINT uq_outbox_kind_record_uid UNIQUE (kind, record_uid),
        CONSTRAINT ck_outbox_op_is_known CHECK (op IN ('upsert', 'delete')),
        CONSTRAINT ck_outbox_kind_is_known CHECK (kind IN ('message', 'episode', 'knowledge')),
        CONSTRAINT ck_outbox_counts_are_not_negative CHECK (attempts >= 0 AND generation > 0)
    )
    """,
    "CREATE INDEX ix_outbox_due ON outbox (id) WHERE NOT is_dead",
    "CREATE INDEX ix_outbox_dead ON outbox (id) WHERE is_dead",
    """
    CREATE TABLE api_keys (
        id uuid NOT NULL,
        key_sha256 bytea NOT NULL,
        name text NOT NULL,
        scopes text[] NOT NULL,
        namespaces text[] NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz,
        revoked_at timestamptz,
        CONSTRAINT pk_api_keys PRIMARY KEY (id),
        CONSTRAINT uq_api_keys_key_sha256 UNIQUE (key_sha256),
        CONSTRAINT ck_api_keys_key_sha256_is_a_digest CHECK (octet_length(key_sha256) = 32)
    )
    """,
    "COMMENT ON COLUMN api_keys.namespaces IS '{*} opens all namespaces'",
)

VIEWS = (
    """
    CREATE VIEW episode_quality_by_project AS
    SELECT namespace, project_id, kind, count(*) AS episodes, avg(quality) AS mean_quality,
           avg(outcome_quality) AS mean_outcome_quality, max(ended_at) AS last_ended_at
    FROM episodes
    WHERE NOT is_open
    GROUP BY namespace, project_id, kind
    """,
    """
    CREATE VIEW strategy_effectiveness AS
    SELECT namespace, project_id, id, description, confidence, times_applied, success_count, failure_count, success_rate
    FROM knowledge
    WHERE kind = 'strategy' AND superseded_by IS NULL
    """,
    """
    CREATE VIEW system_health AS
    SELECT (SELECT count(*) FROM messages) AS messages,
           (SELECT count(*) FROM episodes) AS episodes,
           (SELECT count(*) FROM episodes WHERE is_open AND kind = 'conversation') AS open_conversations,
           (SELECT count(*) FROM knowledge WHERE superseded_by IS NULL) AS knowledge,
           (SELECT count(*) FROM outbox WHERE NOT is_dead) AS outbox_depth,
           (SELECT count(*) FROM outbox WHERE is_dead) AS dead_letters,
           (SELECT min(created_at) FROM outbox WHERE NOT is_dead) AS oldest_outbox_at,
           (SELECT max(finished_at) FROM consolidation_runs) AS last_run_at
    """,
)

DROPS = (
    "DROP VIEW system_health, strategy_effectiveness, episode_quality_by_project",
    """
    DROP TABLE api_keys, outbox, consolidation_runs, consolidation_checkpoints, sessions, knowledge, episode_steps,
               messages, episodes
    """,
)


def upgrade() -> None:
    for statement in (*TABLES, *VIEWS):
        op.execute(statement)


def downgrade() -> None:
    for statement in DROPS:
        op.execute(statement)

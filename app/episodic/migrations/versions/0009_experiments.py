"""Experiments with what was seen in them, and daily figures of searches."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

UP = (
    """
    CREATE TABLE experiments (
        id uuid NOT NULL,
        namespace text NOT NULL,
        name text NOT NULL,
        description text NOT NULL,
        unit text NOT NULL,
        variants jsonb NOT NULL,
        traffic_share double precision NOT NULL,
        metric text NOT NULL,
        metric_kind text NOT NULL,
        is_lower_better boolean NOT NULL,
        alpha double precision NOT NULL,
        minimum_subjects integer NOT NULL,
        planned_subjects integer NOT NULL,
        minimum_effect double precision NOT NULL,
        state text NOT NULL,
        created_at timestamptz NOT NULL,
        started_at timestamptz,
        stopped_at timestamptz,
        CONSTRAINT pk_experiments PRIMARY KEY (id),
        CONSTRAINT uq_experiments_namespace_name UNIQUE (namespace, name),
        CONSTRAINT ck_experiments_unit_is_known CHECK (unit IN ('session', 'user', 'agent', 'custom')),
        CONSTRAINT ck_experiments_metric_kind_is_known CHECK (metric_kind IN ('binary', 'continuous')),
        CONSTRAINT ck_experiments_state_is_known CHECK (state IN ('draft', 'running', 'stopped')),
        CONSTRAINT ck_experiments_traffic_share_is_a_share CHECK (traffic_share BETWEEN 0 AND 1),
        CONSTRAINT ck_experiments_ids_are_short CHECK (length(namespace) <= 255 AND length(name) <= 255)
    )
    """,
    """
    CREATE TABLE experiment_exposures (
        experiment_id uuid NOT NULL,
        subject text NOT NULL,
        search_id uuid NOT NULL,
        variant text NOT NULL,
        at timestamptz NOT NULL,
        CONSTRAINT pk_experiment_exposures PRIMARY KEY (experiment_id, subject, search_id),
        CONSTRAINT fk_experiment_exposures_experiment_id FOREIGN KEY (experiment_id)
            REFERENCES experiments (id) ON DELETE CASCADE,
        CONSTRAINT ck_experiment_exposures_ids_are_short CHECK (length(subject) <= 255 AND length(variant) <= 255)
    )
    """,
    "CREATE INDEX ix_experiment_exposures_search_id ON experiment_exposures (search_id)",
    """
    CREATE TABLE experiment_observations (
        id uuid NOT NULL,
        experiment_id uuid NOT NULL,
        metric text NOT NULL,
        subject text NOT NULL,
        variant text NOT NULL,
        value double precision NOT NULL,
        at timestamptz NOT NULL,
        CONSTRAINT pk_experiment_observations PRIMARY KEY (id),
        CONSTRAINT fk_experiment_observations_experiment_id FOREIGN KEY (experiment_id)
            REFERENCES experiments (id) ON DELETE CASCADE,
        CONSTRAINT ck_experiment_observations_ids_are_short
            CHECK (length(metric) <= 255 AND length(subject) <= 255 AND length(variant) <= 255)
    )
    """,
    "CREATE INDEX ix_experiment_observations_experiment_id_metric ON experiment_observations (experiment_id, metric)",
    """
    CREATE TABLE memory_metrics (
        day date NOT NULL,
        namespace text NOT NULL,
        process uuid NOT NULL,
        searches bigint NOT NULL,
        failed bigint NOT NULL,
        degraded bigint NOT NULL,
        latency_ms double precision NOT NULL,
        buckets bigint[] NOT NULL,
        CONSTRAINT pk_memory_metrics PRIMARY KEY (day, namespace, process),
        CONSTRAINT ck_memory_metrics_ids_are_short CHECK (length(namespace) <= 255),
        CONSTRAINT ck_memory_metrics_counts_are_not_negative CHECK (searches >= 0 AND failed >= 0 AND degraded >= 0)
    )
    """,
    "COMMENT ON COLUMN memory_metrics.process IS 'each process says what it saw of the day so far'",
    "COMMENT ON COLUMN memory_metrics.latency_ms IS 'of all searches together'",
    "COMMENT ON COLUMN memory_metrics.buckets IS 'searches by latency'",
)

DOWN = (
    "DROP TABLE memory_metrics",
    "DROP TABLE experiment_observations",
    "DROP TABLE experiment_exposures",
    "DROP TABLE experiments",
)


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWN:
        op.execute(statement)

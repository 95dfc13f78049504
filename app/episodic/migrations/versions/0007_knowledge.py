"""Knowledge: where it comes from, whether it is active, links both ways, what its confidence rests on, and its revisions."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

UP = (
    """
    ALTER TABLE knowledge
        ADD COLUMN origin text NOT NULL DEFAULT 'stated',
        ADD COLUMN is_active boolean NOT NULL DEFAULT true,
        ADD COLUMN inactive_reason text,
        ADD COLUMN supersedes uuid,
        ADD COLUMN evidence_count integer NOT NULL DEFAULT 0,
        ADD COLUMN applied_when_activated integer NOT NULL DEFAULT 0,
        ADD CONSTRAINT ck_knowledge_origin_is_known CHECK (origin IN ('stated', 'learned')),
        ADD CONSTRAINT ck_knowledge_evidence_is_not_negative CHECK (evidence_count >= 0 AND applied_when_activated >= 0)
    """,
    "CREATE INDEX ix_knowledge_conditional ON knowledge (namespace, id) WHERE content ? 'conditions'",
    # An application of which the episode is known is in both numbers.
    """
    UPDATE knowledge
    SET evidence_count = greatest(times_applied, cardinality(supporting_episodes) + cardinality(contradicting_episodes))
    """,
    # Until now several could be superseded by the same one; the link back leads to the youngest of them.
    """
    UPDATE knowledge AS successor
    SET supersedes = (
        SELECT predecessor.id FROM knowledge AS predecessor
        WHERE predecessor.superseded_by = successor.id AND predecessor.namespace = successor.namespace
        ORDER BY predecessor.id DESC LIMIT 1
    )
    WHERE EXISTS (
        SELECT FROM knowledge AS predecessor
        WHERE predecessor.superseded_by = successor.id AND predecessor.namespace = successor.namespace
    )
    """,
    """
    CREATE TABLE knowledge_revisions (
        knowledge_id uuid NOT NULL,
        number integer NOT NULL,
        recorded_at timestamptz NOT NULL,
        cause text NOT NULL,
        changes jsonb NOT NULL DEFAULT '{}'::jsonb,
        CONSTRAINT pk_knowledge_revisions PRIMARY KEY (knowledge_id, number),
        CONSTRAINT fk_knowledge_revisions_knowledge_id FOREIGN KEY (knowledge_id) REFERENCES knowledge (id) ON DELETE CASCADE,
        CONSTRAINT ck_knowledge_revisions_number_counts_from_one CHECK (number > 0)
    )
    """,
    # What there is becomes the first revision of each: changes of before were not written down.
    """
    INSERT INTO knowledge_revisions (knowledge_id, number, recorded_at, cause, changes)
    SELECT id, 1, updated_at, 'stored', jsonb_strip_nulls(jsonb_build_object(
        'description', description, 'content', content, 'confidence', confidence, 'times_applied', times_applied,
        'success_count', success_count, 'failure_count', failure_count, 'valid_from', valid_from, 'valid_to', valid_to,
        'superseded_by', superseded_by, 'supersedes', supersedes, 'pinned', pinned, 'origin', origin,
        'is_active', is_active, 'evidence_count', evidence_count
    ))
    FROM knowledge
    """,
    # Points say from now on until when they hold; what was superseded can be found again by those who ask for it.
    """
    INSERT INTO outbox (op, kind, namespace, record_uid)
    SELECT 'upsert', 'knowledge', namespace, id FROM knowledge
    WHERE valid_from IS NOT NULL OR valid_to IS NOT NULL OR superseded_by IS NOT NULL
    ON CONFLICT (kind, record_uid) DO UPDATE SET op = excluded.op, generation = outbox.generation + 1
    """,
    """
    CREATE OR REPLACE VIEW strategy_effectiveness AS
    SELECT namespace, project_id, id, description, confidence, times_applied, success_count, failure_count, success_rate,
           (success_count + 1.0::double precision) / (success_count + failure_count + 2) AS estimated_success,
           origin, is_active, inactive_reason, valid_from, valid_to
    FROM knowledge
    WHERE kind = 'strategy' AND superseded_by IS NULL
    """,
)

DOWN = (
    "DROP VIEW strategy_effectiveness",
    "DROP TABLE knowledge_revisions",
    "DROP INDEX ix_knowledge_conditional",
    """
    ALTER TABLE knowledge
        DROP COLUMN origin,
        DROP COLUMN is_active,
        DROP COLUMN inactive_reason,
        DROP COLUMN supersedes,
        DROP COLUMN evidence_count,
        DROP COLUMN applied_when_activated
    """,
    """
    CREATE VIEW strategy_effectiveness AS
    SELECT namespace, project_id, id, description, confidence, times_applied, success_count, failure_count, success_rate
    FROM knowledge
    WHERE kind = 'strategy' AND superseded_by IS NULL
    """,
)


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWN:
        op.execute(statement)

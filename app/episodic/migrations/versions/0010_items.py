"""Items, with the texts that the vector index has of them."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

UP = (
    r"""
    CREATE TABLE items (
        id uuid NOT NULL,
        namespace text NOT NULL,
        labels text[] COLLATE "C" NOT NULL,
        key text NOT NULL,
        value jsonb NOT NULL,
        ttl interval,
        expires_at timestamptz,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        search tsvector GENERATED ALWAYS AS (
            to_tsvector('english'::regconfig, left(regexp_replace(value::text, '\\[bfnrt]', ' ', 'g'), 200000))
        ) STORED,
        CONSTRAINT pk_items PRIMARY KEY (id),
        CONSTRAINT ck_items_ids_are_short CHECK (length(namespace) <= 255),
        CONSTRAINT ck_items_labels_are_there CHECK (cardinality(labels) > 0),
        CONSTRAINT ck_items_value_is_an_object CHECK (jsonb_typeof(value) = 'object'),
        CONSTRAINT ck_items_expires_with_a_ttl CHECK ((ttl IS NULL) = (expires_at IS NULL))
    )
    """,
    "COMMENT ON COLUMN items.id IS 'derived from namespace, labels and key'",
    "CREATE INDEX ix_items_namespace_labels ON items (namespace, labels) INCLUDE (expires_at)",
    "CREATE INDEX ix_items_expires_at ON items (expires_at) WHERE expires_at IS NOT NULL",
    "CREATE INDEX ix_items_search ON items USING gin (search)",
    """
    CREATE TABLE item_vectors (
        uid uuid NOT NULL,
        item_id uuid NOT NULL,
        namespace text NOT NULL,
        field text NOT NULL,
        element integer NOT NULL,
        text text NOT NULL,
        content_sha256 text NOT NULL,
        CONSTRAINT pk_item_vectors PRIMARY KEY (uid),
        CONSTRAINT fk_item_vectors_item_id FOREIGN KEY (item_id) REFERENCES items (id),
        CONSTRAINT ck_item_vectors_ids_are_short CHECK (length(namespace) <= 255),
        CONSTRAINT ck_item_vectors_element_counts_from_zero CHECK (element >= 0),
        CONSTRAINT ck_item_vectors_content_sha256_is_hex CHECK (length(content_sha256) = 64)
    )
    """,
    "COMMENT ON COLUMN item_vectors.uid IS 'the point''s: derived from item, field and element'",
    "CREATE INDEX ix_item_vectors_item_id ON item_vectors (item_id)",
    "CREATE INDEX ix_item_vectors_namespace ON item_vectors (namespace)",
    """
    ALTER TABLE outbox
        DROP CONSTRAINT ck_outbox_kind_is_known,
        ADD CONSTRAINT ck_outbox_kind_is_known CHECK (kind IN ('message', 'episode', 'knowledge', 'item'))
    """,
)

DOWN = (
    "DELETE FROM outbox WHERE kind = 'item'",
    """
    ALTER TABLE outbox
        DROP CONSTRAINT ck_outbox_kind_is_known,
        ADD CONSTRAINT ck_outbox_kind_is_known CHECK (kind IN ('message', 'episode', 'knowledge'))
    """,
    "DROP TABLE item_vectors",
    "DROP TABLE items",
)


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWN:
        op.execute(statement)

"""From Redis to Postgres to the vector index: drain, segment, summarise, index, forget. Every job is idempotent."""

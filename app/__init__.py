"""The memory that agents keep: Redis for now, PostgreSQL for the truth, Qdrant for meaning, behind one façade."""

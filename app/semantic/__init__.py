"""Tier 3 on Qdrant: `EdgeRepository` (embedded, in `edge`) and `QdrantRepository` (server or cluster, in `qdrant`)."""

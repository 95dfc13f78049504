"""Queries about knowledge."""

from __future__ import annotations

from typing import Final

from app.episodic import rows
from app.episodic.owned import OwnedTable
from app.episodic.tables import knowledge

KNOWLEDGE: Final = OwnedTable(
    knowledge, tuple(c for c in knowledge.c if c.name not in {"search", "success_rate", "updated_at"}), rows.knowledge
)

"""The lineages of the documents in PostgreSQL (pure); see `app.lineage`.

Every row with documents of our making says their version: `SCHEMA_VERSION` in `records` is the one that is written.
"""

from __future__ import annotations

from typing import Final

from app.lineage import Lineage

EPISODES: Final = Lineage()
"""Of one document with the keys perception, reasoning, action, outcome and metadata."""
KNOWLEDGE: Final = Lineage()
"""Of the content."""
SESSIONS: Final = Lineage()
"""Of the state."""

"""THE ONE PLACE: settings → engines → `HybridMemoryService`, opened and closed in order."""

from __future__ import annotations

from app.bootstrap.opening import Installation, open_access, open_installation
from app.bootstrap.servers import migrate

__all__ = ["Installation", "migrate", "open_access", "open_installation"]

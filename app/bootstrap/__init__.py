"""THE ONE PLACE: settings → engines → `HybridMemoryService`, opened and closed in order."""

from __future__ import annotations

from app.bootstrap.opening import Installation, open_access, open_installation
from app.bootstrap.servers import migrate
from app.bootstrap.timetable import Nightly, nightly

__all__ = ["Installation", "Nightly", "migrate", "nightly", "open_access", "open_installation"]

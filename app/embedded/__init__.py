"""The embedded engines, mechanics only: own a data directory, start Valkey and PostgreSQL in it, return URLs.

Everything here but `kept_running` blocks for a moment: call it from a thread. The order is always the same: open the
`DataDirectory`, start engines in its subdirectories, stop them, close it. Holding the directory is what makes it
safe to end engines that a killed owner left running. See `docs/decisions/` for why PostgreSQL's binaries are run
directly.
"""

from __future__ import annotations

from app.embedded.directory import DataDirectory
from app.embedded.keeping import kept_running
from app.embedded.postgres import postgres_url, start_postgres
from app.embedded.processes import EmbeddedServer
from app.embedded.valkey import Fsync, start_valkey

__all__ = ["DataDirectory", "EmbeddedServer", "Fsync", "kept_running", "postgres_url", "start_postgres", "start_valkey"]

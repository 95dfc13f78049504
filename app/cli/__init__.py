"""The command line: `hybrid-memory --help`."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from typing import NoReturn

from rich.console import Console
from rich.text import Text

from app.errors import HybridMemoryError, Unauthenticated

__all__ = ["main"]


def main() -> None:
    """Run a command; an error this project raises on purpose is one sentence and exit status 1, not a traceback."""
    try:
        from app.cli.commands import app  # takes a second, in which Ctrl-C may come

        app()
    except HybridMemoryError as error:
        hint = "; commands send what MEMORY_API_KEY holds" if isinstance(error, Unauthenticated) else ""
        said = Text.assemble(("error:", "bold red"), f" {error}{hint}")
        Console(stderr=True).print(said, soft_wrap=True)
        _leave(1)
    except KeyboardInterrupt:
        _leave(130)


def _leave(status: int) -> NoReturn:
    """Exit now. All that was opened is closed; only a model may still be loading, and Python would wait for its thread."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # whoever read it is gone
            stream.flush()
    if any(thread is not threading.main_thread() and not thread.daemon for thread in threading.enumerate()):
        os._exit(status)
    sys.exit(status)

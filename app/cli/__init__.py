"""The command line: `hybrid-memory --help`."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from typing import Final, NoReturn

from rich.console import Console
from rich.text import Text

from app.errors import HybridMemoryError, Unauthenticated

__all__ = ["main"]

_GC_THRESHOLDS: Final = (50_000, 20, 20)
"""Imports and requests make many objects and few cycles: looking for those less often makes a start a tenth shorter."""


def main() -> None:
    """Run a command; an error this project raises on purpose is one sentence and exit status 1, not a traceback."""
    gc.set_threshold(*_GC_THRESHOLDS)
    try:
        from app.cli.commands import app  # takes a second, in which Ctrl-C may come

        app()
    except SystemExit as ended:
        _leave(int(ended.code or 0))
    except HybridMemoryError as error:
        hint = "; commands send what MEMORY_API_KEY holds" if isinstance(error, Unauthenticated) else ""
        said = Text.assemble(("error:", "bold red"), f" {error}{hint}")
        Console(stderr=True).print(said, soft_wrap=True)
        _leave(1)
    except KeyboardInterrupt:
        _leave(130)


def _leave(status: int) -> NoReturn:
    """Exit now. All that was opened is closed; Python would take a second for its own, and wait for a model that still loads."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # whoever read it is gone
            stream.flush()
    os._exit(status)

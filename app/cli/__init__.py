"""The command line: `hybrid-memory --help`."""

from __future__ import annotations

import sys

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
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)

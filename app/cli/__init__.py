"""The command line: `hybrid-memory --help`."""

from __future__ import annotations

import sys

from rich.console import Console

from app.cli.commands import app
from app.errors import HybridMemoryError

__all__ = ["app", "main"]


def main() -> None:
    """Run a command; an error this project raises on purpose is one sentence and exit status 1, not a traceback."""
    try:
        app()
    except HybridMemoryError as error:
        Console(stderr=True).print(f"[bold red]error:[/] {error}", soft_wrap=True, highlight=False)
        sys.exit(1)

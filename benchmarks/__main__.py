"""`python -m benchmarks`: runs the stages and prints a table."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from app.consolidation.representation import ContextPolicy, draft_message
from app.observability import configure_logging
from app.settings import EmbedderChoice
from benchmarks import floors, http, in_process
from benchmarks.report import Figure, Floor, as_json, rate, table_of, time_each
from benchmarks.workload import Workload, in_context, make_workload

_MEGABYTE: Final = 1e6
_TASKS: Final = 32
_WARM_UP: Final = 200
_MESSAGES: Final = 10_000
_QUICK_MESSAGES: Final = 1_000


@dataclass(frozen=True, slots=True)
class Bench:
    """What is measured on: a workload, and a directory with one data directory an embedder."""

    workload: Workload
    home: Path
    progress: Progress

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        task = self.progress.add_task(what, total=1)
        yield
        self.progress.advance(task)

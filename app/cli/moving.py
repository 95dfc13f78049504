"""Commands that move memories: whole installations as backups, namespaces as files."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from pathlib import Path
from typing import TypeAlias

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from app.bootstrap import Installation, open_installation
from app.cli.connecting import Mover
from app.cli.files import replaced
from app.cli.showing import pairs_table
from app.errors import ConfigurationError, DataDirectoryInUse
from app.settings import Settings
from app.transfer.container import check
from app.transfer.reading import PortableReader

Reaching: TypeAlias = AbstractAsyncContextManager[Mover]


async def backup(reaching: Reaching, path: Path, console: Console) -> None:
    """Write a backup to `path`, which is there when it is whole and was read again, and not before."""
    async with reaching as memory:
        await _receive(memory.backup(), path, check, console)


async def export(reaching: Reaching, path: Path, namespace: str, console: Console) -> None:
    """Write a namespace to `path`, which is there when it is whole and was read again, and not before."""

    def is_whole(written: Path) -> None:
        for _ in PortableReader(written, namespace).batches():
            pass

    async with reaching as memory:
        await _receive(memory.export(namespace), path, is_whole, console)


async def restore(settings: Settings, path: Path, console: Console) -> None:
    """Fill an empty installation, which is this process's alone.

    Raises:
        ConfigurationError: a service runs on it.
    """
    check(path)  # before anything is started
    try:
        async with open_installation(settings) as installation:
            await _restore(installation, path, console)
    except DataDirectoryInUse as error:
        holder = "the process that has it" if error.pid is None else f"process {error.pid}"
        problem = f"{error.data_dir} is in use: stop {holder}, then restore; it needs the installation to itself"
        raise ConfigurationError(problem) from error


async def _restore(installation: Installation, path: Path, console: Console) -> None:
    with reading(console) as progress:
        task = progress.add_task(f"restoring {path.name}", total=size_of(path))
        rows = await installation.service.restore(path, lambda position: progress.update(task, completed=position))
    console.print(pairs_table("restored", rows))
    console.print("everything is queued for the index, which `hybrid-memory serve` (or `worker`) fills", soft_wrap=True)


async def _receive(stream: AsyncGenerator[bytes, None], path: Path, is_whole: Callable[[Path], object], console: Console) -> None:
    started, size = time.monotonic(), 0
    with replaced(path, is_whole) as file, _writing(console) as progress:
        task = progress.add_task(f"writing {path.name}", total=None)
        async with aclosing(stream) as portions:
            async for portion in portions:
                file.write(portion)
                size += len(portion)
                progress.update(task, completed=size)
    rate = decimal(int(size / max(time.monotonic() - started, 1e-3)))
    console.print(f"{path}: {decimal(size)}, {rate}/s", soft_wrap=True, highlight=False, markup=False)


def size_of(path: Path) -> int:
    return path.stat().st_size


def _writing(console: Console) -> Progress:
    """How much and how fast: how much there will be is not known before."""
    return Progress(
        SpinnerColumn(), TextColumn("{task.description}"), DownloadColumn(), TransferSpeedColumn(), TimeElapsedColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip


def reading(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip

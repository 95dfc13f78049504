"""Taking files in: our own, and those of other memories, with a report of what was left out and why."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from app.cli.moving import Reaching, reading, size_of
from app.cli.showing import pairs_table, reasons_table
from app.errors import Conflict, InvalidInput
from app.ingestion.limits import Limits
from app.records import DEFAULT_NAMESPACE, ImportReport, utc_now
from app.transfer.admission import Admission
from app.transfer.reading import PortableReader, namespace_of
from app.transfer.sink import kind_of
from app.transfer.sources import Conversion, Source, converted, is_portable

_REASONS_SHOWN: Final = 20
_LINE: Final = re.compile(r"line (\d+)(.*)")


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """Which file, whose (None: our own), and where it goes (None: where it was written for)."""

    path: Path
    source: Source | None = None
    namespace: str | None = None
    is_dry: bool = False
    as_json: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """What a file holds, what of it was new and what known (both None in a dry run), and what was left out."""

    source: str
    file: str
    namespace: str
    dry_run: bool
    found: Mapping[str, int]
    new: Mapping[str, int] | None = None
    known: Mapping[str, int] | None = None
    skipped: Sequence[Mapping[str, str]] = ()
    trimmed: Sequence[Mapping[str, Any]] = ()


async def import_(reaching: Reaching, plan: ImportPlan, console: Console) -> None:
    """Take a file in, or only look at it, and print the report.

    Raises:
        InvalidInput: the file is cut short, or is no such export; nothing was written.
        Conflict: an id stands for something else already; nothing was written.
    """
    is_own = plan.source is None or (plan.source is Source.JSONL and is_portable(plan.path))
    report = await (_own(reaching, plan, console) if is_own else _foreign(reaching, plan, console))
    if plan.as_json:
        console.file.write(json.dumps(asdict(report), indent=2, ensure_ascii=False) + "\n")
    else:
        _show(report, console)


async def _own(reaching: Reaching, plan: ImportPlan, console: Console) -> Report:
    if plan.source is None and not is_portable(plan.path):
        raise InvalidInput("file", f"is no export of our own: say with --from whose it is ({', '.join(Source)})")
    target = plan.namespace or namespace_of(plan.path)  # before anything is started
    if plan.is_dry:
        found = await asyncio.to_thread(_looked_at, plan.path, target)
        return Report("hybrid-memory", plan.path.name, target, dry_run=True, found=found)
    report = await _sent(reaching, plan.path, target, console)
    found = dict(Counter(report.new) + Counter(report.known))
    return Report("hybrid-memory", plan.path.name, target, False, found, report.new, report.known)


def _looked_at(path: Path, namespace: str) -> Mapping[str, int]:
    """How many records of each kind a file of our own holds, each within the limits."""
    admission, found = Admission(Limits(), utc_now()), Counter[str]()
    for batch in PortableReader(path, namespace).batches():
        for placed in batch.placed:
            admission.admit(placed)
            found[kind_of(placed.record)] += 1
    return dict(found)


async def _foreign(reaching: Reaching, plan: ImportPlan, console: Console) -> Report:
    """Our own lines are made of the export, all of it, before anything is started; then these are taken in."""
    assert plan.source is not None  # noqa: S101 - our own files go another way
    target = plan.namespace or DEFAULT_NAMESPACE
    conversion = await asyncio.to_thread(converted, plan.path, plan.source, target, utc_now())
    done = None
    if not plan.is_dry and conversion.counts:
        with _as_file(conversion) as path, _naming_the_place(conversion):
            done = await _sent(reaching, path, target, console)
    return Report(
        source=plan.source.value,
        file=plan.path.name,
        namespace=target,
        dry_run=plan.is_dry,
        found=conversion.counts,
        new=None if done is None else done.new,
        known=None if done is None else done.known,
        skipped=[asdict(skip) for skip in conversion.skipped],
        trimmed=[asdict(trimmed) for trimmed in conversion.trimmed],
    )


@contextmanager
def _as_file(conversion: Conversion) -> Iterator[Path]:
    with tempfile.NamedTemporaryFile(prefix="hybrid-memory-import-", suffix=".jsonl") as file:
        file.writelines(conversion.lines())
        file.flush()
        yield Path(file.name)


@contextmanager
def _naming_the_place(conversion: Conversion) -> Iterator[None]:
    """A refusal names a line of the file that was made: have it name the place in the export."""
    try:
        yield
    except (InvalidInput, Conflict) as error:
        line = _LINE.fullmatch(error.field)
        place = conversion.place_at(int(line[1])) if line else None
        if line is None or place is None:
            raise
        raise type(error)(f"{place}{line[2]}", error.problem) from error


async def _sent(reaching: Reaching, path: Path, namespace: str, console: Console) -> ImportReport:
    async with reaching as memory:
        with reading(console) as progress:
            # It is read twice: to be looked at, and to be written. A service that is sent it reads it by itself.
            task = progress.add_task(f"importing {path.name}", total=2 * size_of(path))
            return await memory.import_file(path, namespace, lambda position: progress.update(task, completed=position))


def _show(report: Report, console: Console) -> None:
    if not report.found:
        console.print("nothing would be imported" if report.dry_run else "nothing was imported")
    elif report.dry_run:
        console.print(pairs_table("would be imported", report.found))
    else:
        console.print(pairs_table("new", report.new) if report.new else "nothing is new")
    if report.known:
        console.print(pairs_table("known", report.known))
    _show_skipped(report, console)


def _show_skipped(report: Report, console: Console) -> None:
    reasons = Counter(f"{skip['kind']}: {skip['reason']}" for skip in report.skipped)
    if reasons:
        console.print(reasons_table("skipped", dict(reasons.most_common(_REASONS_SHOWN))))
    if report.trimmed:
        console.print(f"{len(report.trimmed)} records without fields that are over a limit", soft_wrap=True, highlight=False)
    if len(reasons) > _REASONS_SHOWN or report.trimmed:
        console.print("[dim]--json lists all of it, place by place[/]")

"""What commands print (pure). What users wrote is never read as markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime
from typing import Any, Final

from rich import box
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from app.client.answers import Backlog, EmbeddingInUse, OutboxDepth, QueuedRecord, Status
from app.records import ApiKey, Hit, Recollection

_INDENT: Final = (0, 0, 1, 0)


def hits_grid(hits: Sequence[Hit]) -> Table:
    """A hit after the other: its score and text, and below where it came from and how the score came about."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(justify="right", style="bold cyan", no_wrap=True)
    grid.add_column(overflow="fold")
    for hit in hits:
        grid.add_row(f"{hit.score:.2f}", Text(hit.text))
        grid.add_row("", Padding(_provenance(hit), _INDENT))
    return grid


def hits_line(answer: Recollection) -> Text:
    """How many there are, and how long it took."""
    count = len(answer.hits)
    return Text(f"{count} {'hit' if count == 1 else 'hits'} in {answer.latency_ms:.1f} ms", style="dim")


def _provenance(hit: Hit) -> Text:
    parts = ", ".join(f"{name} {value:+.2f}" for name, value in hit.components.items())
    known = (hit.author, f"{hit.created_at:%Y-%m-%d}", hit.scope.session_id, hit.kind.value, f"{hit.tier.value} tier", parts)
    return Text(" · ".join(filter(None, known)), style="dim")


def status_table(status: Status) -> Table:
    """The books, a section a tier; what is away is called so."""
    table = _pairs()
    sections = {
        "records": _fields(status.records) or {"": "the episodic tier is away"},
        "backlog": _fields(status.backlog) or {"": "the working tier is away"},
        "outbox": _fields(status.outbox) or {"": "the episodic tier is away"},
        "index": {name: getattr(status, name) for name in ("indexed_points", "misplaced_points", "drift")},
        "embedding": _fields(status.embedding) or {"": "no provider has answered yet"},
    }
    for name, counts in sections.items():
        _add_section(table, name, counts)
    return table


def _fields(part: Mapping[str, int] | Backlog | OutboxDepth | EmbeddingInUse | None) -> Mapping[str, Any] | None:
    return asdict(part) if is_dataclass(part) else part


def pairs_table(title: str, counts: Mapping[str, Any]) -> Table:
    table = _pairs()
    _add_section(table, title, counts)
    return table


def reasons_table(title: str, counts: Mapping[str, int]) -> Table:
    """A row a reason, broken where it is too long for a line, and how often it was given, which is always in sight."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(no_wrap=True)
    for position, (reason, count) in enumerate(counts.items()):
        table.add_row(title if position == 0 else "", Text(reason), str(count))
    return table


def outbox_table(entries: Sequence[QueuedRecord]) -> Table:
    """An entry after the other: how it stands and what it is about, and below whose it is, its attempts and last error."""
    table = Table("id", "state", "kind", "record", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    table.columns[3].overflow = "fold"
    for entry in entries:
        kind = entry.kind if entry.op == "upsert" else f"{entry.op} {entry.kind}"
        table.add_row(str(entry.id), entry.state, kind, Text(str(entry.record_uid)))
        table.add_row("", "", "", Padding(_attempts(entry), _INDENT))
    return table


def _attempts(entry: QueuedRecord) -> Text:
    tried = f"{entry.attempts} attempts, {entry.failures} failures"
    waits = f"next at {entry.next_attempt_at:%Y-%m-%dT%H:%M:%S}" if entry.next_attempt_at else None
    return Text(" · ".join(filter(None, (f"in {entry.namespace}", tried, waits, entry.last_error))), style="dim")


def keys_table(keys: Sequence[ApiKey], now: datetime) -> Table:
    """A row a key; the id is never broken, so that it can be copied."""
    table = Table("id", "name", "may", "in", "state", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.columns[0].no_wrap = True
    table.columns[1].overflow = table.columns[3].overflow = "fold"
    for key in keys:
        permissions = " ".join(p.removeprefix("memory:") for p in sorted(key.permissions))
        table.add_row(str(key.id), Text(key.name), permissions, Text(" ".join(sorted(key.namespaces))), _state(key, now))
    return table


def _state(key: ApiKey, now: datetime) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "valid" if key.is_valid(now) else "expired"


def _pairs() -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _add_section(table: Table, name: str, counts: Mapping[str, Any]) -> None:
    for position, (what, value) in enumerate(counts.items()):
        shown = "–" if value is None else str(value)
        table.add_row(name if position == 0 else "", what.replace("_", " "), Text(shown))

"""The command line in a terminal of 80 columns: its help, and what it prints."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from importlib.metadata import version
from typing import Any

import pytest
import typer
from given import NOW
from rich.console import Console, RenderableType
from typer.testing import CliRunner

from app.cli.commands import app
from app.cli.showing import hits_grid, hits_line, keys_table, outbox_table, pairs_table, reasons_table, status_table
from app.cli.trending import trends_table
from app.client.answers import Backlog, EmbeddingInUse, OutboxDepth, QueuedRecord, Status
from app.records import (
    ApiKey,
    DayValue,
    Direction,
    Hit,
    Permission,
    Recollection,
    RecordKind,
    Scope,
    Tier,
    Trend,
    Trends,
    derived_uuid,
)


def printed(renderable: RenderableType) -> list[str]:
    """The lines as they appear in a terminal of 80 columns, without the blanks at their ends."""
    console = Console(file=io.StringIO(), width=80)
    console.print(renderable)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined] # it is a StringIO


def command_lines(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command and group, as it is typed."""
    yield path
    for name, command in getattr(group, "commands", {}).items():
        yield from command_lines(command, (*path, name))


@pytest.mark.parametrize("line", [*command_lines(typer.main.get_command(app))], ids=" ".join)
def test_every_command_says_what_it_does(line: tuple[str, ...]) -> None:
    """`--help` works for each command and begins with how it is used and a sentence about it."""
    answer = CliRunner().invoke(app, [*line, "--help"], env={"COLUMNS": "80", "TERM": "dumb"})
    usage, sentence = [text.strip() for text in answer.output.splitlines() if text.strip()][:2]
    assert (answer.exit_code, usage.startswith("Usage: "), sentence != "") == (0, True, True)
    assert max(map(len, answer.output.splitlines())) <= 80


def test_it_tells_its_version() -> None:
    """One line, as of the distribution that is installed."""
    answer = CliRunner().invoke(app, ["--version"])
    assert (answer.exit_code, answer.output) == (0, f"hybrid-memory {version('hybrid-memory')}\n")


@pytest.mark.parametrize(("found", "told"), [(0, "0 hits in 1.5 ms"), (1, "1 hit in 1.5 ms"), (2, "2 hits in 1.5 ms")])
def test_a_search_counts_its_hits(found: int, told: str) -> None:
    """In words that fit the number."""
    hit = Hit(derived_uuid("hit"), RecordKind.KNOWLEDGE, "Cats like tea.", 1.0, {}, Tier.SEMANTIC, Scope(), NOW)
    assert printed(hits_line(Recollection((hit,) * found, latency_ms=1.5))) == [told]


def test_a_hit_shows_its_text_as_it_was_said_and_where_it_came_from() -> None:
    """The whole text, broken between words, and never read as markup; below it author, day, session, kind and score."""
    hit = Hit(
        derived_uuid("hit"), RecordKind.MESSAGE, "She said [/red] and [bold]meant it[/bold]. " * 2, 0.7,
        {"dense": 0.3, "bm25": 0.4}, Tier.WORKING, Scope(session_id="s1"), NOW, author="Ana",
    )  # fmt: skip
    assert printed(hits_grid([hit])) == [
        "0.70 She said [/red] and [bold]meant it[/bold]. She said [/red] and [bold]meant",
        "     it[/bold].",
        "     Ana · 2026-05-04 · s1 · message · working tier · dense +0.30, bm25 +0.40",
        "",
    ]


def test_a_hit_without_author_and_session_shows_what_it_has() -> None:
    """A fact has no author: nothing stands in its place."""
    hit = Hit(derived_uuid("hit"), RecordKind.KNOWLEDGE, "Cats like tea.", 1.0, {}, Tier.SEMANTIC, Scope(), NOW)
    assert printed(hits_grid([hit])) == ["1.00 Cats like tea.", "     2026-05-04 · knowledge · semantic tier", ""]


def test_the_books_show_every_tier() -> None:
    """A line a figure; what there is none of is a dash."""
    status = Status(
        backlog=Backlog(sessions=0, messages=0, oldest_at=None), outbox=OutboxDepth(1, 0, None), records={"message": 2},
        indexed_points=1, misplaced_points=0, drift=1, embedding=EmbeddingInUse("hashing__384", "hashing", 384, None),
    )  # fmt: skip
    assert printed(status_table(status)) == [
        "records    message           2",
        "backlog    sessions          0",
        "           messages          0",
        "           oldest at         –",
        "           episodes          0",
        "           malformed         0",
        "outbox     depth             1",
        "           dead letters      0",
        "           oldest at         –",
        "           erasures          0",
        "index      indexed points    1",
        "           misplaced points  0",
        "           drift             1",
        "embedding  space             hashing__384",
        "           model             hashing",
        "           dimension         384",
        "           provider          –",
    ]


def test_the_books_name_what_is_away() -> None:
    """A tier that did not answer has no figures, and none are made up."""
    away = Status(None, None, None, None, None, None, None)
    assert printed(status_table(away)) == [
        "records                      the episodic tier is away",
        "backlog                      the working tier is away",
        "outbox                       the episodic tier is away",
        "index      indexed points    –",
        "           misplaced points  –",
        "           drift             –",
        "embedding                    no provider has answered yet",
    ]


def test_counts_are_a_line_each() -> None:
    """What a consolidation did, in the order it was done."""
    counts = {"messages_drained": 3, "records_indexed": 4}
    assert printed(pairs_table("consolidated", counts)) == [
        "consolidated  messages drained  3",
        "              records indexed   4",
    ]


def test_a_long_reason_does_not_hide_how_often_it_was_given() -> None:
    """It is broken into lines, and read as it is written; the count stands after the first of them."""
    reasons = {f"message: role: '[red]' is none of {', '.join(['user_of_it'] * 8)}": 1234, f"session: {'x' * 80}": 1, "blank": 2}
    assert printed(reasons_table("skipped", reasons)) == [
        "skipped  message: role: '[red]' is none of user_of_it, user_of_it,          1234",
        "         user_of_it, user_of_it, user_of_it, user_of_it, user_of_it,",
        "         user_of_it",
        f"         session:{' ' * 59}1",
        f"         {'x' * 65}",
        f"         {'x' * 15}",
        "         blank                                                              2",
    ]


def test_the_outbox_is_a_table() -> None:
    """An entry after the other: what it is about, how it stands and why; what others wrote is never read as markup."""
    entry = QueuedRecord(
        id=17, op="upsert", kind="message", record_uid=derived_uuid("x"), namespace="[acme]", state="waiting", attempts=14,
        failures=0, next_attempt_at=NOW, last_error="too [bold]slow", is_dead=False, created_at=NOW,
    )  # fmt: skip
    dead = replace(entry, id=18, op="delete", state="dead", next_attempt_at=None, last_error=None, failures=12)
    shown = [" ".join(line.split()) for line in printed(outbox_table([entry, dead]))[3:]]
    assert [line for line in shown if line] == [
        f"17 waiting message {derived_uuid('x')}",
        "in [acme] · 14 attempts, 0 failures · next at",
        "2026-05-04T12:00:00 · too [bold]slow",
        f"18 dead delete message {derived_uuid('x')}",
        "in [acme] · 14 attempts, 12 failures",
    ]


def test_keys_are_told_apart_by_what_they_still_open() -> None:
    """A row a key: the id whole, for `keys revoke`, and whether it is valid, expired or revoked."""
    past = NOW - timedelta(days=1)
    keys = [key("agent"), key("[old]", expires_at=past), key("lost", revoked_at=past)]
    assert [line.split() for line in printed(keys_table(keys, NOW))[3:6]] == [
        [str(keys[0].id), "agent", "read", "write", "a", "b", "valid"],
        [str(keys[1].id), "[old]", "read", "write", "a", "b", "expired"],
        [str(keys[2].id), "lost", "read", "write", "a", "b", "revoked"],
    ]


def key(name: str, **fields: Any) -> ApiKey:
    return ApiKey(
        id=derived_uuid(name), name=name, key_sha256=b"", permissions=frozenset({Permission.WRITE, Permission.READ}),
        namespaces=frozenset({"b", "a"}), created_at=NOW, **fields,
    )  # fmt: skip


def test_trends_are_drawn_as_lines_of_blocks() -> None:
    """A character a day, a gap where there was nothing, and the direction in words."""
    days = tuple(DayValue(date(2026, 5, n), value, 1) for n, value in ((1, 0.0), (2, 0.5), (4, 1.0)))
    series = {
        "error_rate": Trend(days, mean=0.5, slope_per_day=0.333, p_value=0.04, direction=Direction.WORSENING),
        "quality": Trend((), mean=None, slope_per_day=None, p_value=None, direction=Direction.UNKNOWN),
    }
    assert [line.split() for line in printed(trends_table(Trends(None, 7, series))) if line] == [
        ["7", "days", "mean", "a", "day"],
        ["─" * 47],
        ["error", "rate", "···▁▅·█", "0.5", "+0.33", "worsening"],
        ["quality", "·······", "–", "–", "unknown"],
    ]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (
            ["--http", "--url", "http://memory.example"],
            "--url is for stdio: the service at http://memory.example serves MCP itself, at http://memory.example/mcp",
        ),
        (
            ["--http", "--namespace", "acme"],
            "--namespace is for stdio: over HTTP it is that of the key, if the key has one namespace",
        ),
        (["--port", "8001"], "--host and --port say where to serve over HTTP: add --http, or leave them out"),
    ],
)
def test_mcp_ignores_no_option(options: list[str], complaint: str) -> None:
    """What means nothing to the transport is refused, before anything is started."""
    assert str(CliRunner().invoke(app, ["mcp", *options]).exception) == complaint

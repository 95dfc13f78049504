"""A namespace out and in again, on the twin of tier 2 and on a real PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from factories import (
    EVERYWHERE,
    Tiers,
    append,
    check_books,
    consolidation_of,
    contents_of,
    drain_of,
    history_of,
    ingestion_of,
    outbox_of,
)
from given import NOW, SCOPE, SESSION, episode, knowledge, stored

from app.errors import Conflict, InvalidInput, TierUnavailable
from app.ingestion.limits import Limits
from app.learning.revisions import changes
from app.ports import EpisodicMemory
from app.records import (
    Cause,
    Draft,
    EpisodeKind,
    ImportReport,
    Message,
    Origin,
    RecordKind,
    Role,
    Scope,
    SessionKey,
    SessionState,
    Tier,
    new_id,
)
from app.testing.clock import FixedClock
from app.testing.episodic import InMemoryEpisodicMemory
from app.testing.faults import Fault, troubled
from app.testing.working import InMemoryWorkingMemory
from app.transfer.exporting import Exporting
from app.transfer.importing import Importing
from app.transfer.reading import id_in

Lines = list[dict[str, Any]]
EARLIER = NOW - timedelta(days=1)


@pytest.fixture
def tiers(episodic: EpisodicMemory) -> Tiers:
    """Where things are imported into."""
    return site(episodic)


def site(episodic: EpisodicMemory) -> Tiers:
    clock = FixedClock(NOW)
    return Tiers(clock=clock, working=InMemoryWorkingMemory(clock), episodic=episodic)


async def exported(tiers: Tiers, path: Path, namespace: str = "acme") -> Path:
    exporting = Exporting(tiers.episodic, drain_of(tiers), limits=Limits(), clock=tiers.clock)
    return kept(path, b"".join([portion async for portion in exporting.stream(namespace)]))


def kept(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


async def imported(tiers: Tiers, path: Path, namespace: str = "acme") -> ImportReport:
    importing = Importing(tiers.episodic, drain_of(tiers), limits=Limits(), clock=tiers.clock)
    return await importing.run_file(path, namespace)


async def a_life(path: Path) -> Path:
    """The export of a namespace with a little of everything, made on the twin."""
    tiers = site(InMemoryEpisodicMemory())
    await append(tiers, "one", "two", "three")
    await tiers.working.save_state(SESSION, SessionState("move", {"city": "Ghent"}, ("pack", "go"), (new_id(),)))
    await consolidation_of(tiers).run()
    await drain_of(tiers).end(SESSION)
    await append(tiers, "naïve 🙂\n\\ line", "still in Redis", session=SessionKey("acme", "s2"))
    told = knowledge("told", content={"a": None, "n": 2**53, "f": 0.1}, supporting_episodes=(new_id(),), valid_from=EARLIER)
    older = knowledge("older", superseded_by=told.id, times_applied=3, success_count=2)
    told = replace(told, supersedes=older.id, origin=Origin.LEARNED, is_active=False, inactive_reason="wrong")
    await stored(tiers.episodic, told, older)
    async with tiers.episodic.writing() as tx:
        await tx.add_revision(told.id, Cause.STORED, changes(None, told), EARLIER)
        await tx.add_revision(told.id, Cause.RETIRED, {"is_active": False, "superseded_by": None}, NOW)
    task = episode(
        kind=EpisodeKind.TASK, scope=Scope("acme"), started_at=EARLIER, ended_at=EARLIER, outcome={"ok": True},
        outcome_quality=0.5, quality=0.9, metadata={"a": None},
    )  # fmt: skip
    await stored(tiers.episodic, task)
    async with tiers.episodic.writing() as tx:
        await tx.append_steps(task.id, [{"did": 1}, {"did": None}], EARLIER)
        await tx.append_steps(task.id, [{"did": 3}], NOW)
    return await exported(tiers, path)


async def content(tiers: Tiers, namespace: str = "acme") -> tuple[object, ...]:
    """Everything of a namespace, record by record."""
    scope = Scope(namespace)
    async with tiers.episodic.reading() as reader:
        episodes = await reader.list_episodes(scope, kind=None, before=None, limit=1000)
        knowledge = await reader.list_knowledge(scope, kind=None, before=None, limit=1000)
        return (
            episodes,
            knowledge,
            await reader.list_sessions(namespace, after="", limit=1000),
            await reader.list_messages(namespace, after=("", 0), limit=1000),
            {e.id: await reader.steps(e.id, after=-1, limit=1000) for e in episodes},
            {k.id: await reader.revisions(k.id, after=0, limit=1000) for k in knowledge},
        )


def lines_of(path: Path) -> Lines:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path: Path, lines: Lines) -> Path:
    """Lines with an end that fits them."""
    records = [line for line in lines if line["type"] != "end"]
    end = {"type": "end", "lines": len(records) - 1}
    path.write_text("".join(json.dumps(line) + "\n" for line in [*records, end]))
    return path


def changed(path: Path, kind: str, **fields: Any) -> Path:
    """The file with these fields in its first line of that type; `None` takes one out."""
    lines = lines_of(path)
    line = next(line for line in lines if line["type"] == kind)
    line.update(fields)
    for name in [name for name, value in fields.items() if value is None]:
        del line[name]
    return write(path, lines)


async def test_what_was_exported_comes_back_as_it_was(tiers: Tiers, tmp_path: Path) -> None:
    """Imported into an empty installation, an export of it is the same, line by line, but for when it was made."""
    path = await a_life(tmp_path / "first")
    report = await imported(tiers, path)
    assert report == ImportReport({"session": 2, "knowledge": 2, "revision": 2, "episode": 3, "step": 3, "message": 5}, {})
    again = lines_of(await exported(tiers, tmp_path / "second"))
    assert again[1:-1] == lines_of(path)[1:-1]
    assert [line["type"] for line in again].count("message") == 5
    await check_conversations(tiers)


async def check_conversations(tiers: Tiers) -> None:
    """Each episode of the session knows the messages it holds."""
    async with tiers.episodic.reading() as reader:
        for found in await reader.list_episodes(EVERYWHERE, kind=EpisodeKind.CONVERSATION, before=None, limit=100):
            held = await reader.episode_messages(found.id)
            assert (found.message_count, found.first_sequence, found.last_sequence) == (
                len(held), held[0].sequence, held[-1].sequence,
            )  # fmt: skip


async def test_what_was_imported_is_indexed(tiers: Tiers, tmp_path: Path) -> None:
    """Every record is queued, and one run brings index and truth together."""
    await imported(tiers, await a_life(tmp_path / "file"))
    await consolidation_of(tiers).run()
    assert (await consolidation_of(tiers).status()).drift == 0
    assert await outbox_of(tiers) == ()


async def test_importing_twice_changes_nothing(tiers: Tiers, tmp_path: Path) -> None:
    """The second time everything is known: no row changes, and nothing is queued."""
    path = await a_life(tmp_path / "file")
    await imported(tiers, path)
    await consolidation_of(tiers).run()
    before = await content(tiers)
    report = await imported(tiers, path)
    assert report == ImportReport({}, {"session": 2, "knowledge": 2, "revision": 2, "episode": 3, "step": 3, "message": 5})
    assert (await content(tiers), await outbox_of(tiers)) == (before, ())


@pytest.mark.parametrize(
    "call", ["save_session", "save_knowledge", "add_revision", "save_episode", "append_steps", "insert_messages", "commit"]
)
async def test_an_interrupted_import_is_resumed_by_repeating_it(tiers: Tiers, tmp_path: Path, call: str) -> None:
    """Whatever failed on the way, the same import again ends where one without a failure does."""
    path = await a_life(tmp_path / "file")
    failing = Fault(TierUnavailable(Tier.EPISODIC, "away"), call)
    with pytest.raises(TierUnavailable):
        await imported(replace(tiers, episodic=troubled(tiers.episodic, failing)), path)
    await imported(tiers, path)
    assert lines_of(await exported(tiers, tmp_path / "again"))[1:-1] == lines_of(path)[1:-1]


async def test_another_namespace_gets_copies(tiers: Tiers, tmp_path: Path) -> None:
    """Beside the original, a copy has ids of its own that refer to each other, sort as the originals do, and stay the same."""
    path = await a_life(tmp_path / "file")
    await imported(tiers, path)
    before = await content(tiers)
    report = await imported(tiers, path, "copy")
    assert sum(report.new.values()) == 17
    assert await content(tiers) == before
    episodes, learned, *_, revisions = await content(tiers, "copy")
    originals, first_learned, *_ = before
    assert isinstance(episodes, tuple)
    assert isinstance(originals, tuple)
    assert [e.id for e in episodes] == [id_in("copy", e.id) for e in originals]
    assert isinstance(learned, tuple)
    assert isinstance(first_learned, tuple)
    assert [k.superseded_by for k in learned] == [k.superseded_by and id_in("copy", k.superseded_by) for k in first_learned]
    assert [k.supersedes for k in learned] == [k.supersedes and id_in("copy", k.supersedes) for k in first_learned]
    assert isinstance(revisions, dict)
    ((first, _),) = filter(None, revisions.values())
    assert first.changes == changes(None, next(k for k in learned if k.supersedes))
    assert sum((await imported(tiers, path, "copy")).known.values()) == 17


async def test_a_session_that_is_in_use_keeps_its_numbers(tiers: Tiers, tmp_path: Path) -> None:
    """Messages imported into a session that has others come after them, in their order, and the next one after those."""
    path = await a_life(tmp_path / "file")
    await append(tiers, "mine 1", "mine 2")
    await imported(tiers, path)
    scope, draft = Scope("acme", session_id="s1"), Draft(Role.USER, "mine 3")
    assert [a.sequence for a in (await ingestion_of(tiers).append(scope, [draft])).messages] == [6]
    await drain_of(tiers).drain(SESSION)
    assert await contents_of(tiers) == ["mine 1", "mine 2", "one", "two", "three", "mine 3"]
    assert [m.sequence for m in await history_of(tiers)] == [1, 2, 3, 4, 5, 6]
    assert (await imported(tiers, path)).new == {}
    await check_conversations(tiers)


async def test_what_was_forgotten_comes_back_in_its_place(tiers: Tiers, tmp_path: Path) -> None:
    """A message deleted since the export returns under its own number, and its episode counts it again."""
    path = await a_life(tmp_path / "file")
    await imported(tiers, path)
    before = await history_of(tiers)
    async with tiers.episodic.writing() as tx:
        await tx.delete_records(RecordKind.MESSAGE, "acme", [before[1].uid])
    assert (await imported(tiers, path)).new == {"message": 1}
    assert await history_of(tiers) == before
    await check_conversations(tiers)


async def test_a_conversation_that_goes_on_stays_the_only_open_one(tiers: Tiers, tmp_path: Path) -> None:
    """An open conversation of a session that is talking here already is imported as a closed one."""
    source = site(InMemoryEpisodicMemory())
    await append(source, "elsewhere")
    path = await exported(source, tmp_path / "file")
    await append(tiers, "here")
    await imported(tiers, path)
    async with tiers.episodic.reading() as reader:
        episodes = await reader.list_episodes(EVERYWHERE, kind=None, before=None, limit=9)
    assert sorted(e.is_open for e in episodes) == [False, True]


async def test_messages_without_an_episode_are_cut_into_episodes(tiers: Tiers, tmp_path: Path) -> None:
    """A file of another program's making may know of no episodes: its messages become some, as those that are said do."""
    lines: Lines = [{"type": "header", "format": "hybrid-memory-export", "version": 1, "namespace": "acme"}]
    lines += [
        {
            "type": "message", "id": str(new_id()), "session_id": "s1", "sequence": n, "role": "user", "content": f"said {n}",
            "created_at": (EARLIER + timedelta(hours=n)).isoformat(),
        }
        for n in (5, 9)
    ]  # fmt: skip
    path = write(tmp_path / "file", lines)
    assert await imported(tiers, path) == ImportReport({"message": 2}, {})
    assert await contents_of(tiers) == ["said 5", "said 9"]
    await check_books(tiers)
    assert await imported(tiers, path) == ImportReport({}, {"message": 2})


# ── refusals ──────────────────────────────────────────────────────────────────────────────────────────────────────

LIMIT = 9_000_000


def message(**fields: Any) -> Callable[[Path], object]:
    """A change to the first message of a file."""
    return lambda path: changed(path, "message", **fields)


REFUSALS: dict[str, tuple[Callable[[Path], object], str]] = {
    "an unknown type": (message(type="massage"), "{message}: Input tag 'massage' found"),
    "a missing field": (message(content=None), "{message}, content: Field required"),
    "a field too many": (message(extra=1), "{message}, extra: Extra inputs are not permitted"),
    "a string for a number": (message(sequence="1"), "{message}, sequence: Input should be a valid integer"),
    "a blank message": (message(content=" "), "{message}, content: must not be blank"),
    "a long message": (message(content="x" * 70_000), "{message}, content: must have at most 65536 bytes"),
    "NUL": (message(content="a\0b"), "{message}, content: must not contain NUL"),
    "deep metadata": (message(metadata={"a": [[[[[[[[1]]]]]]]]}), "{message}, metadata: must be nested at most 8 levels"),
    "no offset": (message(created_at="2026-05-04T12:00:00"), "{message}, created_at: Input should have timezone"),
    "the future": (message(created_at="2050-01-01T00:00:00Z"), "{message}, created_at: must not be more than 60 s"),
    "a strange episode": (message(episode_id=str(new_id())), "{message}, episode_id: must be that of a conversation"),
    "a revision ahead": (lambda p: changed(p, "revision", number=2), "{revision}, number: must be 1, is 2"),
    "a stray revision": (
        lambda p: changed(p, "revision", knowledge_id=str(new_id())),
        "{revision}, knowledge_id: must be that of a",
    ),
    "a step ahead": (lambda p: changed(p, "step", index=1), "{step}, index: must be 0, is 1"),
    "a stray step": (lambda p: changed(p, "step", episode_id=str(new_id())), "{step}, episode_id: must be that of an episode"),
    "a share of 2": (lambda p: changed(p, "knowledge", confidence=2.0), "{knowledge}, confidence: must be between 0 and 1"),
    "a newer document": (lambda p: changed(p, "episode", schema_version=99), "{episode}, schema_version: Input should be less"),
    "a newer version": (lambda p: changed(p, "header", version=3), "file: is of a newer version (3; this program reads 2)"),
    "no header": (lambda p: write(p, lines_of(p)[1:]), "line 1: must be the header"),
    "two headers": (lambda p: write(p, [lines_of(p)[0], *lines_of(p)]), "line 2: must not be another header"),
    "sessions mixed up": (lambda p: write(p, [*lines_of(p)[:-1], lines_of(p)[-6]]), "{end}, session_id: came before"),
    "no JSON": (lambda p: p.write_text("hello\n"), "line 1: Invalid JSON"),
    "no text": (lambda p: p.write_bytes(b"\xff\n"), "line 1: Invalid JSON"),
    "nothing": (lambda p: p.write_bytes(b""), "file: is cut short: its end is missing after line 0"),
    "a line too long": (lambda p: p.write_bytes(b'{"a": "' + b"x" * LIMIT), "line 1: must have at most 8388608 bytes"),
    "a changed word": (lambda p: p.write_bytes(p.read_bytes().replace(b"three", b"seven")), "file: was changed: its checksum"),
    "too few lines": (
        lambda p: p.write_text(p.read_text().replace('"lines":17', '"lines":18')),
        "file: is not whole: its end says 18",
    ),
    "a second end": (lambda p: p.write_text(p.read_text() + p.read_text().splitlines()[-1]), "line 20: must not follow the end"),
}


@pytest.mark.parametrize(("change", "refusal"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_a_bad_file_is_refused_by_line_and_field(change: Callable[[Path], object], refusal: str, tmp_path: Path) -> None:
    """One bad line anywhere, and nothing of the file is written; the refusal says where and what."""
    tiers = site(InMemoryEpisodicMemory())
    path = await a_life(tmp_path / "file")
    places = {line["type"]: f"line {number}" for number, line in reversed([*enumerate(lines_of(path), start=1)])}
    change(path)
    with pytest.raises(InvalidInput) as refused:
        await imported(tiers, path)
    assert str(refused.value).startswith(refusal.format(**places))
    assert await content(tiers) == ((), (), (), (), {}, {})


async def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    """However many bytes of its end are missing, but the last line break, the file is known as cut short."""
    tiers = site(InMemoryEpisodicMemory())
    path = await a_life(tmp_path / "file")
    whole = path.read_bytes()
    for size in [*range(0, len(whole) - 1, 37), len(whole) - 2]:
        path.write_bytes(whole[:size])
        with pytest.raises(InvalidInput, match="file: is cut short"):
            await imported(tiers, path)
    assert await content(tiers) == ((), (), (), (), {}, {})


@pytest.mark.parametrize("kind", ["message", "episode", "knowledge"])
async def test_an_id_that_is_taken_is_refused_before_anything_is_written(tiers: Tiers, tmp_path: Path, kind: str) -> None:
    """An id that stands for other content, or for a record of somebody else's, is named by its line."""
    path = await a_life(tmp_path / "file")
    number, line = next((n, line) for n, line in enumerate(lines_of(path), start=1) if line["type"] == kind)
    taken = UUID(line["id"])
    if kind == "message":
        said = Message(taken, SCOPE, role=Role.USER, content="other", created_at=NOW)
        await drain_of(tiers).store(SESSION, [said])
    else:
        rival = Scope("rival")
        await stored(tiers.episodic, episode(id=taken, scope=rival) if kind == "episode" else knowledge(id=taken, scope=rival))
    before = await content(tiers)
    with pytest.raises(Conflict) as refused:
        await imported(tiers, path)
    assert refused.value.field == f"line {number}, id"
    assert await content(tiers) == before


async def test_an_export_never_shows_another_namespace(tiers: Tiers, tmp_path: Path) -> None:
    """Of a namespace whose name is like another's, only its own is written."""
    await append(tiers, "mine")
    await append(tiers, "theirs", session=SessionKey("acme2", "s1"))
    await stored(tiers.episodic, knowledge("theirs", scope=Scope("acme2")), episode(scope=Scope("acme2"), summary="theirs"))
    path = await exported(tiers, tmp_path / "file")
    assert "theirs" not in path.read_text()
    assert [line["type"] for line in lines_of(path)] == ["header", "session", "episode", "message", "end"]


async def test_a_record_that_cannot_be_read_fails_the_export(tmp_path: Path) -> None:
    """An export that lacks what a newer version wrote would look whole: it is refused."""
    tiers = site(InMemoryEpisodicMemory())
    await stored(tiers.episodic, episode(schema_version=99))
    with pytest.raises(TierUnavailable, match="written by a newer version"):
        await exported(tiers, tmp_path / "file")

"""The history of outcomes and feedback out and in again, on the twin of tier 2 and on a real PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from factories import Tiers, append, consolidation_of, drain_of, history_of, outbox_of
from given import NOW, episode, kind_of, knowledge, stored

from app.errors import InvalidInput
from app.ingestion.limits import Limits
from app.ports import EpisodicMemory
from app.records import (
    Episode,
    EpisodeKind,
    Feedback,
    ImportReport,
    Knowledge,
    Message,
    RecordKind,
    Scope,
    SessionKey,
    Verdict,
    message_uid,
    new_id,
)
from app.testing.clock import FixedClock
from app.testing.episodic import InMemoryEpisodicMemory
from app.testing.working import InMemoryWorkingMemory
from app.transfer.exporting import Exporting
from app.transfer.importing import Importing
from app.transfer.reading import id_in

Lines = list[dict[str, Any]]


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
    return await Importing(tiers.episodic, drain_of(tiers), limits=Limits(), clock=tiers.clock).run_file(path, namespace)


async def judged_life(path: Path) -> Path:
    """The export of a namespace with a message, a decision revised twice, a fact, and feedback on each."""
    tiers = site(InMemoryEpisodicMemory())
    await append(tiers, "one")
    await consolidation_of(tiers).run()
    decision = episode(kind=EpisodeKind.DECISION, scope=Scope("acme"), ended_at=NOW - timedelta(days=1), outcome={"done": 1})
    fact = knowledge()
    await stored(tiers.episodic, decision, fact)
    await revise(tiers, decision, replace(decision, outcome={"done": 6}, outcome_quality=0.5), call=new_id())
    for record in ((await history_of(tiers))[0], decision, fact):
        await say(tiers, record)
    return await exported(tiers, path)


async def revise(tiers: Tiers, before: Episode, after: Episode, *, call: UUID | None = None) -> None:
    async with tiers.episodic.writing() as tx:
        await tx.save_episode(after)
        await tx.revise_outcome(before, after, NOW, call=call)


async def say(tiers: Tiers, about: Message | Episode | Knowledge) -> None:
    scope = Scope("acme", "ana", session_id=about.scope.session_id)
    said = Feedback(new_id(), scope, kind_of(about), about.id, about.uid, Verdict.WRONG, NOW, query="when?", note="not so")
    async with tiers.episodic.writing() as tx:
        await tx.insert_feedback([said])


async def heard(tiers: Tiers, namespace: str) -> tuple[Feedback, ...]:
    async with tiers.episodic.reading() as reader:
        return await reader.list_feedback(namespace, after=None, limit=100)


def lines_of(path: Path) -> Lines:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_histories_and_feedback_come_back_as_they_were(episodic: EpisodicMemory, tmp_path: Path) -> None:
    """Line by line, once however often they are imported; what was judged is indexed with what was said about it."""
    tiers = site(episodic)
    path = await judged_life(tmp_path / "first")
    assert (await imported(tiers, path)).new == {
        "session": 1, "knowledge": 1, "episode": 2, "outcome": 2, "message": 1, "feedback": 3,
    }  # fmt: skip
    assert lines_of(await exported(tiers, tmp_path / "second"))[1:-1] == lines_of(path)[1:-1]
    await consolidation_of(tiers).run()
    assert ((await imported(tiers, path)).new, await outbox_of(tiers)) == ({}, ())


async def test_another_namespace_gets_copies(episodic: EpisodicMemory, tmp_path: Path) -> None:
    """Of the feedback too, each about the copy of what it was about; a message keeps its id, which is its session's."""
    tiers = site(episodic)
    path = await judged_life(tmp_path / "file")
    await imported(tiers, path)
    await imported(tiers, path, "copy")
    copies = {feedback.kind: feedback for feedback in await heard(tiers, "copy")}
    originals = await heard(tiers, "acme")
    assert len(originals) == len(copies) == 3
    for original in originals:
        copy = copies[original.kind]
        in_session = message_uid(SessionKey("copy", "s1"), original.record_id)
        is_message = original.kind is RecordKind.MESSAGE
        assert copy == replace(
            original,
            id=id_in("copy", original.id),
            scope=replace(original.scope, namespace="copy"),
            record_id=original.record_id if is_message else id_in("copy", original.record_id),
            record_uid=in_session if is_message else id_in("copy", original.record_id),
        )


async def test_feedback_on_what_is_not_there_is_left_out(episodic: EpisodicMemory, tmp_path: Path) -> None:
    """A record may have been taken out of the file: the rest of it is imported."""
    tiers = site(episodic)
    path = await judged_life(tmp_path / "file")
    lines = [line for line in lines_of(path)[:-1] if line["type"] != "knowledge"]
    lines.append({"type": "end", "lines": len(lines) - 1})
    kept(path, "".join(json.dumps(line) + "\n" for line in lines).encode())
    report = await imported(tiers, path)
    assert (report.new["feedback"], report.known) == (2, {"feedback": 1})


REFUSALS: list[tuple[str, Callable[[dict[str, Any]], object], str]] = [
    ("outcome", lambda line: line.update(episode_id=str(new_id())), "episode_id: must be that of an episode on a line before"),
    ("outcome", lambda line: line.update(outcome_quality=2.0), "outcome_quality: must be between 0 and 1, is 2.0"),
    ("outcome", lambda line: line.update(recorded_at="2050-01-01T00:00:00Z"), "recorded_at: must not be more than 60 s"),
    ("feedback", lambda line: line.update(verdict="great"), "verdict: Input should be"),
    ("feedback", lambda line: line.update(note=" "), "note: must not be blank"),
    (
        "feedback",
        lambda line: line.update(kind="message", session_id=None),
        "session_id: must be given for feedback on a message",
    ),
]


@pytest.mark.parametrize(("kind", "change", "refusal"), REFUSALS, ids=[refusal[:30] for _, _, refusal in REFUSALS])
async def test_a_bad_line_is_refused(kind: str, change: Callable[[dict[str, Any]], object], refusal: str, tmp_path: Path) -> None:
    """By number and field, and nothing of the file is written."""
    tiers = site(InMemoryEpisodicMemory())
    path = await judged_life(tmp_path / "file")
    lines = lines_of(path)[:-1]
    number, line = next((n, line) for n, line in enumerate(lines, start=1) if line["type"] == kind)
    change(line)
    lines.append({"type": "end", "lines": len(lines) - 1})
    kept(path, "".join(json.dumps(line) + "\n" for line in lines).encode())
    with pytest.raises(InvalidInput) as refused:
        await imported(tiers, path)
    assert str(refused.value).startswith(f"line {number}, {refusal}")
    assert (await heard(tiers, "acme"), await outbox_of(tiers)) == ((), ())

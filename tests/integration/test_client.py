"""Both clients against a live service: every call, and values for answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from served import Served
from talking import SAID_AT

from app.client import IngestReport, MemoryClient, Said, Session, StoredEpisode, Surface, SyncMemoryClient, as_json
from app.errors import Forbidden, InvalidInput, NotFound, Unauthenticated, VersionMismatch
from app.records import (
    Appended,
    AppendReceipt,
    Cause,
    Draft,
    Episode,
    EpisodeKind,
    KnowledgeKind,
    Message,
    Permission,
    RecordKind,
    Role,
    Scope,
    SessionKey,
    SessionState,
    Tier,
    message_uid,
    new_id,
)

WHEN = datetime.fromisoformat(SAID_AT)


@pytest.fixture
def client(api: Served) -> Iterator[SyncMemoryClient]:
    """The client that is waited for; the other one has the same methods, and asks in the tests below that await."""
    with SyncMemoryClient(api.url) as found:
        yield found


def draft(content: str, **fields: Any) -> Draft:
    return Draft(Role.USER, content, id=new_id(), created_at=WHEN, **fields)


async def test_what_is_appended_is_read_back_as_a_record(api: Served, client: SyncMemoryClient, namespace: str) -> None:
    """Both clients answer with the same values, equal to what the façade would answer with."""
    drafts = [draft("The cat is Miso.", name="Ana", metadata={"n": 1}), draft("She sees the vet.")]
    receipt = client.append("s 1", drafts, namespace=namespace)
    assert receipt == AppendReceipt(tuple(Appended(d.id or new_id(), n) for n, d in enumerate(drafts, 1)), Tier.WORKING, ())
    whose = Scope(namespace, session_id="s 1")
    messages = tuple(
        Message(d.id or new_id(), whose, d.role, d.content, WHEN, d.name, d.metadata, n) for n, d in enumerate(drafts, 1)
    )
    page = client.history("s 1", namespace=namespace)
    assert (page.items, page.next, page.degraded) == (messages, None, ())
    async with MemoryClient(api.url) as awaited:
        assert await awaited.history("s 1", namespace=namespace) == page
        assert [m async for m in awaited.iter_history("s 1", namespace=namespace, page_size=1)] == list(messages)
    assert list(client.iter_history("s 1", namespace=namespace, after=1)) == [messages[1]]
    recent = client.recent_context("s 1", namespace=namespace, limit=1)
    assert (recent.messages, recent.tier) == ((messages[1],), Tier.WORKING)


def test_a_search_answers_with_hits(client: SyncMemoryClient, namespace: str) -> None:
    """Hits, their neighbours and context are records; what did not answer would be named."""
    drafts = [draft("The cat is Miso."), draft("Lunch was rice.")]
    client.append("s1", drafts, namespace=namespace, wait="indexed")
    found = client.search("cat Miso", namespace=namespace, limit=1, neighbours=1, kinds=["message"])
    (hit,) = found.hits
    assert (hit.id, hit.kind, hit.text, hit.scope, found.degraded) == (
        drafts[0].id, RecordKind.MESSAGE, "The cat is Miso.", Scope(namespace, session_id="s1"), (),
    )  # fmt: skip
    assert [m.content for m in hit.neighbours] == ["Lunch was rice."]
    assert hit.score == pytest.approx(sum(hit.components.values()))
    context = client.context("cat", budget_tokens=100, namespace=namespace, session_id="s1")
    assert "The cat is Miso." in context.text
    assert context.spent_tokens <= context.budget_tokens == 100


def test_a_state_is_changed_at_its_version(client: SyncMemoryClient, namespace: str) -> None:
    """Saved, read, changed under a condition; one that is not met names the version the state is at."""
    state = SessionState("move", {"city": "Ghent"}, ("pack",), (new_id(),))
    first = client.replace_state("s1", state, namespace=namespace)
    second = client.change_state("s1", namespace=namespace, if_version=first, thoughts=["go"], goal=None)
    with pytest.raises(VersionMismatch) as failed:
        client.change_state("s1", namespace=namespace, if_version=first, thoughts=["too late"])
    assert (failed.value.kind, failed.value.current) == ("state", second)
    session = client.load_session("s1", namespace=namespace)
    changed = SessionState(None, {"city": "Ghent"}, ("pack", "go"), state.related_episodes, second)
    assert session == Session("s1", namespace, changed, session.created_at, None, None, ())
    client.end_session("s1", namespace=namespace, if_version=second)
    assert client.load_session("s1", namespace=namespace).ended_at is not None


def test_a_scratchpad_holds_any_json(client: SyncMemoryClient, namespace: str) -> None:
    """Written, read back as it was, and dropped."""
    client.append("s1", [draft("hi")], namespace=namespace)
    for value in ({"boxes": [1, None, "é"]}, None, 0.5):
        client.write_scratchpad("s1", "the key", value, namespace=namespace)
        assert client.read_scratchpad("s1", "the key", namespace=namespace) == value
    client.delete_scratchpad("s1", "the key", namespace=namespace)
    with pytest.raises(NotFound) as failed:
        client.read_scratchpad("s1", "the key", namespace=namespace)
    assert (failed.value.kind, failed.value.key) == ("scratchpad key", "the key")


def test_an_episode_lives_its_life(client: SyncMemoryClient, namespace: str) -> None:
    """Stored with steps, read, changed, judged, listed page by page, and deleted."""
    stored = client.store_episode("decision", namespace=namespace, action={"plan": 9}, steps=[{"did": "vote"}], started_at=WHEN)
    episode = stored.episode
    assert (stored.stored_in, stored.degraded, episode.kind, episode.action) == (
        Tier.EPISODIC,
        (),
        EpisodeKind.DECISION,
        {"plan": 9},
    )
    full = client.get_episode(episode.id, namespace=namespace)
    assert {f.name: getattr(full, f.name) for f in fields(Episode)} == {f.name: getattr(episode, f.name) for f in fields(Episode)}
    assert (full.is_learnable, full.requires_embedding, episode.is_learnable, episode.requires_embedding) == (False, True) * 2
    assert ([s.content for s in full.steps], full.step_count, full.next) == ([{"did": "vote"}], 1, None)
    said = client.ask(as_json(Surface.get_episode.request(episode.id, namespace=namespace)))
    assert full.quality_reasons == tuple(said["quality_reasons"]) != ()
    assert client.refresh_episode(episode) is episode
    changed = client.change_episode(episode.id, namespace=namespace, if_version=episode.version, summary="nine")
    assert client.refresh_episode(episode) == client.get_episode(episode.id, namespace=namespace)
    assert (changed.summary, changed.version) == ("nine", 2)
    judged = client.record_outcome(episode.id, {"done": 8}, 0.9, namespace=namespace)
    assert (judged.summary, judged.outcome, judged.outcome_quality, judged.version) == ("nine", {"done": 8}, 0.9, 3)
    assert [s.index for s in client.append_steps(episode.id, [{"did": "count"}], namespace=namespace)] == [1]
    steps = list(client.iter_steps(episode.id, namespace=namespace, page_size=1))
    assert client.list_steps(episode.id, namespace=namespace, limit=1).step_count == 2
    assert ([s.content for s in steps], client.list_steps(episode.id, namespace=namespace).items) == (
        [{"did": "vote"}, {"did": "count"}], tuple(steps),
    )  # fmt: skip
    other = client.store_episode("task", namespace=namespace, wait="none").episode
    assert {e.id for e in client.iter_episodes(namespace=namespace, page_size=1)} >= {episode.id}
    (listed,) = client.list_episodes(namespace=namespace, kind="decision").items
    full = client.get_episode(episode.id, namespace=namespace)
    assert listed == StoredEpisode(**{f.name: getattr(full, f.name) for f in fields(StoredEpisode)})
    client.delete_episode(episode.id, namespace=namespace)
    with pytest.raises(NotFound):
        client.get_episode(episode.id, namespace=namespace)
    assert other.scope == Scope(namespace)


def test_knowledge_is_kept_and_applied(client: SyncMemoryClient, namespace: str) -> None:
    """Stored, applied and counted, changed, listed, and deleted."""
    known = client.store_knowledge("Miso sees the vet on Fridays.", namespace=namespace, confidence=0.5, valid_from=WHEN)
    assert (known.kind, known.scope, known.confidence, known.valid_from) == (KnowledgeKind.FACT, Scope(namespace), 0.5, WHEN)
    assert client.get_knowledge(known.id, namespace=namespace) == known
    applied = client.apply_knowledge(known.id, "success", namespace=namespace)
    assert (applied.times_applied, applied.success_rate) == (1, 1.0)
    assert client.refresh_knowledge(known) == applied
    changed = client.change_knowledge(known.id, namespace=namespace, description="On Mondays.")
    assert list(client.iter_knowledge(namespace=namespace, page_size=1)) == [changed]
    assert client.list_knowledge(namespace=namespace, kind="strategy").items == ()
    client.delete_knowledge(known.id, namespace=namespace, if_version=changed.version)
    assert list(client.iter_knowledge(namespace=namespace)) == []


def test_knowledge_is_superseded_and_helps(client: SyncMemoryClient, namespace: str) -> None:
    """The successor names the older piece, the history tells both, and what applies in a situation says why."""
    rule = {"conditions": [{"field": "backlog", "op": "gt", "value": 20}]}
    older = client.store_knowledge("Split the sprint.", namespace=namespace, kind="strategy", content=rule, valid_from=WHEN)
    newer = client.supersede_knowledge(older.id, "Halve the sprint.", namespace=namespace, content=rule)
    assert (newer.supersedes, newer.kind) == (older.id, KnowledgeKind.STRATEGY)
    history = client.knowledge_history(older.id, namespace=namespace)
    assert ([v.id for v in history.versions], [r.cause for r in history.revisions][-1]) == (
        [older.id, newer.id],
        Cause.SUPERSEDED,
    )
    (found,) = client.learned_strategies({"backlog": 25}, namespace=namespace).strategies
    assert (found.knowledge.id, found.matched_conditions[0].found, found.why != ()) == (newer.id, 25, True)
    assert found.score == pytest.approx(sum(found.components.values()))
    episode = client.store_episode("decision", namespace=namespace).episode
    assert client.add_evidence(newer.id, namespace=namespace, supporting_episodes=[episode.id]).supporting_episodes == (
        episode.id,
    )


def test_outcomes_and_feedback_come_back(client: SyncMemoryClient, namespace: str) -> None:
    """What was known when, what a hit was worth, and which episodes a situation is like."""
    episode = client.store_episode("decision", wait="indexed", namespace=namespace, perception={"backlog": 12}).episode
    for quality in (0.2, 0.9):
        client.record_outcome(episode.id, {"done": 8}, quality, namespace=namespace)
    outcomes = client.list_outcomes(episode.id, namespace=namespace)
    assert ([o.outcome_quality for o in outcomes.items], outcomes.next) == ([0.2, 0.9], None)
    client.consolidate(namespace=namespace)
    (hit,) = client.similar_situations({"backlog": 12}, namespace=namespace, outcome="good").hits
    assert (hit.id, hit.outcome_quality, hit.why != ()) == (episode.id, 0.9, True)
    said = client.record_feedback(hit.id, "useful", namespace=namespace, query="backlog")
    assert (said.record_id, said.record_uid, said.kind, said.verdict.value) == (hit.id, hit.id, RecordKind.EPISODE, "useful")
    talk = client.append("s1", [draft("The cat is Miso.")], namespace=namespace, wait="stored").messages[0]
    about = client.record_feedback(talk.id, "wrong", namespace=namespace, session_id="s1")
    assert about.record_uid == message_uid(SessionKey(namespace, "s1"), talk.id)


def test_operators_ask_for_values_too(client: SyncMemoryClient, namespace: str, tmp_path: Path) -> None:
    """Runs, books, comparisons, files and receipts."""
    client.append("s1", [draft("The cat is Miso.")], namespace=namespace)
    run = client.consolidate(namespace=namespace)
    assert (run.counts["messages_drained"], run.errors) == (1, ())
    assert client.status().degraded == ()
    assert client.runs(limit=1)[0].finished_at is not None
    compared = client.reconcile(namespace=namespace)
    assert (sum(compared.findings.values()), client.reconciliations(limit=1)[0].id) == (0, compared.id)
    assert list(client.iter_outbox(namespace=namespace)) == list(client.outbox(namespace=namespace).items) == []
    assert (client.retry_dead_letters([]), client.drop_dead_letters([1], namespace=namespace)) == (0, 0)
    assert client.retain(dry_run=True).dry_run is True
    file = tmp_path / "lines"
    file.write_bytes(b"".join(client.export(namespace)))
    assert client.import_file(file, f"{namespace}-copy").new["message"] == 1
    assert next(client.backup())[:2] == b"\x1f\x8b"
    receipt = client.forget(namespace, session_id="s1")
    assert (receipt.tiers[Tier.EPISODIC].removed["message"], receipt.remaining, receipt.pending) == (1, 0, ())
    assert (client.is_live(), {t.is_up for t in client.health()}) == (True, {True})
    assert "memory_http" in client.metrics()


def test_refusals_are_the_errors_of_the_service(client: SyncMemoryClient, guarded_api: Served, namespace: str) -> None:
    """A limit, a missing key and a foreign namespace are the classes that the façade raises, with their facts."""
    with pytest.raises(InvalidInput) as failed:
        client.append("s1", [{"role": "user", "content": " "}], namespace=namespace)
    assert (failed.value.field, failed.value.problem) == ("messages[0].content", "must not be blank")
    _, key = guarded_api.make_key(Permission.READ, namespaces=["mine"])
    with SyncMemoryClient(guarded_api.url) as nobody, pytest.raises(Unauthenticated):
        nobody.history("s1")
    with SyncMemoryClient(guarded_api.url, api_key=key) as reader, pytest.raises(Forbidden):
        reader.history("s1", namespace="theirs")


async def test_a_stream_is_ingested(api: Served, namespace: str) -> None:
    """Messages of several sessions, from an iterator of either kind, arrive once and in order; sent again, none is new."""
    stream = [Said(f"s{n % 3}", draft(f"message {n}")) for n in range(100)]
    told: list[IngestReport] = []

    async def arriving() -> AsyncIterator[Said]:
        for said in stream:
            yield said

    async with MemoryClient(api.url) as client:
        report = await client.ingest(arriving(), namespace=namespace, batch_size=10, progress=told.append)
        assert await client.ingest(stream, namespace=namespace, batch_size=10) == report == IngestReport(100, 12, ())
        histories = [[m.content async for m in client.iter_history(f"s{n}", namespace=namespace)] for n in range(3)]
    assert histories == [[f"message {m}" for m in range(100) if m % 3 == n] for n in range(3)]
    assert [step.messages for step in told] == sorted(step.messages for step in told)
    assert told[-1] == report

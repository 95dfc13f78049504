"""The JSON of the API: strict on the way in, whole on the way out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from given import NOW, SCOPE, episode, knowledge, message
from pydantic import ValidationError

from app.api.wire import base, messages, operations, recall, records, sessions
from app.api.wire import knowledge as knowing
from app.consolidation.run import ConsolidationStatus
from app.errors import InvalidInput
from app.ports import Backlog, OutboxEntry, OutboxOp, OutboxState, Queued, SessionRecord, StoreStatus
from app.records import (
    Appended,
    AppendReceipt,
    AssembledContext,
    Draft,
    EpisodeKind,
    EpisodeReceipt,
    FilterTerm,
    FindingKind,
    ForgetReceipt,
    Hit,
    Knowledge,
    KnowledgeKind,
    Mode,
    Query,
    Recollection,
    Reconciliation,
    RecordKind,
    Role,
    RunReport,
    Scope,
    SectionAccount,
    Selection,
    SessionKey,
    SessionState,
    Stage,
    Tier,
    TierHealth,
    TierReceipt,
)

ID = UUID("01890000-0000-7000-8000-000000000001")
OTHER = UUID("01890000-0000-7000-8000-000000000002")
LATER = NOW + timedelta(hours=1)


def bodies(root: type[base.Body] = base.Body) -> Iterator[type[base.Body]]:
    """Everything a client may send."""
    for child in root.__subclasses__():
        yield child
        yield from bodies(child)


BODIES = list(bodies())


def problems(model: type[base.Body], **fields: Any) -> dict[str, str]:
    with pytest.raises(ValidationError) as refused:
        model.model_validate(fields)
    return {".".join(map(str, error["loc"])): error["msg"] for error in refused.value.errors()}


# ── in ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("model", BODIES, ids=lambda model: model.__name__)
def test_every_body_refuses_unknown_fields(model: type[base.Body]) -> None:
    """A misspelt field is an error rather than silence."""
    assert problems(model, colour="red")["colour"] == "Extra inputs are not permitted"


@pytest.mark.parametrize("model", BODIES, ids=lambda model: model.__name__)
def test_examples_are_good_bodies(model: type[base.Body]) -> None:
    """What the documentation shows can be sent."""
    for example in model.model_json_schema().get("examples", ()):
        assert model.model_validate(example).model_fields_set == set(example)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-05-04T12:00:00Z", NOW),
        ("2026-05-04t12:00:00z", NOW),
        ("2026-05-04 14:00:00+02:00", NOW),
        ("2026-05-04T12:00:00.123456789Z", NOW.replace(microsecond=123_456)),
        ("2026-05-04T12:00:00", NOW.replace(tzinfo=None)),  # refused further in, where the limits are
    ],
)
def test_times_are_rfc_3339(text: str, moment: datetime) -> None:
    """Times are read in any offset; finer fractions than microseconds are cut."""
    assert recall.SearchIn(text="q", since=text).since == moment


@pytest.mark.parametrize("value", [0, 1_577_836_800, 1.5, True, "0", "1577836800", "2026-05-04", "12:00", "now", "", {}, []])
def test_what_is_no_time_is_refused(value: object) -> None:
    """Numbers, numbers in a string and dates alone are not taken for times."""
    expected = "must be an RFC 3339 date and time, such as 2026-03-01T09:30:00Z"
    assert problems(recall.SearchIn, text="q", since=value) == {"since": expected}


@pytest.mark.parametrize("value", [True, "0.5", None, [0.5]])
def test_shares_are_numbers(value: object) -> None:
    """A truth value or a text is no number."""
    assert problems(knowing.KnowledgeIn, description="x", confidence=value) == {"confidence": "Input should be a valid number"}


def test_a_message_becomes_a_draft() -> None:
    """What is sent is what is drafted; what is left out is left to whoever appends."""
    said = messages.MessageIn(id=ID, role=Role.USER, name="Ana", content="hi", created_at=NOW, metadata={"n": 1})
    assert said.draft() == Draft(Role.USER, "hi", "Ana", ID, NOW, {"n": 1})
    assert messages.MessageIn(role=Role.TOOL, content="42").draft() == Draft(Role.TOOL, "42")


def test_a_question_becomes_a_query() -> None:
    """Every field arrives; a single filter value is a list of one."""
    asked = recall.SearchIn(
        text="q", namespace="acme", user_id="ana", agent_id="bot", project_id="move", session_id="s1",
        kinds=[RecordKind.EPISODE], filter={"author": "Ana", "metadata.n": [1, True, 2.5]}, since=NOW, until=LATER, now=LATER,
        limit=3, mode=Mode.DENSE, stages=[Stage.EXPAND, Stage.CROSS_ENCODER, Stage.EXPAND],
    )  # fmt: skip
    assert asked.query(asked.limit, asked.mode) == Query(
        "q", SCOPE, (RecordKind.EPISODE,), (FilterTerm("author", ("Ana",)), FilterTerm("metadata.n", (1, True, 2.5))),
        NOW, LATER, LATER, 3, Mode.DENSE, stages=(Stage.EXPAND, Stage.CROSS_ENCODER),
    )  # fmt: skip
    assert recall.SearchIn(text="q").query(10) == Query("q", Scope("default"))


def test_filter_values_keep_their_types() -> None:
    """1, 1.0, true and "1" are four values."""
    (term,) = recall.SearchIn(text="q", filter={"metadata.n": [1, 1.0, True, "1"]}).query(10).filter
    assert [type(value) for value in term.values] == [int, float, bool, str]


@pytest.mark.parametrize("value", [None, {}, [None], [[1]]])
def test_a_filter_value_of_another_type_is_refused_once(value: object) -> None:
    """One sentence says what is taken, instead of one for each type that is."""
    expected = "must be a string, a number, a boolean, or a list of these"
    assert problems(recall.SearchIn, text="q", filter={"author": value}) == {"filter.author": expected}


@pytest.mark.parametrize(
    ("started_at", "ended_at", "times"),
    [(None, None, (LATER, LATER)), (NOW, None, (NOW, NOW)), (None, NOW, (NOW, NOW)), (NOW, LATER, (NOW, LATER))],
)
def test_an_episode_without_times_happened_at_once(
    started_at: datetime | None, ended_at: datetime | None, times: tuple[datetime, datetime]
) -> None:
    """One time stands for both, and none for now."""
    stored = records.EpisodeIn(started_at=started_at, ended_at=ended_at).episode(LATER)
    assert (stored.started_at, stored.ended_at, stored.kind) == (*times, EpisodeKind.DECISION)


def test_knowledge_is_made_now() -> None:
    """Knowledge gets an id and the time of its making; everything else is as it was sent."""
    sent = knowing.KnowledgeIn(
        namespace="acme", description="x", kind=KnowledgeKind.PATTERN, content={"a": 1}, confidence=1, valid_to=LATER
    )
    made = sent.knowledge(NOW)
    assert made == Knowledge(
        made.id, KnowledgeKind.PATTERN, Scope("acme"), "x", NOW, content={"a": 1}, confidence=1.0, valid_to=LATER
    )


@pytest.mark.parametrize(
    ("patch", "changed"),
    [
        ({}, {}),
        ({"goal": None}, {"goal": None}),
        ({"goal": "rest"}, {"goal": "rest"}),
        ({"active_context": {"b": 3, "c": 4}}, {"active_context": {"a": 1, "b": 3, "c": 4}}),
        ({"thoughts": ["two"]}, {"thoughts": ("one", "two")}),
        ({"related_episodes": [OTHER, ID]}, {"related_episodes": (ID, OTHER)}),
        ({"active_context": None, "thoughts": None, "related_episodes": None}, {}),
    ],
    ids=str,
)
def test_a_patch_changes_what_it_names(patch: dict[str, Any], changed: dict[str, Any]) -> None:
    """A goal is replaced, also by null; context is merged; thoughts and new episodes are added; the rest stays."""
    whole: dict[str, Any] = {
        "goal": "move", "active_context": {"a": 1, "b": 2}, "thoughts": ("one",), "related_episodes": (ID,),
    }  # fmt: skip
    assert sessions.StatePatch(**patch).applied_to(SessionState(**whole)) == SessionState(**(whole | changed))


def test_outbox_ids_are_bounded() -> None:
    """Ids are what the table's column can hold, and not without number."""
    assert problems(operations.RetryIn, ids=[0, 2**63]) == {
        "ids.0": "Input should be greater than or equal to 1",
        "ids.1": "Input should be less than or equal to 9223372036854775807",
    }
    assert list(problems(operations.RetryIn, ids=[1] * 10_001)) == ["ids"]


# ── out ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_receipt_is_written_whole() -> None:
    """Ids, sequences, the tier and what was away."""
    receipt = AppendReceipt((Appended(ID, 7),), Tier.EPISODIC, ("working",))
    assert messages.AppendOut.of(receipt).model_dump(mode="json") == {
        "messages": [{"id": str(ID), "sequence": 7}], "stored_in": "episodic", "degraded": ["working"],
    }  # fmt: skip


def test_a_message_is_written_without_its_scope() -> None:
    """The message as its author said it, with its place."""
    assert messages.MessageOut.of(message(3, id=ID, metadata={"n": 1})).model_dump(mode="json") == {
        "id": str(ID), "sequence": 3, "role": "user", "name": "Ana", "content": "the cat sat",
        "created_at": "2026-05-04T12:03:00Z", "metadata": {"n": 1},
    }  # fmt: skip


def test_records_are_written_with_their_scope_beside_the_rest() -> None:
    """Owner and fields are on one level, none is missing and none is added."""
    owner = {"namespace": "acme", "user_id": "ana", "agent_id": "bot", "session_id": "s1", "project_id": "move"}
    written = records.EpisodeOut.of(episode(id=ID), is_learnable=False, requires_embedding=True).model_dump()
    assert {name: written[name] for name in owner} == owner
    claims = {"is_learnable", "requires_embedding"}
    assert set(written) == {f for f in episode().__dataclass_fields__ if f != "scope"} | set(owner) | claims
    known = knowing.KnowledgeOut.of(knowledge(id=ID)).model_dump()
    assert {name: known[name] for name in owner} == owner
    assert set(known) == {f for f in knowledge().__dataclass_fields__ if f != "scope"} | set(owner) | {
        "success_rate",
        "estimated_success",
    }


def test_hits_are_written_with_what_made_their_score() -> None:
    """A hit's components and tier go out with it, its namespace does not."""
    hit = Hit(
        ID,
        RecordKind.MESSAGE,
        "hi",
        0.75,
        {"dense": 0.5, "bm25": 0.25},
        Tier.WORKING,
        SCOPE,
        NOW,
        {"n": 1},
        "user",
        "Ana",
        4,
        (ID,),
    )
    assert recall.SearchOut.of(Recollection((hit,), ("embedder",), 1.23456)).model_dump(mode="json") == {
        "hits": [{
            "id": str(ID), "kind": "message", "text": "hi", "score": 0.75, "components": {"dense": 0.5, "bm25": 0.25},
            "tier": "working", "session_id": "s1", "created_at": "2026-05-04T12:00:00Z", "author": "Ana", "role": "user",
            "sequence": 4, "metadata": {"n": 1}, "duplicates": [str(ID)], "episode_id": None, "neighbours": [],
            "outcome_quality": None,
        }],
        "degraded": ["embedder"],
        "latency_ms": 1.235,
    }  # fmt: skip


def test_a_context_is_written_with_its_account() -> None:
    """Text, budget, sections and citations."""
    account = SectionAccount("state", 10, 4, 1, 0)
    assert recall.ContextOut.of(AssembledContext("text", 100, 4, (account,), (ID,), ("semantic",))).model_dump(mode="json") == {
        "text": "text", "budget_tokens": 100, "spent_tokens": 4,
        "sections": [{"name": "state", "budget_tokens": 10, "spent_tokens": 4, "included": 1, "dropped": 0}],
        "citations": [str(ID)], "degraded": ["semantic"],
    }  # fmt: skip


def test_a_session_is_written_with_its_state() -> None:
    """Session, state with its version, and times."""
    state = SessionState("move", {"a": 1}, ("one",), (ID,), version=3)
    record = SessionRecord(SessionKey("acme", "s1"), state, NOW, LATER, None, ("working",))
    assert sessions.SessionOut.of(record).model_dump(mode="json") == {
        "session_id": "s1", "namespace": "acme",
        "state": {"goal": "move", "active_context": {"a": 1}, "thoughts": ["one"], "related_episodes": [str(ID)]},
        "version": 3,
        "created_at": "2026-05-04T12:00:00Z", "last_message_at": "2026-05-04T13:00:00Z", "ended_at": None,
        "degraded": ["working"],
    }  # fmt: skip


def test_a_run_is_written_with_its_duration() -> None:
    """When it ran, for how long, what it did and what went wrong."""
    assert operations.RunOut.of(RunReport(ID, NOW, LATER, {"messages_drained": 2}, ("late",))).model_dump(mode="json") == {
        "id": str(ID), "started_at": "2026-05-04T12:00:00Z", "finished_at": "2026-05-04T13:00:00Z", "duration_ms": 3_600_000.0,
        "counts": {"messages_drained": 2}, "errors": ["late"],
    }  # fmt: skip


def test_a_status_names_the_tiers_that_are_away() -> None:
    """What a tier would have said is null, and the tier is in `degraded`."""
    store = StoreStatus(3, 1, {RecordKind.MESSAGE: 5, RecordKind.EPISODE: 2, RecordKind.KNOWLEDGE: 0}, NOW, 7)
    embedding = operations.EmbeddingOut(space="m__3", model="m", dimension=3, provider=None)
    whole = operations.StatusOut.of(ConsolidationStatus(Backlog(1, 2, NOW, 6, 3), store, 4, 1), embedding)
    assert whole.model_dump(mode="json") == {
        "learning": None,
        "backlog": {"sessions": 1, "messages": 2, "oldest_at": "2026-05-04T12:00:00Z", "malformed": 6, "episodes": 3},
        "outbox": {"depth": 3, "dead_letters": 1, "oldest_at": "2026-05-04T12:00:00Z", "erasures": 7},
        "records": {"message": 5, "episode": 2, "knowledge": 0}, "indexed_points": 4, "misplaced_points": 1,
        "drift": 3,
        "embedding": {"space": "m__3", "model": "m", "dimension": 3, "provider": None}, "degraded": [],
    }  # fmt: skip
    nothing = {"learning", "backlog", "outbox", "records", "indexed_points", "misplaced_points", "drift", "embedding"}
    assert operations.StatusOut.of(ConsolidationStatus(None, None, None), None).model_dump() == {
        **dict.fromkeys(nothing), "degraded": ["working", "episodic", "semantic"],
    }  # fmt: skip


def test_a_reconciliation_is_written_with_every_kind() -> None:
    """What was found of each kind, also nothing, with examples; where it stands in the ids and who holds it stays inside."""
    run = Reconciliation(
        ID, "acme", is_repair=True, space="m__3", started_at=NOW, total=9, checked=5, findings={FindingKind.STALE: 1},
        examples={FindingKind.STALE: (ID,)}, pending=2, dead_letters=3, cursor=ID, leased_until=LATER, generation=2,
    )  # fmt: skip
    assert operations.ReconcileOut.of(run).model_dump(mode="json") == {
        "id": str(ID), "namespace": "acme", "repair": True, "space": "m__3", "state": "running",
        "started_at": "2026-05-04T12:00:00Z", "finished_at": None, "is_resumed": True, "checked": 5, "total": 9,
        "findings": {"missing": 0, "orphaned": 0, "stale": 1, "wrong_space": 0},
        "examples": {"missing": [], "orphaned": [], "stale": [str(ID)], "wrong_space": []},
        "pending": 2, "dead_letters": 3,
    }  # fmt: skip


def test_an_outbox_entry_is_written_with_its_state() -> None:
    """What waits and how it stands, how often it was tried, how often that was its own fault, and why it failed."""
    entry = OutboxEntry(OutboxOp.DELETE, RecordKind.MESSAGE, "acme", ID, 9, 2, 3, 1, NOW, "timeout", is_dead=True)
    assert operations.OutboxEntryOut.of(Queued(entry, OutboxState.DEAD, NOW)).model_dump(mode="json") == {
        "id": 9, "op": "delete", "kind": "message", "namespace": "acme", "record_uid": str(ID), "state": "dead", "attempts": 3,
        "failures": 1, "next_attempt_at": "2026-05-04T12:00:00Z", "last_error": "timeout", "is_dead": True,
        "created_at": "2026-05-04T12:00:00Z",
    }  # fmt: skip


def test_a_forget_receipt_is_written_whole() -> None:
    """What was removed from each tier, what a second look found, and who was away."""
    receipt = ForgetReceipt(
        {
            Tier.WORKING: TierReceipt({"message": 3}, 0),
            Tier.EPISODIC: TierReceipt({"message": 2}, 1),
            Tier.SEMANTIC: TierReceipt({}, None),
        },
        ("semantic",),
    )
    assert operations.ForgetOut.of(receipt).model_dump() == {
        "removed": {"message": 2, "buffered": 3},
        "remaining": 1,
        "tiers": {
            "working": {"removed": {"message": 3}, "remaining": 0},
            "episodic": {"removed": {"message": 2}, "remaining": 1},
            "semantic": {"removed": {}, "remaining": None},
        },
        "pending": ["semantic"],
        "degraded": ["semantic"],
    }


def test_forgetting_by_name_takes_no_owner() -> None:
    """An owner beside ids of records would be ignored, so it is refused by name."""
    asked = operations.ForgetIn(namespace="acme", session_id="s1", message_ids=[ID], episode_ids=[OTHER])
    assert (asked.names_records, asked.selection) == (True, Selection("acme", "s1", (ID,), (OTHER,), ()))
    with pytest.raises(InvalidInput, match="user_id: cannot be given with ids"):
        _ = operations.ForgetIn(namespace="acme", user_id="ana", knowledge_ids=[ID]).selection


def test_a_stored_episode_says_where_it_is() -> None:
    """The episode as it is read later, and beside it how far it came and who could not take part."""
    stored = episode(kind=EpisodeKind.TASK)
    receipt = EpisodeReceipt(stored, Tier.WORKING, ("episodic",))
    written = records.EpisodeStoredOut.of_receipt(receipt, is_learnable=True).model_dump(mode="json")
    read = records.EpisodeOut.of(stored, is_learnable=True, requires_embedding=True).model_dump(mode="json")
    assert written == read | {"stored_in": "working", "degraded": ["episodic"], "skipped": None}


def test_health_says_whether_an_engine_is_asked() -> None:
    """A tier that is left alone is told from one that failed a ping."""
    tier = TierHealth("episodic", False, 0.1, "hangs", "open")
    written = operations.TierOut(**asdict(tier)).model_dump(mode="json")
    assert written == {"name": "episodic", "is_up": False, "latency_ms": 0.1, "detail": "hangs", "breaker": "open"}

"""What a client sends, and what it makes of answers: without a service."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import httpx
import pytest
from fastapi import Request as ServedRequest
from given import NOW
from pydantic import BaseModel

from app import errors
from app.api.errors import answer_to
from app.api.wire.experiments import AnalysisOut
from app.api.wire.learning import PatternOut, PatternsOut
from app.client import (
    NO_RETRIES,
    ExperimentAnalysis,
    FoundPattern,
    MemoryClient,
    Retries,
    Said,
    SyncMemoryClient,
    VariantComparison,
    VariantSample,
)
from app.client.asking import Request
from app.client.ingesting import Batches
from app.client.problems import Failure, error_of, failure_of, refuse_other_version, unreachable
from app.client.reply import Reply
from app.client.retrying import worth_repeating
from app.client.surface import Surface
from app.errors import (
    Conflict,
    EmbedderUnavailable,
    Forbidden,
    HybridMemoryError,
    IdTaken,
    IncompatibleVersion,
    InvalidInput,
    NewerRelease,
    NotFound,
    StillRunning,
    TierUnavailable,
    Unauthenticated,
    UnexpectedAnswer,
    Unreadable,
    VersionMismatch,
)
from app.records import (
    API_VERSION,
    Analysis,
    Comparison,
    Draft,
    EpisodeStep,
    Estimate,
    Experiment,
    ExperimentState,
    Metric,
    Mode,
    Pattern,
    PatternKind,
    PatternState,
    Recommendation,
    Role,
    Sample,
    Scope,
    SessionState,
    Variant,
    Wait,
)

ID: Final = UUID(int=7)
QUICK: Final = Retries(first_pause=timedelta(milliseconds=1))
OK: Final = {"id": str(ID), "index": 0, "content": {}, "created_at": NOW.isoformat()}


def body_of(request: Request[Any]) -> Any:
    assert isinstance(request.content, bytes)
    return json.loads(request.content)


# ── what is sent ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_append_is_a_body_a_path_and_a_name() -> None:
    """Records become JSON, what is left out stays out, and a call that has no name gets one."""
    request = Surface.append.request("s1", [Draft(Role.USER, "hi", created_at=NOW)], wait=Wait.STORED, user_id="ana")
    assert (request.path, request.params, request.headers) == (
        "/v1/sessions/s1/messages", {"wait": "stored"}, {"Content-Type": "application/json"},
    )  # fmt: skip
    message: dict[str, Any] = {
        "role": "user",
        "content": "hi",
        "name": None,
        "id": None,
        "created_at": "2026-05-04T12:00:00+00:00",
        "metadata": {},
    }
    assert body_of(request) == {"user_id": "ana", "messages": [message]}
    assert request.own_key is not None


def test_messages_with_ids_need_no_name() -> None:
    """What has ids of its own is stored once without an `Idempotency-Key`; a key that is given is kept."""
    assert Surface.append.request("s1", [Draft(Role.USER, "hi", id=ID)]).own_key is None
    named = Surface.append.request("s1", [Draft(Role.USER, "hi")], idempotency_key="mine")
    assert (named.own_key, named.headers["Idempotency-Key"]) == (None, "mine")


@pytest.mark.parametrize(
    ("session_id", "path"),
    [
        ("a b", "/v1/sessions/a%20b"),
        ("naïve?#", "/v1/sessions/na%C3%AFve%3F%23"),
        ("..", "/v1/sessions/%2E%2E"),
        (".", "/v1/sessions/%2E"),
        ("a%2Fb", "/v1/sessions/a%252Fb"),
    ],
)
def test_an_id_is_one_segment_of_a_path(session_id: str, path: str) -> None:
    """Whatever an id holds, it leads to no other route."""
    assert Surface.load_session.request(session_id).path == path
    sent: list[bytes] = []
    transport = httpx.MockTransport(lambda request: sent.append(request.url.raw_path) or httpx.Response(404))  # type: ignore[func-returns-value] # it is None
    with SyncMemoryClient("http://test", transport=transport) as client, pytest.raises(UnexpectedAnswer):
        client.load_session(session_id)
    assert sent == [f"{path}?namespace=default".encode()]


@pytest.mark.parametrize("session_id", ["a/b", ""])
def test_an_id_that_no_address_can_hold_is_refused(session_id: str) -> None:
    """The service would look for another route, and the caller for the reason."""
    with pytest.raises(InvalidInput, match="session_id: must not be empty or hold a slash"):
        Surface.load_session.request(session_id)


def test_the_end_of_a_path_may_hold_slashes() -> None:
    """A subject is whatever its caller calls it; it ends the path, and leads to no other route either."""
    paths = [Surface.assignment.request("e", subject).path for subject in ("team/7", "../start", ".")]
    assert paths == [f"/v1/experiments/e/assignments/{end}" for end in ("team%2F7", "..%2Fstart", "%2E")]
    with pytest.raises(InvalidInput, match="subject: must not be empty"):
        Surface.assignment.request("e", "")


def test_a_search_in_an_experiment_has_a_name() -> None:
    """Repeated after a lost answer it is still one exposure; a name that is given is kept, and others get none."""
    asked: list[dict[str, Any]] = [{"experiment": "e"}, {"experiment": "e", "search_id": ID}, {}]
    bodies = [body_of(Surface.search.request("q", **fields)) for fields in asked]
    assert [body.get("search_id") for body in bodies[1:]] == [str(ID), None]
    assert UUID(bodies[0]["search_id"]).version == 7


def test_versions_are_conditions() -> None:
    """`if_version` is an entity tag, or `*`; and then the call is not repeated: it would meet its own work."""
    requests = [Surface.replace_state.request("s1", SessionState("move"), if_version=v) for v in (3, "*", None)]
    assert [r.headers.get("If-Match") for r in requests] == ['"3"', "*", None]
    assert [r.is_repeatable for r in requests] == [False, False, True]


def test_parameters_are_text() -> None:
    """Truth values, enumerations and ids as the API spells them; None is left out."""
    request = Surface.list_episodes.request(before=ID, archived=True, kind=None, limit=3)
    assert request.params == {"before": str(ID), "archived": "true", "limit": "3"}
    assert body_of(Surface.search.request("q", mode=Mode.DENSE, now=NOW))["mode"] == "dense"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, object()])
def test_what_is_not_json_is_refused_before_it_is_sent(value: object) -> None:
    """No number is silently turned into another value."""
    with pytest.raises(InvalidInput, match="body: must be JSON"):
        Surface.write_scratchpad.request("s1", "k", value)


# ── problems ──────────────────────────────────────────────────────────────────────────────────────────────────────

RAISED: Final[tuple[HybridMemoryError, ...]] = (
    InvalidInput("messages[3].content", "must not be blank"),
    NotFound("episode", "7"),
    Conflict("id", "is taken"),
    IdTaken(4),
    StillRunning("Idempotency-Key"),
    VersionMismatch("state", 5),
    Unauthenticated("a key is needed"),
    Forbidden("not in this namespace"),
    TierUnavailable("episodic", "away"),
    errors.EngineRefused("working", "full"),
    EmbedderUnavailable("ollama", "away"),
    Unreadable("episode", "7", "damaged"),
    NewerRelease("episode", "7", "schema 9"),
    errors.DimensionMismatch(384, 768),
)


def served(error: HybridMemoryError) -> Reply:
    """What the API answers where this is raised."""
    response = answer_to(ServedRequest({"type": "http", "path": "/", "headers": [], "query_string": b""}), error)
    return Reply(response.status_code, dict(response.headers), bytes(response.body))


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_what_the_service_raises_the_client_raises(error: HybridMemoryError) -> None:
    """The same class, the same attributes, the same message."""
    again = error_of(served(error))
    assert (type(again), vars(again), str(again)) == (type(error), vars(error), str(error))


@pytest.mark.parametrize(
    ("status", "content", "expected"),
    [
        (422, {"detail": "limit: too high", "errors": [{"field": "limit", "problem": "too high"}]}, "limit: too high"),
        (413, {"detail": "body: too large", "errors": [{"field": "body", "problem": "too large"}]}, "body: too large"),
        (404, {"detail": "Not Found", "errors": []}, "no record 'Not Found' in this namespace"),
        (503, {"type": "urn:hybrid-memory:problem:FromTheFuture", "detail": "later"}, "service tier unavailable: later"),
        (418, {"detail": "a teapot"}, "HTTP 418: a teapot"),
        (502, "<html>bad gateway", 'HTTP 502: "<html>bad gateway"'),
        (500, ["odd"], 'HTTP 500: ["odd"]'),
    ],
)
def test_what_names_no_class_is_known_by_its_status(status: int, content: object, expected: str) -> None:
    """Also a proxy's answer, and that of a newer service, is a clear exception."""
    assert str(error_of(Reply(status, {}, json.dumps(content).encode()))) == expected


def test_an_answer_without_what_it_must_hold_is_named() -> None:
    """An answer of another shape is no `KeyError` somewhere later."""
    request = Surface.list_steps.request(ID)
    for content, problem in ((b"{}", "has no 'steps'"), (b"<html>", "is not JSON"), (b'{"steps":[{}]}', "has no EpisodeStep")):
        with pytest.raises(Failure, match=problem) as failed:
            request.read(Reply(200, {}, content))
        assert type(failed.value.error) is UnexpectedAnswer


def test_a_newer_answer_is_read_as_far_as_it_is_known() -> None:
    """What a service says besides is passed over."""
    content = json.dumps({"steps": [OK], "step_count": 1, "next": None, "new": 1}).encode()
    assert Surface.list_steps.request(ID).read(Reply(200, {}, content)).items == (EpisodeStep(0, {}, NOW),)


# ── versions ──────────────────────────────────────────────────────────────────────────────────────────────────────


def speaking(version: str) -> Reply:
    return Reply(200, {"hybrid-memory-api": version}, b"{}")


def test_another_major_version_is_refused() -> None:
    """Before anything of the answer is believed; the message names both versions and what to do."""
    with pytest.raises(Failure, match=rf"speaks version 2.0 of the API, this client {API_VERSION}: install") as failed:
        refuse_other_version(speaking("2.0"))
    assert type(failed.value.error) is IncompatibleVersion


def test_an_older_service_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may lack what this client asks for; a newer one, and one that says nothing, are fine."""
    monkeypatch.setattr("app.client.problems.API_VERSION", "1.2")
    with pytest.warns(UserWarning, match=r"the service speaks version 1.1 of the API, this client 1.2"):
        refuse_other_version(speaking("1.1"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for fine in ("1.2", "1.3", "", "odd"):
            refuse_other_version(speaking(fine))


# ── repeating ─────────────────────────────────────────────────────────────────────────────────────────────────────

UNSENT: Final = unreachable("refused", is_unsent=True)
CUT_OFF: Final = unreachable("cut off", is_unsent=False)
AWAY: Final = failure_of(served(TierUnavailable("episodic", "away")))
RUNNING: Final = failure_of(served(StillRunning("Idempotency-Key")))
BAD: Final = failure_of(served(InvalidInput("limit", "too high")))
TAKEN: Final = failure_of(served(Conflict("id", "is taken")))


@pytest.mark.parametrize(
    ("request_", "repeated"),
    [
        (Surface.status.request(), {UNSENT, CUT_OFF, AWAY, RUNNING}),
        (Surface.search.request("q"), {UNSENT, CUT_OFF, AWAY, RUNNING}),
        (Surface.append.request("s1", [Draft(Role.USER, "hi")]), {UNSENT, CUT_OFF, AWAY, RUNNING}),
        (Surface.delete_episode.request(ID), {UNSENT, CUT_OFF, AWAY, RUNNING}),
        (Surface.delete_episode.request(ID, if_version=3), {UNSENT}),
        (Surface.change_state.request("s1", thoughts=["hm"]), {UNSENT}),
    ],
    ids=["get", "search", "append", "delete", "conditional delete", "patch"],
)
def test_what_does_no_harm_is_repeated(request_: Request[Any], repeated: set[Failure]) -> None:
    """Reads, named calls and deletions after whatever passes; all others only when nobody can have read them."""
    decide = worth_repeating(request_, Retries(), lambda: 0.0)
    assert {failure for failure in (UNSENT, CUT_OFF, AWAY, RUNNING, BAD, TAKEN) if decide(failure) is not False} == repeated
    assert decide(ValueError("a bug")) is False


def test_the_service_says_how_long_to_wait() -> None:
    """`Retry-After` is kept, with up to a quarter more by chance; one beyond all patience ends it at once."""
    busy = failure_of(Reply(503, {"retry-after": "8"}, b"{}"))
    request = Surface.status.request()
    assert [worth_repeating(request, Retries(), lambda dice=dice: dice)(busy) for dice in (0.0, 1.0)] == [8.0, 10.0]  # type: ignore[misc] # a default in a lambda
    assert worth_repeating(request, Retries(patience=timedelta(seconds=5)))(busy) is False
    dated = failure_of(Reply(503, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, b"{}"))
    assert worth_repeating(request, Retries())(dated) is True


class Script:
    """A service that answers one thing after the other, and keeps what it was asked."""

    def __init__(self, *answers: Callable[[httpx.Request], httpx.Response]) -> None:
        self.answers = list(answers)
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return self.answers.pop(0)(request)

    def sync(self, retries: Retries = QUICK) -> SyncMemoryClient:
        return SyncMemoryClient("http://test", transport=httpx.MockTransport(self), retries=retries)

    def awaited(self, retries: Retries = QUICK) -> MemoryClient:
        return MemoryClient("http://test", transport=httpx.MockTransport(self), retries=retries)


def cut_off(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadError("cut off", request=request)


def answering(status: int, body: object = None) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _: httpx.Response(status, json=body)


APPENDED = answering(201, {"messages": [{"id": str(ID), "sequence": 1}], "stored_in": "working", "degraded": []})
SAID: Final = [Draft(Role.USER, "hi")]


async def test_a_call_is_repeated_under_its_name() -> None:
    """Cut off twice, the third attempt is the same call: the same key, the same bytes. On both clients."""
    for_awaited, for_sync = Script(cut_off, cut_off, APPENDED), Script(cut_off, cut_off, APPENDED)
    async with for_awaited.awaited() as client:
        receipt = await client.append("s1", SAID)
    with for_sync.sync() as waiting:
        assert waiting.append("s1", SAID) == receipt
    for script in (for_awaited, for_sync):
        assert len(script.asked) == 3
        assert len({(r.headers["Idempotency-Key"], r.content) for r in script.asked}) == 1


def test_without_retries_nothing_is_repeated_or_named() -> None:
    """One attempt, its failure as it is, and no key that would cost the service anything."""
    script = Script(cut_off)
    with script.sync(NO_RETRIES) as client, pytest.raises(TierUnavailable, match="service tier unavailable: cut off"):
        client.append("s1", SAID)
    assert ["Idempotency-Key" in r.headers for r in script.asked] == [False]


def test_patience_ends() -> None:
    """After the last attempt the caller gets what the service said, caused by what httpx raised."""
    script = Script(*[cut_off] * 3)
    three = Retries(attempts=3, first_pause=timedelta(milliseconds=1))
    with script.sync(three) as client, pytest.raises(TierUnavailable) as failed:
        client.status()
    assert (len(script.asked), type(failed.value.__cause__)) == (3, httpx.ReadError)


def test_what_the_first_attempt_deleted_is_gone_for_the_second() -> None:
    """A deletion whose answer was lost meets nothing to delete: that is what was asked for. The first attempt says so."""
    missing = answering(404, {"detail": "no such episode", "errors": []})
    with Script(cut_off, missing).sync() as client:
        client.delete_episode(ID)
    with Script(missing).sync() as client, pytest.raises(NotFound):
        client.delete_episode(ID)


def test_a_refusal_is_not_repeated() -> None:
    """A bad request stays one."""
    script = Script(answering(422, {"detail": "x", "errors": [{"field": "limit", "problem": "must be between 1 and 1000"}]}))
    with script.sync() as client, pytest.raises(InvalidInput, match="limit: must be between 1 and 1000"):
        client.runs(limit=0)
    assert len(script.asked) == 1


# ── many at once ──────────────────────────────────────────────────────────────────────────────────────────────────


def said(session_id: str, content: str) -> Said:
    return Said(session_id, Draft(Role.USER, content))


def sizes(batches: Batches, *messages: Said) -> list[tuple[str, int]]:
    sent = [batch for message in messages for batch in batches.take(message)]
    return [(session_id, len(drafts)) for session_id, drafts in (*sent, *batches.rest())]


def test_batches_are_of_one_session() -> None:
    """Sessions that are mixed in a stream still fill batches of their own; what is left comes last."""
    mixed = [said(f"s{n % 2}", "x") for n in range(7)]
    assert sizes(Batches(3), *mixed) == [("s0", 3), ("s1", 3), ("s0", 1)]


def test_large_messages_make_small_batches() -> None:
    """A batch has at most a megabyte of content: it fits into a request."""
    assert sizes(Batches(100), *[said("s1", "x" * 400_000)] * 5) == [("s1", 2), ("s1", 2), ("s1", 1)]


def test_many_sessions_are_held_in_bounded_memory() -> None:
    """A stream of sessions of one message each is sent on long before it ends."""
    batches = Batches(2)
    sent = [session_id for number in range(1000) for session_id, _ in batches.take(said(f"s{number}", "x"))]
    assert (len(sent), len(list(batches.rest()))) == (981, 19)


def test_an_ingest_that_ends_early_says_how_far_it_came() -> None:
    """The exception is the service's own, with a note: how many were acknowledged, and which session comes next."""
    refusal = answering(422, {"detail": "x", "errors": [{"field": "messages[0].content", "problem": "must not be blank"}]})
    with Script(APPENDED, refusal).sync() as client, pytest.raises(InvalidInput) as failed:
        client.ingest([said("s1", "hi"), said("s2", " ")], batch_size=1)
    assert failed.value.__notes__ == ["1 messages were acknowledged before; then a batch of 's2' failed"]


def test_new_ids_are_given_once_a_message() -> None:
    """A batch that is sent again is the same batch: ids are made before the first attempt."""
    script = Script(cut_off, APPENDED)
    with script.sync() as client:
        client.ingest([said("s1", "hi")], retries=QUICK)
    ids = [json.loads(request.content)["messages"][0]["id"] for request in script.asked]
    assert [UUID(given) for given in ids] == [UUID(ids[0])] * 2


# ── answers that hold values of their own ─────────────────────────────────────────────────────────────────────────────


def answered(body: BaseModel) -> Reply:
    return Reply(200, {}, body.model_dump_json().encode())


def test_a_pattern_is_read_as_it_is_shown() -> None:
    """Its scope is a value; how it was found is the service's business, and not in the answer."""
    seen = Pattern(
        ID, PatternKind.TOOL_SEQUENCE, Scope("acme", project_id="p"), ID, ID, ("a",), ("b",), "b follows a", NOW, {"then": "b"},
        (), 0.75, (ID,), (), 2, 0, PatternState.KEPT,
    )  # fmt: skip
    page = Surface.list_patterns.request().read(answered(PatternsOut(patterns=[PatternOut.of(seen)], next=ID)))
    found = FoundPattern(
        ID, PatternKind.TOOL_SEQUENCE, Scope("acme", project_id="p"), "b follows a", {"then": "b"}, 0.75, PatternState.KEPT, 2, 0,
        (ID,), (), NOW,
    )  # fmt: skip
    assert (page.items, page.next) == ((found,), str(ID))


def test_an_analysis_is_read_as_it_is_shown() -> None:
    """Samples, comparisons and the advice; the interval for one look stands apart."""
    experiment = Experiment(ID, "acme", "e", (Variant("control"), Variant("fresh")), NOW)
    anytime, fixed = Estimate(-0.1, 0.5, 0.2, "sequence"), Estimate(0.0, 0.4, 0.05, "welch")
    analysis = Analysis(
        experiment, Metric("taps", is_lower_better=True), 0.95, (Sample("control", 3, 2, 0.5, 0.1), Sample("fresh", 1)),
        (Comparison("fresh", 0.2, 0.4, anytime, fixed),), Recommendation.KEEP_GOING, ("too few",),
    )  # fmt: skip
    read = Surface.analyse_experiment.request("e").read(answered(AnalysisOut.of(analysis)))
    assert read == ExperimentAnalysis(
        "e", ExperimentState.DRAFT, "taps", True, 0.95, "control",
        (VariantSample("control", 3, 2, 0.5, 0.1), VariantSample("fresh", 1, 0, None, None)),
        (VariantComparison("fresh", 0.2, 0.4, -0.1, 0.5, 0.2, fixed),),
        Recommendation.KEEP_GOING, None, ("too few",), 1.0,
    )  # fmt: skip

"""Messages and sessions over real HTTP and real engines: what goes in comes out, in the shapes that clients rely on."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from served import Served
from talking import SAID_AT, SESSION, append, created, history, pages, said, session

from app.records import new_id, utc_now


def test_appended_messages_are_the_history(api: Served, namespace: str) -> None:
    """An append answers with ids and sequences; the history has each message as it was sent, in order."""
    messages = [said("hello"), said("hi", role="assistant", name=None, metadata={})]
    response = append(api, namespace, messages)
    assert (response.status_code, response.headers["content-type"], response.json()) == (
        201,
        "application/json",
        {
            "messages": [{"id": messages[0]["id"], "sequence": 1}, {"id": messages[1]["id"], "sequence": 2}],
            "stored_in": "working",
            "degraded": [],
        },
    )
    assert history(api, namespace) == {
        "messages": [messages[0] | {"sequence": 1}, messages[1] | {"sequence": 2}],
        "next": None,
        "degraded": [],
    }


def test_what_a_message_leaves_out_is_filled_in(api: Served, namespace: str) -> None:
    """Role and content are enough: id, time and metadata are made."""
    before = utc_now()
    receipt = created(append(api, namespace, [{"role": "tool", "content": "42"}]))
    (message,) = history(api, namespace)["messages"]
    assert UUID(message["id"]).version == 7
    assert before <= datetime.fromisoformat(message.pop("created_at")) <= utc_now()
    assert message == {
        "id": receipt["messages"][0]["id"], "sequence": 1, "role": "tool", "name": None, "content": "42", "metadata": {},
    }  # fmt: skip


def test_an_append_goes_as_far_as_asked(api: Served, namespace: str) -> None:
    """`wait` says how far the messages are when the answer comes, and the answer says how far they came."""
    stored_in = [created(append(api, namespace, [said(f"news {n}")], wait=w))["stored_in"] for n, w in enumerate(WAITS)]
    assert stored_in == ["working", "episodic", "semantic"]


WAITS = ("none", "stored", "indexed")


def test_history_pages_across_the_tiers(api: Served, namespace: str) -> None:
    """Page by page each message comes once and in order, whether it is drained or not."""
    created(append(api, namespace, [said(f"old {n}") for n in range(3)], wait="stored"))
    created(append(api, namespace, [said(f"new {n}") for n in range(2)]))
    found = pages(lambda after: history(api, namespace, limit=2, after=after or 0), "messages")
    assert [[m["content"] for m in page] for page in found] == [["old 0", "old 1"], ["old 2", "new 0"], ["new 1"]]


def test_recent_context_is_cut_to_the_budget(api: Served, namespace: str) -> None:
    """The newest messages come in order, as many as the limit and the budget admit."""
    messages = [said("one two three"), said("four five"), said("six")]
    created(append(api, namespace, messages))

    def recent(**parameters: Any) -> dict[str, Any]:
        return dict(api.http.get(f"{SESSION}/context", params={"namespace": namespace, **parameters}).json())

    whole = [message | {"sequence": n} for n, message in enumerate(messages, start=1)]
    assert recent() == {"messages": whole, "tier": "working", "degraded": []}
    assert recent(limit=2)["messages"] == whole[1:]
    assert recent(budget_tokens=3)["messages"] == whole[1:]


@pytest.mark.parametrize("is_cold", [False, True], ids=["warm", "cold"])
@pytest.mark.parametrize("wait", ["none", "indexed"], ids=["buffered", "consolidated"])
def test_a_repeated_append_stores_once(api: Served, namespace: str, wait: str, is_cold: bool) -> None:
    """The same ids with the same content keep their sequences, wherever the messages are by now."""
    messages = [said("first"), said("second")]
    receipt = created(append(api, namespace, messages, wait=wait))
    if is_cold:
        created(append(api, namespace, [said("third")], wait="stored"))
        api.expire(namespace, "s1")
    again = created(append(api, namespace, [messages[1], messages[0]]))
    assert again["messages"] == receipt["messages"][::-1]
    assert [m["content"] for m in history(api, namespace)["messages"]][:2] == ["first", "second"]
    assert len(history(api, namespace)["messages"]) == 2 + is_cold


@pytest.mark.parametrize(
    ("waits", "is_cold"),
    [(("none", "none"), False), (("stored", "stored"), False), (("stored", "none"), False), (("stored", "stored"), True)],
    ids=["buffered", "drained", "one of each", "cold"],
)
def test_an_id_taken_by_other_content_is_a_conflict(api: Served, namespace: str, waits: tuple[str, str], is_cold: bool) -> None:
    """The refusal names the message by its place in the call, and nothing of the call is written."""
    known, taken, new = said("known"), said("taken"), said("new")
    for message, wait in zip((known, taken), waits, strict=True):
        created(append(api, namespace, [message], wait=wait))
    if is_cold:
        api.expire(namespace, "s1")
    before = history(api, namespace)
    response = append(api, namespace, [new, new, known, taken | {"content": "other"}])
    assert (response.status_code, response.json()["errors"]) == (
        409, [{"field": "messages[3].id", "problem": "is taken by a message with other content in this session"}],
    )  # fmt: skip
    assert history(api, namespace) == before


def test_an_id_may_be_used_in_every_session_and_namespace(api: Served, namespace: str) -> None:
    """An id belongs to its session: elsewhere it is free, and what it stands for there is not touched."""
    mine = said("mine")
    created(append(api, namespace, [mine], wait="stored"))
    for other_namespace, other_session in ((namespace, "s2"), (f"{namespace}-2", "s1")):
        body = {"namespace": other_namespace, "messages": [mine | {"content": "theirs"}]}
        created(api.http.post(f"/v1/sessions/{other_session}/messages", json=body, params={"wait": "stored"}))
    assert [m["content"] for m in history(api, namespace)["messages"]] == ["mine"]


def test_the_longest_ids_go_all_the_way(api: Served, namespace: str) -> None:
    """What the door admits every tier takes: ids and names of the greatest length are drained and indexed."""
    longest = dict.fromkeys(("user_id", "agent_id", "project_id"), "é" * 255)
    body = {"namespace": namespace.ljust(255, "x"), "messages": [said("hello", name="n" * 255)], **longest}
    receipt = created(api.http.post(f"/v1/sessions/{'s' * 255}/messages", json=body, params={"wait": "indexed"}))
    assert (receipt["stored_in"], receipt["degraded"]) == ("semantic", [])


def test_session_state_is_kept_changed_and_ended(api: Served, namespace: str) -> None:
    """A state is replaced whole, changed in part, and still there when its session was ended."""
    related = str(new_id())
    state = {"goal": "move", "active_context": {"a": 1}, "thoughts": ["ask Rui"], "related_episodes": [related]}
    assert api.http.put(SESSION, json={"namespace": namespace, **state}).status_code == 204
    part = {"namespace": namespace, "active_context": {"b": 2}, "thoughts": ["he has a van"]}
    assert api.http.patch(SESSION, json=part).status_code == 204
    changed = state | {"active_context": {"a": 1, "b": 2}, "thoughts": ["ask Rui", "he has a van"]}
    answer = session(api, namespace).json()
    assert answer == {
        "session_id": "s1", "namespace": namespace, "state": changed, "version": 2,
        "created_at": answer["created_at"], "last_message_at": None, "ended_at": None, "degraded": [],
    }  # fmt: skip
    assert api.http.delete(SESSION, params={"namespace": namespace}).status_code == 204
    ended = session(api, namespace).json()
    assert ended["state"] == changed
    assert ended["ended_at"] is not None


def test_ending_a_session_closes_its_episode(api: Served, namespace: str) -> None:
    """An ended session is drained, not lost: its messages stay, and its conversation is an episode."""
    message = said("the whole talk")
    created(append(api, namespace, [message], user_id="ana"))
    assert api.http.delete(SESSION, params={"namespace": namespace}).status_code == 204
    assert history(api, namespace)["messages"] == [message | {"sequence": 1}]
    answer = api.http.get("/v1/episodes", params={"namespace": namespace}).json()
    (episode,) = answer["episodes"]
    assert episode == {
        "id": episode["id"], "kind": "conversation", "namespace": namespace, "user_id": "ana", "agent_id": None,
        "session_id": "s1", "project_id": None, "started_at": SAID_AT, "ended_at": SAID_AT, "perception": {}, "reasoning": {},
        "action": {}, "outcome": None, "outcome_quality": None, "summary": "", "quality": None, "is_open": False,
        "message_count": 1, "token_count": episode["token_count"], "first_sequence": 1, "last_sequence": 1, "metadata": {},
        "schema_version": 1, "version": 2, "pinned": False, "archived_at": None,
        "agent_version": None, "control_mode": None, "decision_source": None, "sprint_id": None, "chronicle_note_id": None,
        "patterns": [], "is_quality_given": False, "is_learnable": False, "requires_embedding": True,
    }  # fmt: skip


@pytest.mark.parametrize("value", [None, True, 0, -1.5, "text", [], {"a": [1, {"b": None}]}, 2**63 - 1])
def test_a_scratchpad_keeps_any_json(api: Served, namespace: str, value: object) -> None:
    """What was put under a key is read back, until it is deleted."""
    path = f"{SESSION}/scratchpad/a key é"
    assert api.http.put(path, json={"namespace": namespace, "value": value}).status_code == 204
    assert api.http.get(path, params={"namespace": namespace}).json() == {"key": "a key é", "value": value}
    assert api.http.delete(path, params={"namespace": namespace}).status_code == 204
    assert api.http.get(path, params={"namespace": namespace}).status_code == 404

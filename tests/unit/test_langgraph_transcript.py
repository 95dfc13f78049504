"""A graph's messages as memory keeps them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from given import NOW
from hypothesis import example, given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, RemoveMessage, SystemMessage, ToolMessage
from langchain_core.runnables import RunnableConfig

from app.errors import InvalidInput
from app.ingestion.limits import Limits, admit_messages
from app.integrations.langgraph import scope_of
from app.integrations.langgraph.nodes import CONTEXT_ID, _placed
from app.integrations.langgraph.transcript import drafts_of, latest_request
from app.records import Draft, Role, Scope

CALL: dict[str, Any] = {"id": "c1", "name": "timetable", "args": {"place": "vet"}}


def anonymous(drafts: list[Draft]) -> list[tuple[Role, str, str | None, dict[str, Any]]]:
    """The drafts without their ids."""
    return [(d.role, d.content, d.name, dict(d.metadata)) for d in drafts]


def ids(*messages: BaseMessage) -> list[UUID | None]:
    return [draft.id for draft in drafts_of(messages)]


def test_every_role_is_kept_with_what_belongs_to_it() -> None:
    """People, models and tools keep their names; a call is told in words, and call and result know each other."""
    messages = [
        SystemMessage("You are helpful."),
        HumanMessage("Which bus?", name="Ana"),
        AIMessage("Let me see.", tool_calls=[CALL]),
        ToolMessage("Bus 14.", tool_call_id="c1", name="timetable"),
        AIMessage("Take bus 14."),
    ]
    assert anonymous(drafts_of(messages)) == [
        (Role.USER, "Which bus?", "Ana", {}),
        (
            Role.ASSISTANT,
            'Let me see.\ntimetable({"place": "vet"})',
            None,
            {"tool_calls": [{"id": "c1", "name": "timetable"}]},
        ),
        (Role.TOOL, "Bus 14.", "timetable", {"tool_call_id": "c1", "status": "success"}),
        (Role.ASSISTANT, "Take bus 14.", None, {}),
    ]


@pytest.mark.parametrize(
    "message",
    [SystemMessage("Be brief."), SystemMessage("Known", id=CONTEXT_ID), AIMessage(""), HumanMessage(" \n"), RemoveMessage("1")],
    ids=["system", "context", "empty", "blank", "removal"],
)  # fmt: skip
def test_what_nobody_said_is_not_kept(message: BaseMessage) -> None:
    """Not the program's own words, not the context that memory put in, and nothing empty."""
    assert drafts_of([message]) == []


def test_blocks_are_kept_as_text() -> None:
    """Of an image only that there was one; thoughts and the calls that stand beside the content are left out."""
    content: list[str | dict[str, Any]] = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "Look:"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "tool_use", "id": "c1", "name": "timetable", "input": {}},
    ]
    (draft,) = drafts_of([AIMessage(content, tool_calls=[CALL])])
    assert draft.content == 'Look:\n[image_url]\ntimetable({"place": "vet"})'


def test_an_id_is_the_same_whenever_it_is_asked_for() -> None:
    """It does not depend on what stands around the message; another id is another message."""
    yes = HumanMessage("Yes.", id="m1")
    assert ids(yes) == ids(SystemMessage("…"), HumanMessage("Well?", id="m0"), yes)[1:]
    assert ids(yes) != ids(HumanMessage("Yes.", id="m2"))


def test_an_edited_message_is_another_one() -> None:
    """An id that stands for other words now would otherwise be refused as taken."""
    assert ids(HumanMessage("Yes.", id="m1")) != ids(HumanMessage("No.", id="m1"))


def test_without_an_id_a_message_goes_by_all_that_was_said_up_to_it() -> None:
    """The second "Yes." of a conversation is not the first; the same conversation has the same ids."""
    talk = [HumanMessage("Yes."), AIMessage("Sure?"), HumanMessage("Yes.")]
    assert ids(*talk) == ids(*talk)
    assert len(set(ids(*talk))) == 3


def test_the_request_is_what_the_user_said_last() -> None:
    """Also while tools are at work; nobody having said anything, it is blank."""
    assert latest_request([HumanMessage("A"), HumanMessage("B"), AIMessage("", tool_calls=[CALL])]) == "B"
    assert latest_request([SystemMessage("x")]) == ""


said = st.text(max_size=300) | st.just("é" * 40_000) | st.just("\x00\ud800 words")
calls = st.lists(
    st.builds(lambda name, value: CALL | {"name": name, "args": {"n": value}}, said, said | st.integers()), max_size=60
)
messages_of_any_kind = st.lists(
    st.builds(HumanMessage, said, name=st.none() | said, id=st.none() | said)
    | st.builds(AIMessage, said, tool_calls=calls)
    | st.builds(ToolMessage, said, tool_call_id=said, name=st.none() | said),
    min_size=1, max_size=6,
)  # fmt: skip


@example([AIMessage("", tool_calls=[CALL | {"name": "é" * 300}] * 60)])
@given(messages_of_any_kind)
def test_whatever_is_said_can_be_stored(messages: list[BaseMessage]) -> None:
    """Drafts are within every limit of the service, so that no tool's answer breaks a graph."""
    drafts = drafts_of(messages)
    if drafts:
        assert len(admit_messages(Scope(session_id="s"), drafts, Limits(), NOW)) == len(drafts)


def configured(**values: object) -> RunnableConfig:
    return {"configurable": values}


def test_the_scope_comes_from_the_configuration() -> None:
    """The thread is the session; owners and namespace are taken if they are there, other keys are not ours."""
    assert scope_of(configured(thread_id="t1", checkpoint_ns="x")) == Scope(session_id="t1")
    assert scope_of(
        configured(thread_id="t1", session_id="s1", namespace="acme", user_id="ana", agent_id="bot", project_id=7)
    ) == Scope("acme", user_id="ana", agent_id="bot", session_id="s1", project_id="7")


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({}, "configurable.thread_id: must be given: it names the session"),
        ({"thread_id": ["t"]}, "configurable.thread_id: must be text, is a list"),
        ({"thread_id": "t", "user_id": True}, "configurable.user_id: must be text, is a bool"),
    ],
)
def test_a_scope_that_makes_no_sense_is_refused(values: dict[str, object], complaint: str) -> None:
    """By the name of the key: a scope that is guessed would be somebody else's."""
    with pytest.raises(InvalidInput) as refused:
        scope_of(configured(**values))
    assert str(refused.value) == complaint


def placed(messages: list[BaseMessage], text: str) -> list[tuple[str, str]]:
    return [
        (change.type, str(change.id) if change.type == "remove" else str(change.content)) for change in _placed(messages, text)
    ]


def test_the_context_stands_after_the_system_messages_at_the_beginning() -> None:
    """The list is written anew, since the reducer only appends."""
    messages = [SystemMessage("Be brief."), HumanMessage("Hi")]
    assert placed(messages, "known") == [
        ("remove", "__remove_all__"), ("system", "Be brief."), ("system", "known"), ("human", "Hi")
    ]  # fmt: skip


def test_the_context_of_the_turn_before_is_replaced_or_removed() -> None:
    """By its id, wherever it stands."""
    messages = [SystemMessage("old", id=CONTEXT_ID), HumanMessage("Hi")]
    assert placed(messages, "new") == [("system", "new")]
    assert placed(messages, "") == [("remove", CONTEXT_ID)]
    assert placed(messages[1:], "") == []

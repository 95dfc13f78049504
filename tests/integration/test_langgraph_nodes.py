"""Graphs that recall and remember, on real engines."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, RetryPolicy, interrupt
from ollama_server import OllamaServer, ollama_server

from app.bootstrap import open_installation
from app.errors import InvalidInput, TierUnavailable
from app.integrations.langgraph import add_memory, consolidate_node, recall_node, remember_node, with_memory
from app.integrations.langgraph.nodes import CONTEXT_ID
from app.integrations.langgraph.wiring import REMEMBER
from app.records import Draft, Query, Role, Scope, Tier
from app.service import HybridMemoryService
from app.settings import EmbedderChoice, Settings
from app.tokens import estimate_tokens

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "langgraph_agent.py"
VET: Final = "Miso sees the vet on Thursday."


@pytest.fixture
async def memory(redis_url: str, database_url: str, tmp_path: Path) -> AsyncIterator[HybridMemoryService]:
    """An empty memory, without background jobs."""
    settings = Settings(
        _env_file=None, redis_url=redis_url, postgres_url=database_url, data_dir=tmp_path,
        embedder=EmbedderChoice.HASHING, recall_deadline_ms=10_000.0,
    )  # fmt: skip
    async with open_installation(settings) as installation:
        yield installation.service


def turn(thread: str = "t1", **owner: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread, **owner}}


def said(*contents: str) -> dict[str, list[HumanMessage]]:
    return {"messages": [HumanMessage(content, id=content) for content in contents]}


async def think(state: MessagesState) -> dict[str, Any]:
    """A model that has always the same to say."""
    return {"messages": [AIMessage("Noted.", id=f"answer-{len(state['messages'])}")]}


async def history(memory: HybridMemoryService, thread: str = "t1") -> list[tuple[Role, str]]:
    messages, _ = await memory.fetch_history(Scope(session_id=thread), limit=1000)
    return [(m.role, m.content) for m in messages]


def contexts(messages: list[BaseMessage]) -> list[str]:
    return [str(m.content) for m in messages if m.id == CONTEXT_ID]


async def test_what_was_said_in_one_thread_is_known_in_the_next(memory: HybridMemoryService) -> None:
    """Memory goes before the request as a system message, and afterwards request and answer are recorded."""
    graph = with_memory(think, memory).compile()
    await graph.ainvoke(said(VET), turn("monday"))
    state = await graph.ainvoke(said("When does Miso see the vet?"), turn("tuesday"))
    first, *rest = state["messages"]
    assert (first.id, VET in first.content) == (CONTEXT_ID, True)
    assert [m.content for m in rest] == ["When does Miso see the vet?", "Noted."]
    assert await history(memory, "tuesday") == [(Role.USER, "When does Miso see the vet?"), (Role.ASSISTANT, "Noted.")]


async def test_context_is_replaced_over_turns(memory: HybridMemoryService) -> None:
    """A checkpointed thread holds one context at any time: that of the newest request."""
    await memory.append_messages(
        Scope(session_id="before"), [Draft(Role.USER, VET), Draft(Role.USER, "The train to Ghent leaves at 7:12.")]
    )
    graph = with_memory(think, memory, budget_tokens=100).compile(InMemorySaver())
    first = contexts((await graph.ainvoke(said("Miso and the vet?"), turn()))["messages"])
    second = contexts((await graph.ainvoke(said("The train to Ghent?"), turn()))["messages"])
    assert [len(first), len(second)] == [1, 1]
    assert ("vet" in first[0], "Ghent" in second[0]) == (True, True)
    assert first != second


async def test_a_context_is_gone_when_nothing_is_known_any_more(memory: HybridMemoryService) -> None:
    """What was forgotten does not live on in the thread's own context."""
    await memory.append_messages(Scope(session_id="before"), [Draft(Role.USER, VET)])
    graph = with_memory(think, memory).compile(InMemorySaver())
    assert len(contexts((await graph.ainvoke(said("Miso?"), turn()))["messages"])) == 1
    await memory.forget(Scope())
    assert contexts((await graph.ainvoke(said("Miso, again?"), turn()))["messages"]) == []


async def test_context_keeps_to_its_budget(memory: HybridMemoryService) -> None:
    """Everything that is put in counts, the words that introduce it too."""
    await memory.append_messages(Scope(session_id="before"), [Draft(Role.USER, f"{VET} Part {n}.") for n in range(50)])
    for budget_tokens in (60, 100, 400):
        graph = with_memory(think, memory, budget_tokens=budget_tokens).compile()
        (context,) = contexts((await graph.ainvoke(said("When does Miso see the vet?"), turn(f"t{budget_tokens}")))["messages"])
        assert budget_tokens / 3 < estimate_tokens(context) <= budget_tokens


async def test_a_budget_without_room_is_refused(memory: HybridMemoryService) -> None:
    """It names the limit instead of leaving memory out in silence."""
    with pytest.raises(InvalidInput, match=r"^budget_tokens: must be more than \d+, is 5$"):
        await recall_node(memory, budget_tokens=5)(said("Miso?"), turn())


async def test_what_the_thread_says_is_not_repeated(memory: HybridMemoryService) -> None:
    """The messages before the model are left out of the context, those of other threads are not."""
    await memory.append_messages(Scope(session_id="before"), [Draft(Role.USER, VET)])
    graph = with_memory(think, memory).compile(InMemorySaver())
    await graph.ainvoke(said("Miso needs a carrier for the vet."), turn())
    state = await graph.ainvoke(said("What does Miso need for the vet?"), turn())
    (context,) = contexts(state["messages"])
    assert (VET in context, "carrier" in context) == (True, False)


async def test_context_can_go_into_the_state(memory: HybridMemoryService) -> None:
    """With `context_key` the messages stay as they are, and a prompt of one's own makes use of it."""

    class State(MessagesState):
        known: str

    await memory.append_messages(Scope(session_id="before"), [Draft(Role.USER, VET)])
    graph = with_memory(think, memory, state_schema=State, context_key="known").compile()
    state = await graph.ainvoke(said("When does Miso see the vet?"), turn())
    assert VET in state["known"]
    assert [m.content for m in state["messages"]] == ["When does Miso see the vet?", "Noted."]


async def test_only_the_users_own_memory_is_recalled(memory: HybridMemoryService) -> None:
    """Another user's words, and another namespace's, are not put before the model."""
    graph = with_memory(think, memory).compile()
    await graph.ainvoke(said(VET), turn("a", user_id="ana"))
    await graph.ainvoke(said("Miso sleeps."), turn("b", user_id="ben", namespace="acme"))
    for owner in ({"user_id": "ben"}, {"user_id": "ana", "namespace": "acme"}):
        state = await graph.ainvoke(said("What about Miso?"), turn("c", **owner))
        assert contexts(state["messages"]) == []


async def test_a_scope_of_ones_own_holds_against_the_configuration(memory: HybridMemoryService) -> None:
    """A host that lets strangers configure its graph fixes the scope itself."""
    graph = with_memory(think, memory, scoping=lambda _: Scope("fixed", session_id="s1")).compile()
    await graph.ainvoke(said(VET), turn(namespace="other"))
    messages, _ = await memory.fetch_history(Scope("fixed", session_id="s1"))
    assert [m.content for m in messages] == [VET, "Noted."]


async def test_a_node_that_is_retried_records_once(memory: HybridMemoryService) -> None:
    """A node that recorded and then failed does it again to no effect."""
    remember, attempts = remember_node(memory), []

    async def fails_at_first(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
        await remember(state, config)
        attempts.append(len(state["messages"]))
        if len(attempts) == 1:
            raise TierUnavailable("working", "the answer was lost")
        return {}

    policy = RetryPolicy(initial_interval=0.0, retry_on=TierUnavailable)
    graph = (
        StateGraph(MessagesState).add_node("remember", fails_at_first, retry_policy=policy).add_edge(START, "remember").compile()
    )
    await graph.ainvoke({"messages": [HumanMessage(VET)]}, turn())
    assert attempts == [1, 1]
    assert await history(memory) == [(Role.USER, VET)]


async def test_a_graph_that_is_resumed_records_once(memory: HybridMemoryService) -> None:
    """What was heard before an interrupt is recorded by then, and not again after it."""

    async def ask(_: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(f"You said {interrupt('which?')}.")]}

    graph = with_memory(ask, memory).compile(InMemorySaver())
    await graph.ainvoke({"messages": [HumanMessage(VET)]}, turn())
    assert await history(memory) == [(Role.USER, VET)]
    await graph.ainvoke(Command(resume="Thursday"), turn())
    assert await history(memory) == [(Role.USER, VET), (Role.ASSISTANT, "You said Thursday.")]


async def test_a_graph_that_failed_and_is_invoked_again_records_once(memory: HybridMemoryService) -> None:
    """A message that brings its id is recorded once, also without a checkpointer."""

    async def fails(_: MessagesState) -> dict[str, Any]:
        raise RuntimeError("the model is away")

    with pytest.raises(RuntimeError):
        await with_memory(fails, memory).compile().ainvoke(said(VET), turn())
    await with_memory(think, memory).compile().ainvoke(said(VET), turn())
    assert await history(memory) == [(Role.USER, VET), (Role.ASSISTANT, "Noted.")]


async def test_a_long_thread_is_recorded_whole(memory: HybridMemoryService) -> None:
    """More messages than go into one call arrive all the same, in order and once."""
    contents = [f"Message {n}." for n in range(250)]
    for _ in range(2):
        await remember_node(memory)(said(*contents), turn())
    assert await history(memory) == [(Role.USER, content) for content in contents]


async def test_tool_calls_and_their_results_stay_together(memory: HybridMemoryService) -> None:
    """They are recorded with what joins them; a context has room for both or for neither."""
    call = {"id": "c1", "name": "timetable", "args": {"place": "vet"}}
    messages = [
        HumanMessage("Which bus goes to the vet?"), AIMessage("", tool_calls=[call]),
        ToolMessage("Bus 14. " * 20, tool_call_id="c1", name="timetable"), AIMessage("Take the 14."),
    ]  # fmt: skip
    await remember_node(memory)({"messages": messages}, turn())
    kept, _ = await memory.fetch_history(Scope(session_id="t1"))
    assert [(m.role, m.name, dict(m.metadata)) for m in kept[1:3]] == [
        (Role.ASSISTANT, None, {"tool_calls": [{"id": "c1", "name": "timetable"}]}),
        (Role.TOOL, "timetable", {"tool_call_id": "c1", "status": "success"}),
    ]
    recent = {}
    for budget_tokens in (60, 300):
        changes = await recall_node(memory, budget_tokens=budget_tokens, limit=1)(said("Thanks!"), turn())
        recent[budget_tokens] = contexts(changes["messages"])[0].partition("## Recent messages")[2]
    assert ["timetable({" in text for text in recent.values()] == ["timetable: Bus" in text for text in recent.values()]
    assert ["timetable({" in text for text in recent.values()] == [False, True]


async def test_consolidating_brings_a_session_into_the_index(memory: HybridMemoryService) -> None:
    """For a graph that runs where no jobs do."""
    builder = add_memory(StateGraph(MessagesState).add_node("think", think), memory, entry="think", exit="think")
    graph = builder.add_node("consolidate", consolidate_node(memory)).add_edge(REMEMBER, "consolidate").compile()
    await graph.ainvoke(said(VET), turn())
    hits = (await memory.search(Query(VET, Scope(), limit=1))).hits
    assert [(hit.text, hit.tier) for hit in hits] == [(VET, Tier.SEMANTIC)]


async def test_a_state_without_messages_is_refused(memory: HybridMemoryService) -> None:
    """It names the key that is missing."""
    with pytest.raises(InvalidInput, match=r"^state\.talk: must be there: it holds the messages$"):
        await remember_node(memory, messages_key="talk")(said(VET), turn())


@pytest.fixture(scope="module")
def example() -> ModuleType:
    """The example, imported as it stands."""
    spec = importlib.util.spec_from_file_location("langgraph_agent", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # pydantic looks its annotations up there
    spec.loader.exec_module(module)
    return module


async def test_the_example_remembers_without_a_model(memory: HybridMemoryService, example: ModuleType) -> None:
    """The second conversation answers from the first; tool and answers are recorded."""
    *_, question, answer = await example.converse(example.model_named(None), memory)
    assert question == "[wednesday] Ana:   When does Miso see the vet?"
    assert answer.startswith("[wednesday] agent: I remember: - [")
    assert answer.endswith("My cat Miso sees the vet on Thursday at ten.")
    monday, _ = await memory.fetch_history(Scope(session_id="monday"))
    assert [m.role.value for m in monday] == ["user", "assistant", "user", "assistant", "tool", "assistant"]


async def test_the_example_asks_a_model_of_ollama(
    memory: HybridMemoryService, example: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is given the tool, and on Wednesday what was said on Monday."""
    with ollama_server() as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        lines = await example.converse(example.model_named("tiny"), memory)
    assert lines[1] == f"[monday] agent: {server.summary}"
    assert _asked(server)["tools"][0]["function"]["name"] == "timetable"
    assert _asked(server)["messages"][0]["role"] == "system"
    assert "My cat Miso sees the vet on Thursday at ten." in _asked(server)["messages"][0]["content"]


def _asked(server: OllamaServer) -> dict[str, Any]:
    """The last request for a chat."""
    return [body for path, body in server.requests if path == "/api/chat"][-1]

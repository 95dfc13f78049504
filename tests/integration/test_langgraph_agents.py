"""LangGraph's agents, graphs and langmem's tools on `HybridMemoryStore`, none of them changed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict
from uuid import UUID

import pytest
from factories import Tiers, consolidation_of
from given import NOW
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import create_react_agent
from langgraph.store.base import BaseStore
from langmem import create_manage_memory_tool, create_search_memory_tool
from stores import store_of

from app.integrations.langgraph import HybridMemoryStore, open_store
from app.settings import EmbedderChoice, Settings
from app.testing.clock import FixedClock
from app.testing.working import InMemoryWorkingMemory

MEMORIES = ("memories", "{langgraph_user_id}")
ANA: Any = {"configurable": {"langgraph_user_id": "ana"}}


class Scripted(BaseChatModel):
    """Answers with what it was given, in order."""

    answers: list[AIMessage]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:  # noqa: ARG002 - LangChain's
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:  # noqa: ARG002 - LangChain's
        return ChatResult(generations=[ChatGeneration(message=self.answers.pop(0))])


def calling(name: str, **arguments: Any) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": f"call-{name}"}])


def agent_of(store: BaseStore, *answers: AIMessage) -> Any:
    tools = [create_manage_memory_tool(MEMORIES), create_search_memory_tool(MEMORIES)]
    return create_react_agent(Scripted(answers=[*answers, AIMessage("done")]), tools, store=store)


@pytest.fixture
def tiers() -> Tiers:
    clock = FixedClock(NOW)
    return Tiers(clock=clock, working=InMemoryWorkingMemory(clock))


@pytest.fixture
async def store(tiers: Tiers) -> HybridMemoryStore:
    return store_of(tiers)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_an_agent_remembers_with_langmems_tools(store: HybridMemoryStore, tiers: Tiers) -> None:
    """A memory that one run of an agent keeps, another finds by its meaning, changes and deletes."""
    question: Any = {"messages": [("user", "Remember that I like jazz.")]}
    await agent_of(store, calling("manage_memory", action="create", content="Ana likes jazz")).ainvoke(question, ANA)
    await consolidation_of(tiers).run()
    kept = (await store.asearch(("memories", "ana")))[0]
    assert (kept.namespace, kept.value) == (("memories", "ana"), {"content": "Ana likes jazz"})
    found = await agent_of(store, calling("search_memory", query="what music is liked: jazz")).ainvoke(question, ANA)
    assert "Ana likes jazz" in found["messages"][-2].content
    change = calling("manage_memory", action="update", content="Ana likes blues", id=kept.key)
    await agent_of(store, change).ainvoke(question, ANA)
    assert [item.value for item in await store.asearch(("memories", "ana"), query="blues")] == [{"content": "Ana likes blues"}]
    await agent_of(store, calling("manage_memory", action="delete", id=kept.key)).ainvoke(question, ANA)
    assert await store.asearch(()) == []


async def test_langmems_tools_keep_what_they_are_told(store: HybridMemoryStore) -> None:
    """Used without a graph, the tools write and search in either way of calling them."""
    manage = create_manage_memory_tool(("memories",), store=store)
    search = create_search_memory_tool(("memories",), store=store)
    await manage.ainvoke({"action": "create", "content": "the cat sleeps"})
    await asyncio.to_thread(manage.invoke, {"action": "create", "content": "the fish swims"})
    for answer in (await search.ainvoke({"query": "fish"}), await asyncio.to_thread(search.invoke, {"query": "fish"})):
        assert answer.index("the fish swims") < answer.index("the cat sleeps")


class State(TypedDict):
    text: str


async def test_nodes_of_a_graph_use_the_store(store: HybridMemoryStore) -> None:
    """A graph compiled with the store hands it to its nodes, blocking ones and async ones."""

    def write(state: State, *, store: BaseStore) -> State:
        store.put(("notes",), "k", {"text": state["text"]})
        return state

    async def read(state: State, *, store: BaseStore) -> State:
        item = await store.aget(("notes",), "k")
        assert item is not None
        return {"text": f"{item.value['text']} kept"}

    graph = StateGraph(State).add_node(write).add_node(read).add_edge(START, "write").add_edge("write", "read")
    assert await graph.compile(store=store).ainvoke({"text": "jazz"}) == {"text": "jazz kept"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_program_without_an_event_loop(tmp_path: Path) -> None:
    """`open_store` brings a memory with embedded engines in a thread of its own: everything blocking works on it."""
    settings = Settings(_env_file=None, data_dir=tmp_path / "data", embedder=EmbedderChoice.HASHING)
    with open_store(settings, index={"fields": ["content"]}) as store:
        agent = agent_of(store, calling("manage_memory", action="create", content="Ana likes jazz"))
        agent.invoke({"messages": [("user", "Remember that I like jazz.")]}, ANA)
        found = store.search(("memories",), query="jazz", limit=1)
        assert [(item.namespace, item.value) for item in found] == [(("memories", "ana"), {"content": "Ana likes jazz"})]
        assert UUID(found[0].key)
    with open_store(settings) as store:
        assert store.list_namespaces() == [("memories", "ana")]

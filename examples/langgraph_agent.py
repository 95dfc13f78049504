"""An agent on LangGraph that remembers between conversations, with a tool.

    python examples/langgraph_agent.py                    # a scripted model: no key, no network
    python examples/langgraph_agent.py --ollama llama3.2  # a model of Ollama (pip install langchain-ollama)

It opens a memory of its own in a temporary directory; give `--data-dir` to keep it. There is no checkpointer: what the second
conversation knows of the first one comes from memory.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.tools import BaseTool, tool
from langgraph.graph import END, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.prebuilt import ToolNode

from app import HybridMemoryService, Settings, open_memory
from app.integrations.langgraph import add_memory, consolidate_node
from app.integrations.langgraph.wiring import REMEMBER
from app.observability import configure_logging

FIRST = ("I am Ana. My cat Miso sees the vet on Thursday at ten.", "Which bus goes to the vet?")
SECOND = ("When does Miso see the vet?",)


@tool
def timetable(place: str) -> str:
    """Which bus goes to a place."""
    return f"Bus 14 stops at the {place} every ten minutes."


class ScriptedModel(BaseChatModel):
    """Stands in for a model: looks up buses with a tool, and answers questions with the first line of memory that fits."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, *_: Any, **__: Any) -> Runnable[LanguageModelInput, AIMessage]:
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=_answer(messages))])


def _answer(messages: Sequence[BaseMessage]) -> AIMessage:
    last = messages[-1]
    if isinstance(last, ToolMessage):
        return AIMessage(str(last.content))
    asked = str(last.content)
    if "bus" in asked:
        return AIMessage("", tool_calls=[{"id": "call-1", "name": "timetable", "args": {"place": "vet"}}])
    known = [line for m in messages if isinstance(m, SystemMessage) for line in str(m.content).splitlines()]
    found = next((line for line in known if "vet" in line and "?" not in line), None)
    return AIMessage(f"I remember: {found}" if asked.endswith("?") and found else "Noted.")


def agent_with_memory(model: BaseChatModel, memory: HybridMemoryService) -> CompiledStateGraph[Any, Any, Any, Any]:
    """recall → model ⇄ tools → remember → consolidate."""
    tools: list[BaseTool] = [timetable]
    thinking = model.bind_tools(tools)

    async def think(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await thinking.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("think", think)
    builder.add_node("tools", ToolNode(tools))
    builder.add_edge("tools", "think")
    builder.add_conditional_edges("think", _next, ["tools", REMEMBER])
    add_memory(builder, memory, entry="think", budget_tokens=600)
    builder.add_node("consolidate", consolidate_node(memory))
    builder.add_edge(REMEMBER, "consolidate")
    builder.add_edge("consolidate", END)
    return builder.compile()


def _next(state: MessagesState) -> str:
    last = state["messages"][-1]
    return "tools" if isinstance(last, AIMessage) and last.tool_calls else REMEMBER


async def converse(model: BaseChatModel, memory: HybridMemoryService) -> list[str]:
    """Two conversations of one user; what was said, line by line."""
    graph, said = agent_with_memory(model, memory), []
    for thread, requests in (("monday", FIRST), ("wednesday", SECOND)):
        for request in requests:
            config: RunnableConfig = {"configurable": {"thread_id": thread, "user_id": "ana"}}
            state = await graph.ainvoke({"messages": [("user", request)]}, config)
            said += [f"[{thread}] Ana:   {request}", f"[{thread}] agent: {state['messages'][-1].text}"]
    return said


def model_named(ollama: str | None) -> BaseChatModel:
    if ollama is None:
        return ScriptedModel()
    from langchain_ollama import ChatOllama  # optional: only who asks for a model of Ollama needs it

    return ChatOllama(model=ollama)


@asynccontextmanager
async def memory_in(directory: str | None) -> AsyncIterator[HybridMemoryService]:
    with tempfile.TemporaryDirectory(prefix="hybrid-memory-example-") as temporary:
        async with open_memory(Settings(data_dir=Path(directory or temporary))) as memory:
            yield memory


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ollama", metavar="MODEL", help="a chat model of Ollama instead of the scripted one")
    parser.add_argument("--data-dir", help="keep the memory here")
    options = parser.parse_args()
    async with memory_in(options.data_dir) as memory:
        for line in await converse(model_named(options.ollama), memory):
            print(line)


if __name__ == "__main__":
    configure_logging("ERROR", "console")
    asyncio.run(main())

"""Nodes of memory put into a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from langchain_core.runnables import Runnable
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import RetryPolicy

from app.errors import TierUnavailable
from app.integrations.langgraph.nodes import Scoping, recall_node, remember_node
from app.integrations.langgraph.scoping import scope_of
from app.service import HybridMemoryService

RECALL: Final = "recall"
HEAR: Final = "hear"
REMEMBER: Final = "remember"
AGENT: Final = "agent"
_RETRY: Final = RetryPolicy(max_attempts=3, initial_interval=0.2, retry_on=TierUnavailable)
"""Memory is idempotent, and an engine that is being restarted is back soon."""


def add_memory(
    builder: StateGraph[Any, Any, Any, Any], memory: HybridMemoryService, *, entry: str, exit: str | None = None,  # noqa: A002 - pairs with `entry`
    budget_tokens: int = 1000, context_key: str | None = None, scoping: Scoping = scope_of,
) -> StateGraph[Any, Any, Any, Any]:  # fmt: skip
    """Add memory around the nodes of `builder`: recall before `entry`, remember after `exit`, and return the builder.

    From `START` the request is recorded (`hear`) while memory is asked (`recall`), then comes `entry`. What follows `remember`
    is `END`. A graph that ends at a condition leaves `exit` out and goes to `REMEMBER` where it would have gone to `END`.
    """
    recall = recall_node(memory, budget_tokens=budget_tokens, context_key=context_key, scoping=scoping)
    builder.add_node(RECALL, recall, retry_policy=_RETRY)
    for name in (HEAR, REMEMBER):
        builder.add_node(name, remember_node(memory, scoping=scoping), retry_policy=_RETRY)
    for name in (RECALL, HEAR):
        builder.add_edge(START, name)
    builder.add_edge([RECALL, HEAR], entry)
    if exit is not None:
        builder.add_edge(exit, REMEMBER)
    builder.add_edge(REMEMBER, END)
    return builder


def with_memory(
    agent: Runnable[Any, Any] | Callable[..., Any], memory: HybridMemoryService, *, state_schema: type[Any] = MessagesState,
    budget_tokens: int = 1000, context_key: str | None = None, scoping: Scoping = scope_of,
) -> StateGraph[Any, Any, Any, Any]:  # fmt: skip
    """A graph, to be compiled, of one agent (a node, or a whole compiled graph) that recalls before and remembers after it."""
    builder = StateGraph(state_schema)
    builder.add_node(AGENT, agent)
    return add_memory(
        builder, memory, entry=AGENT, exit=AGENT, budget_tokens=budget_tokens, context_key=context_key, scoping=scoping
    )

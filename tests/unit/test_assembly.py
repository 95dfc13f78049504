"""Gathering context from the tiers."""

from __future__ import annotations

from dataclasses import replace

from factories import Tiers, append, recall_of, tiers
from given import SESSION

from app.records import Query, ReadPreference, Scope, SessionState, Tier
from app.retrieval.assembly import ContextAssembly
from app.retrieval.context import ContextShares
from app.retrieval.recent import SessionReader
from app.testing.faults import away

QUERY = Query("what about the boiler", Scope(SESSION.namespace))


def assembly_of(tiers: Tiers) -> ContextAssembly:
    reader = SessionReader(tiers.working, tiers.episodic, preference=ReadPreference.REDIS_FIRST)
    return ContextAssembly(reader, recall_of(tiers), shares=ContextShares(), recent_limit=10)


async def test_state_and_recent_messages_come_together() -> None:
    """The session's state and its newest messages stand in one text; a message is not recalled on top of that."""
    given = tiers()
    await append(given, "the boiler is loud", "call the plumber")
    await given.working.save_state(SESSION, SessionState(goal="a warm flat"))
    context = await assembly_of(given).assemble(QUERY, SESSION, 200)
    names = [section.name for section in context.sections if section.included]
    assert (names, context.degraded) == (["state", "recent"], ())
    assert "Goal: a warm flat" in context.text
    assert context.text.count("the boiler is loud") == 1


async def test_what_is_away_is_named_and_the_rest_is_given() -> None:
    """With index and Postgres away the buffer still fills the context, and both are named."""
    given = tiers()
    await append(given, "the boiler is loud")
    dark = replace(given, semantic=away(given.semantic, Tier.SEMANTIC), episodic=away(given.episodic, Tier.EPISODIC))
    context = await assembly_of(dark).assemble(replace(QUERY, text="zebra"), SESSION, 200)
    assert "the boiler is loud" in context.text
    assert set(context.degraded) >= {"semantic", "episodic"}


async def test_without_a_session_only_recall_fills_the_context() -> None:
    """A question that names no session gets what is recalled from the namespace."""
    given = tiers()
    await append(given, "the boiler is loud")
    context = await assembly_of(given).assemble(QUERY, None, 200)
    assert [section.name for section in context.sections if section.included] == ["recalled"]

"""Random talks and random deaths on the in-memory twins: the promises of the drain and the index, found wanting or not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from random import Random
from uuid import UUID

from factories import tiers
from fault_process import Kind, Mishap, Outage
from fault_run import NOW, POINTS, Life, Plan, Run
from fault_talk import BEGIN, Append, Consolidate, End, Forget, Said, Step, Talk
from hypothesis import given, settings
from hypothesis import strategies as st

from app.embedding.chain import EmbedderChain
from app.embedding.hashing import HashingEmbedder
from app.records import SessionKey, Tier, Wait
from app.testing.clock import TickingClock
from app.testing.working import InMemoryWorkingMemory

mishaps = st.builds(Mishap, st.sampled_from(POINTS), st.integers(1, 4), st.sampled_from(Kind))
outages = st.builds(Outage, st.sampled_from([Tier.WORKING, Tier.EPISODIC, Tier.SEMANTIC]), st.integers(0, 20), st.integers(1, 5))
lives = st.lists(st.builds(Life, st.none() | mishaps, st.none() | outages), max_size=4)


@st.composite
def talks(draw: st.DrawFn) -> list[Talk]:
    """Two sessions of one namespace, in which batches of any size are said, repeated, ended and forgotten."""
    return [Talk(SessionKey("acme", f"s{n}"), draw(_scripts(n)), Random(n)) for n in range(draw(st.integers(1, 2)))]


@st.composite
def _scripts(draw: st.DrawFn, session: int) -> list[Step]:
    said: list[Said] = []
    script: list[Step] = []
    for size in draw(st.lists(st.integers(1, 5), max_size=6)):
        repeated = said[-draw(st.integers(1, 3)) :] if draw(st.booleans()) else []
        new = [_said(session, len(script) * 10 + n) for n in range(size)]
        script.append(Append((*repeated, *new), draw(st.sampled_from(Wait))))
        further: Step | None = draw(st.sampled_from([None, None, Consolidate(), End(), Forget()]))
        script += [] if further is None else [further]
        said = [] if isinstance(further, Forget) else said + new
    return script


def _said(session: int, number: int) -> Said:
    identity = UUID(int=session * 1000 + number + 1)
    return Said(identity, f"x{identity.int:06d}x", BEGIN + timedelta(minutes=7 * number))


@settings(max_examples=150, deadline=None)
@given(talks(), lives, lives)
def test_whatever_dies_each_promise_is_kept(said: list[Talk], serving: Sequence[Life], working: Sequence[Life]) -> None:
    """Two workers and a client a session: acknowledged means once, in order, in one episode, indexed; forgotten means gone."""
    clock = TickingClock(NOW)
    empty = replace(tiers(), clock=clock, working=InMemoryWorkingMemory(clock), embedder=EmbedderChain([HashingEmbedder()]))
    asyncio.run(Run(empty, Plan(said, serving, working)).carry_out())

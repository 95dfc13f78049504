"""Calls that are sent together, against a real server: one round trip for many, and each carried out for itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from given import NOW, episode
from prometheus_client import REGISTRY

from app.errors import Conflict, TierUnavailable
from app.records import ControlMode, Episode, EpisodeKind, LoggedEpisode
from app.working import RedisRepository, connect
from app.working.client import Client
from app.working.codec import decode_episode, encode_episode


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    async with connect(redis_url) as opened:
        yield opened


def logged(**fields: Any) -> LoggedEpisode:
    return LoggedEpisode(episode(kind=EpisodeKind.TASK, **fields), ({"say": "yes"},), NOW)


async def all_logged(working: RedisRepository) -> set[str]:
    return {one.episode.summary for batch in [b async for b in working.logged_episodes()] for one in batch}


def round_trips() -> float:
    labels = {"store": "working", "operation": "log_episode"}
    return REGISTRY.get_sample_value("memory_store_latency_seconds_count", labels) or 0.0


async def test_a_burst_is_a_few_round_trips(client: Client) -> None:
    """A hundred at once are all there when the calls return, also on a server that does not know the script yet."""
    working, before = RedisRepository(client), round_trips()
    records = [logged(summary=f"n{n}") for n in range(100)]
    await asyncio.gather(*(working.log_episode(record) for record in records))
    assert await all_logged(working) == {f"n{n}" for n in range(100)}
    assert round_trips() - before <= 2


async def test_one_conflict_is_nobody_elses(client: Client) -> None:
    """Of calls that go together each gets its own answer."""
    working, first, others = RedisRepository(client), logged(summary="first"), [logged(summary=f"n{n}") for n in range(3)]
    await working.log_episode(first)
    other_content = replace(first, episode=replace(first.episode, summary="other"))
    outcomes = await asyncio.gather(
        *(working.log_episode(one) for one in (others[0], other_content, *others[1:], first)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), Conflict, type(None), type(None), type(None)]
    assert await all_logged(working) == {"first", "n0", "n1", "n2"}


async def test_who_gives_up_takes_nobody_along(client: Client) -> None:
    """A caller that is cancelled leaves the others' calls alone."""
    working = RedisRepository(client)
    calls = [asyncio.ensure_future(working.log_episode(logged(summary=f"n{n}"))) for n in range(3)]
    await asyncio.sleep(0)
    calls[1].cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None), asyncio.CancelledError, type(None)]
    assert await all_logged(working) >= {"n0", "n2"}


async def test_without_a_server_everybody_is_told() -> None:
    """An outage reaches each of the callers."""
    async with connect("unix:///nowhere/at/all.sock") as nowhere:
        working = RedisRepository(nowhere)
        outcomes = await asyncio.gather(*(working.log_episode(logged()) for _ in range(5)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {TierUnavailable}


def test_an_episode_logged_by_the_first_version_is_read() -> None:
    """Its agent, sprint and patterns are unknown; a quality it has was given by its caller."""
    plain = orjson.loads(encode_episode(logged(quality=0.5))[0])["content"]
    for name in ("agent_version", "control_mode", "decision_source", "sprint_id", "chronicle_note_id", "patterns"):
        del plain["episode"][name]
    del plain["episode"]["is_quality_given"]
    read = decode_episode(orjson.dumps({"v": 1, "logged_at": NOW, **plain}))
    assert read.episode == replace(logged(quality=0.5).episode, id=read.episode.id, is_quality_given=True)


def test_an_episode_in_full_comes_back_as_it_was_logged() -> None:
    """Every field, and a digest that does not depend on when it was logged."""
    full: Episode = logged(
        agent_version="2", control_mode=ControlMode.RULE_BASED_ONLY, patterns=("a", "b"), is_quality_given=True
    ).episode
    one = LoggedEpisode(full, ({"n": 1},), NOW)
    written, digest = encode_episode(one)
    assert decode_episode(written) == one
    assert encode_episode(replace(one, logged_at=one.logged_at.replace(year=2030)))[1] == digest

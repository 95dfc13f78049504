"""Doors beside the API: opened by the first who asks, closed with the API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp

from app.api.mounting import Annex, Annexed

DOOR: ASGIApp = PlainTextResponse("hello")


class Opening:
    """Opens `DOOR`, or fails as often as `failures` says; `seen` is what happened to it."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.seen: list[str] = []

    @asynccontextmanager
    async def __call__(self, _: FastAPI) -> AsyncIterator[ASGIApp]:
        self.seen.append("opening")
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise OSError("not yet")
        yield DOOR
        self.seen.append("closed")


def annexed(opening: Opening) -> Annexed:
    return Annexed(Annex("/door", ("POST",), opening), FastAPI())


async def test_those_who_ask_at_once_share_one() -> None:
    opening = Opening()
    annex = annexed(opening)
    first, second = await asyncio.gather(annex.app(), annex.app())
    assert first is second is DOOR
    await annex.close()
    assert opening.seen == ["opening", "closed"]


async def test_nobody_asked_nothing_is_opened() -> None:
    opening = Opening()
    await annexed(opening).close()
    assert opening.seen == []


async def test_whoever_asks_after_a_failure_tries_anew() -> None:
    """Those who asked meanwhile hear of it, too."""
    opening = Opening(failures=1)
    annex = annexed(opening)
    outcomes = await asyncio.gather(annex.app(), annex.app(), return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["not yet", "not yet"]
    assert await annex.app() is DOOR
    await annex.close()
    assert opening.seen == ["opening", "opening", "closed"]


async def test_closed_while_it_opens_it_is_closed_when_it_is_open() -> None:
    opening = Opening()
    annex = annexed(opening)
    asking = asyncio.create_task(annex.app())
    await asyncio.sleep(0)
    await annex.close()
    assert await asking is DOOR
    assert opening.seen == ["opening", "closed"]


async def test_a_caller_who_leaves_takes_nobody_along() -> None:
    opening = Opening()
    annex = annexed(opening)
    leaving, staying = asyncio.create_task(annex.app()), asyncio.create_task(annex.app())
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying is DOOR
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await annex.close()

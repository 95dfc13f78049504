"""Specifications: TTL, for stores made with `refresh_on_read` and `omit_expired`. Lives are of seconds, and are waited for.

A store that only hides what it has swept is swept while it is waited for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from app.integrations.store_conformance.contract import Basis, Disagreement, Face, Need, equal, holds, refused, spec

DOCUMENTED = Basis.DOCUMENTED
TTL = Need.TTL

SECONDS: Final = 2.0
MINUTES: Final = SECONDS / 60
_PATIENCE_SECONDS: Final = 15.0
_LOOK_EVERY_SECONDS: Final = 0.2


async def _until(face: Face, is_so: Callable[[], Awaitable[bool]], what: str) -> None:
    ends = time.monotonic() + _PATIENCE_SECONDS
    while not await is_so():
        await face.sweep()
        if time.monotonic() > ends:
            raise Disagreement(f"{what}, {_PATIENCE_SECONDS:g} s long")
        await asyncio.sleep(_LOOK_EVERY_SECONDS)


async def _outlives(face: Face, read: Callable[[], Awaitable[object]]) -> None:
    """Read for twice the life; a machine that sleeps through it has proved nothing, and begins again."""
    while True:
        await face.put(face.at("a"), "k", {"n": 1}, ttl=MINUTES)
        began = last = time.monotonic()
        was_late = False
        while time.monotonic() < began + 2 * SECONDS:
            was_late |= time.monotonic() - last > SECONDS * 0.75
            last = time.monotonic()
            found = await read()
            if not found and not was_late:
                raise Disagreement("it was read all the time, and is gone")
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
        if not was_late:
            return


@spec("ttl.expires", "An item is gone from every read after its minutes.", TTL, basis=DOCUMENTED)
async def expires(face: Face) -> None:
    await face.put(face.at("a"), "k", {"n": 1}, ttl=MINUTES)
    await face.put(face.at("a"), "stays", {"n": 1})
    holds(await face.get(face.at("a"), "k", refresh_ttl=False), "it is not there at first")

    async def is_gone() -> bool:
        return await face.get(face.at("a"), "k", refresh_ttl=False) is None

    await _until(face, is_gone, "it is still got")
    equal(await face.keys(face.at(), refresh_ttl=False), ["stays"], "found by a search")


@spec("ttl.refreshed_by_get", "A get that refreshes lets an item live on, also one of less than a minute.", TTL, basis=DOCUMENTED)
async def refreshed_by_get(face: Face) -> None:
    await _outlives(face, lambda: face.get(face.at("a"), "k"))


@spec(
    "ttl.refreshed_by_search",
    "A search that refreshes lets what it finds live on, also items of less than a minute.",
    TTL,
    basis=DOCUMENTED,
)
async def refreshed_by_search(face: Face) -> None:
    await _outlives(face, lambda: face.search(face.at("a")))


@spec("ttl.cleared", "An update without a TTL lets an item live for ever.", TTL)
async def cleared(face: Face) -> None:
    await face.put(face.at("a"), "k", {"n": 1}, ttl=MINUTES)
    await face.put(face.at("a"), "k", {"n": 2}, ttl=None)
    await face.put(face.at("a"), "witness", {}, ttl=MINUTES)

    async def is_witness_gone() -> bool:
        return await face.get(face.at("a"), "witness", refresh_ttl=False) is None

    await _until(face, is_witness_gone, "an item with a TTL is still got")
    holds(await face.get(face.at("a"), "k"), "the item without one is gone")


@spec("ttl.namespace", "The namespace of an expired item is not listed.", TTL, basis=DOCUMENTED)
async def namespace(face: Face) -> None:
    await face.put(face.at("a"), "k", {}, ttl=MINUTES)

    async def is_gone() -> bool:
        return not await face.list_namespaces()

    await _until(face, is_gone, "it is still listed")


@spec("ttl.positive", "A TTL of zero or below is refused.", TTL)
async def positive(face: Face) -> None:
    for minutes in (0, -1):
        await refused(face.put(face.at("a"), "k", {}, ttl=minutes), f"ttl={minutes}")


SPECS = tuple(each for each in list(vars().values()) if type(each).__name__ == "Spec")

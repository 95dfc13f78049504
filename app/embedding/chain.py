"""Several providers behind one `Embedder`: the first that answers, the primary again as soon as it is back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import structlog

from app.breakers import BreakerPolicy, BreakerState, Guard, Pause
from app.errors import EmbedderUnavailable
from app.faultpoints import FaultPoint, reached
from app.observability import EMBEDDED_TEXTS, EMBEDDER_IN_USE
from app.ports import Embedder
from app.records import Embedded, Space

log = structlog.get_logger(__name__)

PROBE: Final = "Ana moved the quarterly review to Thursday because the new figures arrive on Wednesday."
_PING_DEADLINE: Final = timedelta(seconds=5)
"""A model at work takes all the cores there are, and a first embedding loads it."""
SAME_SPACE_COSINE: Final = 0.99
"""One model under two roofs (float32 here, float16 there) agrees to 0.999 and better; other models do not come near."""


@dataclass(slots=True)
class _Link:
    """A provider with its guard; `space` is set once its vectors proved to differ from the primary's.

    `is_reported`: that it does not answer was logged before.
    """

    provider: Embedder
    guard: Guard
    space: Space | None = None
    is_reported: bool = False


class EmbedderChain:
    """Asks `providers` in order, each behind a guard, and answers with the first that is available.

    When a fallback claims the primary's space, one sentence embedded by both, as soon as both are up, checks the claim;
    where they disagree the fallback's vectors are given a space of their own from then on.

    `may_be_absent`: nobody asked for those before the last one; that such a one is not there is said once, as no trouble.
    """

    def __init__(
        self, providers: Sequence[Embedder], *,
        breaker: BreakerPolicy | None = None, pause: Pause = asyncio.sleep, may_be_absent: bool = False,
    ) -> None:  # fmt: skip
        missed = [not (may_be_absent and link < len(providers) - 1) for link in range(len(providers))]
        self._links = [_Link(p, _guard_of(p, breaker, pause, is_missed=m)) for p, m in zip(providers, missed, strict=True)]
        self._comparison: asyncio.Task[None] | None = None
        self._to_compare = self._links[1:]
        self._in_use: str | None = None

    @property
    def provider_in_use(self) -> str | None:
        """Who answered last; None before the first answer."""
        return self._in_use

    @property
    def space(self) -> Space:
        """The primary's space; while its dimension has not been learned, that of the first provider who knows its own.

        Raises:
            EmbedderUnavailable: no provider knows its space yet.
        """
        for link in self._links:
            with suppress(EmbedderUnavailable):
                return link.space or link.provider.space
        raise EmbedderUnavailable("chain", "no provider has answered yet, so the embedding space is not known")

    def primary_space(self) -> Space:
        """The primary's space and nobody else's: what may be moved there must not be moved to a fallback's.

        Raises:
            EmbedderUnavailable: the primary does not know it before its first answer.
        """
        return self._links[0].provider.space

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """See `Embedder.embed`. The answer is in the space of whoever gave it.

        Raises:
            EmbedderUnavailable: nobody answered; says what each provider's problem is.
        """
        problems = []
        for link in self._links:
            try:
                answer = await self._ask(link, texts)
            except EmbedderUnavailable as error:
                problems.append(f"{error.provider}: {error.problem}")
            else:
                self._note(link, answer)
                return answer
        raise EmbedderUnavailable("chain", "; ".join(problems))

    @property
    def state(self) -> BreakerState:
        """Closed as long as any provider is asked."""
        return min(link.guard.state for link in self._links)

    async def ping(self) -> str:
        """The first provider's answer who gives one."""
        problems = []
        for link in self._links:
            try:
                async with link.guard.calling():
                    return await link.provider.ping()
            except EmbedderUnavailable as error:
                problems.append(f"{error.provider}: {error.problem}")
        raise EmbedderUnavailable("chain", "; ".join(problems))

    async def close(self) -> None:
        """Stop what goes on in the background."""
        for link in self._links:
            await link.guard.close()
        if self._comparison is not None:
            self._comparison.cancel()
            await asyncio.wait([self._comparison])

    async def _ask(self, link: _Link, texts: Sequence[str]) -> Embedded:
        """One provider's answer, if its guard lets it be asked."""
        async with link.guard.calling():
            try:
                await reached(FaultPoint.EMBED_ASKING)
                answer = await link.provider.embed(texts)
            except EmbedderUnavailable as error:
                self._report(link, error)
                raise
        return answer if link.space is None else replace(answer, space=link.space)

    def _report(self, link: _Link, error: EmbedderUnavailable) -> None:
        if link.guard.is_missed:
            log.warning("embedder_failed", provider=error.provider, problem=error.problem)
        elif not link.is_reported:
            log.info("embedder_absent", provider=error.provider, problem=error.problem)
        link.is_reported = True

    def _note(self, link: _Link, answer: Embedded) -> None:
        EMBEDDED_TEXTS.labels(answer.provider).inc(len(answer.vectors))
        EMBEDDER_IN_USE.clear()
        EMBEDDER_IN_USE.labels(answer.provider).set(1)
        self._in_use = answer.provider
        if link is self._links[0] and self._to_compare and (self._comparison is None or self._comparison.done()):
            self._comparison = asyncio.create_task(self._compare())

    async def _compare(self) -> None:
        """Check every fallback that claims the primary's space; who is not up is checked another time."""
        for link in list(self._to_compare):
            with suppress(EmbedderUnavailable):
                theirs = await self._ask(link, [PROBE])
                ours = await self._ask(self._links[0], [PROBE])
                self._to_compare.remove(link)
                self._separate_if_different(link, ours, theirs)

    def _separate_if_different(self, link: _Link, ours: Embedded, theirs: Embedded) -> None:
        if ours.space != theirs.space:
            return
        cosine = float(ours.vectors[0] @ theirs.vectors[0])
        if cosine < SAME_SPACE_COSINE:
            link.space = Space(f"{theirs.space.model}@{theirs.provider}", theirs.space.dimension)
            log.warning("embedding_spaces_differ", primary=ours.provider, fallback=theirs.provider, cosine=round(cosine, 4))


def _guard_of(provider: Embedder, policy: BreakerPolicy | None, pause: Pause, *, is_missed: bool) -> Guard:
    """A server that answers pings may still have no model that embeds, so only an embedding brings it back."""

    async def probe() -> None:
        await provider.embed([PROBE])

    patient = replace(policy or BreakerPolicy(), ping_deadline=_PING_DEADLINE, is_missed=is_missed)
    return Guard(type(provider).__name__, provider.ping, probe=probe, outage=EmbedderUnavailable, policy=patient, pause=pause)

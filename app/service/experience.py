"""The façade: episodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Unpack
from uuid import UUID

from app.errors import HybridMemoryError, InvalidInput
from app.ingestion.episode_fields import EpisodeFields, episode_of
from app.ingestion.feedback import FeedbackDraft, FeedbackFields
from app.ingestion.limits import check_count, check_label, check_time
from app.learning.quality import Quality, assess, is_learnable
from app.records import (
    Episode,
    EpisodeInFull,
    EpisodeKind,
    EpisodeReceipt,
    EpisodeStep,
    Feedback,
    Json,
    OutcomeRevision,
    RecordKind,
    Scope,
    StepsPage,
    Tier,
    Verdict,
    Wait,
    first_outcome,
    utc_now,
)
from app.retrieval.episodes import awaiting_embedding
from app.service.parts import INDEX_WAIT, Side


class Experience(Side):
    """Store, change and read what happened."""

    # A `call` names the call that asks for a change: repeated under the same name, it changes nothing more.

    async def store_episode(
        self, episode: Episode, steps: Sequence[Json] = (), *, wait: Wait = Wait.STORED, call: UUID | None = None
    ) -> EpisodeReceipt:
        """Store a decision, negotiation or task with its first steps; the receipt says where it is.

        Without a wait it is logged in Redis and drained soon; else it goes to Postgres, or on until it is indexed. While
        Postgres is away it is logged in either case.

        Raises:
            Conflict: the id is taken by another episode; nothing was written.
        """
        receipt = await self._parts.episode_log.store(episode, steps, wait, call=call)
        return await self._index_episode(receipt) if wait is Wait.INDEXED else receipt

    async def log_episode(
        self, episode: Episode | None = None, steps: Sequence[Json] = (), **fields: Unpack[EpisodeFields]
    ) -> EpisodeReceipt:
        """Log what was decided and go on: one append to Redis, whatever else is slow or away. Stored in the background.

        Give an episode, or its fields by keyword (`perception=…, reasoning=…, action=…, project_id=…`). The receipt has its id;
        while logging is switched off it says so in `skipped`, and nothing is kept.

        Raises:
            InvalidInput: a field breaks a limit, or an episode was given together with fields of one.
            TierUnavailable: Redis and Postgres are both away; nothing was kept.
        """
        if episode is not None and fields:
            raise InvalidInput(next(iter(fields)), "cannot be given together with an episode")
        return await self.store_episode(episode or episode_of(fields, utc_now()), steps, wait=Wait.NONE)

    async def _index_episode(self, receipt: EpisodeReceipt) -> EpisodeReceipt:
        if receipt.stored_in is not Tier.EPISODIC:
            return receipt
        try:
            is_indexed = await self._parts.consolidation.index([receipt.episode.uid], INDEX_WAIT)
        except HybridMemoryError:  # acknowledged already, as in `_carry_on`
            return replace(receipt, degraded=(*receipt.degraded, "consolidation"))
        return replace(receipt, stored_in=Tier.SEMANTIC) if is_indexed else receipt

    async def get_episode(self, namespace: str, episode_id: UUID) -> Episode:
        """The episode, drained or not."""
        check_label("namespace", namespace, self._parts.limits)
        return await self._parts.episode_reader.one(namespace, episode_id)

    async def read_episode(self, namespace: str, episode_id: UUID) -> EpisodeInFull:
        """The episode with its first steps, drained or not, and whether the index has yet to learn of it."""
        check_label("namespace", namespace, self._parts.limits)
        return await self._parts.episode_reader.in_full(namespace, episode_id)

    async def awaiting_embedding(self, episode_ids: Sequence[UUID]) -> frozenset[UUID]:
        """Those of these stored episodes that the index has yet to learn of, or of their last change."""
        async with self._parts.episodic.reading() as reader:
            return awaiting_embedding(await reader.outbox_entries(episode_ids)) if episode_ids else frozenset()

    def assess(self, episode: Episode) -> Quality:
        """What the quality validator says about an episode as it is, with a reason for every point lost."""
        return assess(episode, self._parts.quality)

    def is_learnable(self, episode: Episode) -> bool:
        """Whether anything may be learned from it: its quality is known and not below the threshold."""
        return is_learnable(episode, self._parts.quality)

    def render_episode(self, episode: Episode) -> tuple[str, str]:
        """The text that the episode is embedded by, and the version of the rendering."""
        rendering = self._parts.rendering
        return rendering.text_of(episode), rendering.version

    async def list_episodes(
        self, scope: Scope, *,
        kind: EpisodeKind | None = None, before: UUID | None = None, limit: int = 50, archived: bool = False,
    ) -> tuple[Episode, ...]:  # fmt: skip
        """Newest first, those in the archive or the others; `before` is the last id of the page before."""
        self._check(scope, limit=limit)
        async with self._parts.episodic.reading() as reader:
            return await reader.list_episodes(scope, kind=kind, before=before, limit=limit, archived=archived)

    async def change_episode(
        self, namespace: str, episode_id: UUID, change: Callable[[Episode], Episode], *, expected_version: int | None = None
    ) -> Episode:
        """Store what `change` makes of the episode; it is indexed again in the background. Identity and span stay.

        Raises:
            VersionMismatch: the episode is not at `expected_version`.
        """
        await self._parts.consolidation.store_logged_episode(namespace, episode_id)
        return await self._parts.records.change_episode(namespace, episode_id, change, expected_version=expected_version)

    async def record_outcome(
        self, namespace: str, episode_id: UUID, outcome: Json, outcome_quality: float | None = None, *, call: UUID | None = None
    ) -> Episode:
        """Say how an episode turned out, for now or for good; what was said before is kept (`list_outcomes`)."""
        check_label("namespace", namespace, self._parts.limits)
        await self._parts.consolidation.store_logged_episode(namespace, episode_id)
        return await self._parts.records.record_outcome(namespace, episode_id, outcome, outcome_quality, call=call)

    async def list_outcomes(
        self, namespace: str, episode_id: UUID, *, after: int = -1, limit: int = 100
    ) -> tuple[OutcomeRevision, ...]:
        """What was known of the episode's outcome and from when on, by rising index, above `after`; the last one holds."""
        check_count("limit", limit, self._parts.limits.results)
        episode = await self.get_episode(namespace, episode_id)
        async with self._parts.episodic.reading() as reader:
            revisions = await reader.outcomes(episode_id, after=after, limit=limit)
        return revisions or (first_outcome(episode) if after < 0 else ())

    async def list_episodes_without_outcome(
        self, scope: Scope, *, ended_before: datetime | None = None, kind: EpisodeKind | None = None,
        before: UUID | None = None, limit: int = 50,
    ) -> tuple[Episode, ...]:  # fmt: skip
        """Closed episodes whose outcome is still waited for, newest first; conversations only if asked for by `kind`."""
        self._check(scope, limit=limit)
        if ended_before is not None:
            ended_before = check_time("ended_before", ended_before, self._parts.limits, None)
        async with self._parts.episodic.reading() as reader:
            return await reader.list_episodes_without_outcome(
                scope, ended_before=ended_before, kind=kind, before=before, limit=limit
            )

    async def record_feedback(
        self, scope: Scope, record_id: UUID, verdict: Verdict, *,
        search_id: UUID | None = None, call: UUID | None = None, **fields: Unpack[FeedbackFields],
    ) -> Feedback:  # fmt: skip
        """Say what a recalled record was worth: it ranks higher or lower at once, and less so as time goes by.

        `scope` is whose feedback it is; a message's id is its session's, so that a session says which message is meant.
        `query` is what the record was recalled for, `search_id` the search: if that took part in an experiment, its subject
        has been given a value of the metric `feedback`; any other search is let be.

        Raises:
            NotFound: no such record in the namespace.
        """
        feedback = await self._parts.feedback.record(FeedbackDraft(scope, record_id, verdict, **fields), call=call)
        if search_id is not None:
            await self._parts.experiments.observe_feedback(search_id, feedback)
        return feedback

    async def append_steps(
        self, namespace: str, episode_id: UUID, steps: Sequence[Json], *, call: UUID | None = None
    ) -> tuple[EpisodeStep, ...]:
        check_label("namespace", namespace, self._parts.limits)
        await self._parts.consolidation.store_logged_episode(namespace, episode_id)
        return await self._parts.records.append_steps(namespace, episode_id, steps, call=call)

    async def list_steps(self, namespace: str, episode_id: UUID, *, after: int = -1, limit: int = 100) -> tuple[EpisodeStep, ...]:
        """Steps with an index above `after`, in order."""
        return (await self.read_steps(namespace, episode_id, after=after, limit=limit)).steps

    async def read_steps(self, namespace: str, episode_id: UUID, *, after: int = -1, limit: int = 100) -> StepsPage:
        """Like `list_steps`, drained or not, with how many there are in all."""
        check_label("namespace", namespace, self._parts.limits)
        check_count("limit", limit, self._parts.limits.results)
        return (await self._parts.episode_reader.in_full(namespace, episode_id, after=after, limit=limit)).first

    async def delete_episode(self, namespace: str, episode_id: UUID, *, expected_version: int | None = None) -> None:
        await self._parts.consolidation.store_logged_episode(namespace, episode_id)
        await self._parts.records.delete(RecordKind.EPISODE, namespace, episode_id, expected_version=expected_version)

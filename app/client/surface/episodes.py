"""Episodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack
from uuid import UUID

from app.client.answers import as_, many, nothing, page
from app.client.asking import Ask, Page, Pages, Paging, delete, get, patch, post
from app.client.episodes import (
    FullEpisode,
    StepPage,
    StoredEpisode,
    StoredEpisodeReceipt,
    episode,
    full_episode,
    one_episode,
    step,
    steps,
    stored_episode,
)
from app.client.fields import (
    EpisodeChanges,
    EpisodeFields,
    EpisodesAsked,
)
from app.client.surface.sessions import Version, if_match
from app.records import (
    DEFAULT_NAMESPACE,
    Episode,
    EpisodeKind,
    EpisodeStep,
    Json,
    OutcomeRevision,
    Wait,
)

_EPISODE = "/v1/episodes/{episode_id}"


class EpisodeCalls:
    """Calls about episodes."""

    @post("/v1/episodes")
    def store_episode(
        self, kind: EpisodeKind | str = EpisodeKind.DECISION, *, wait: Wait | str = Wait.STORED,
        idempotency_key: str | None = None, **fields: Unpack[EpisodeFields],
    ) -> Ask[StoredEpisodeReceipt]:  # fmt: skip
        """Store a decision, negotiation or task; `wait=none` answers as soon as it is logged."""
        params, body = {"wait": wait}, {"kind": kind, **fields}
        return Ask(stored_episode, params=params, body=body, idempotency_key=idempotency_key)

    @get("/v1/episodes")
    def list_episodes(
        self, *, before: UUID | None = None, limit: int = 50, **asked: Unpack[EpisodesAsked]
    ) -> Ask[Page[StoredEpisode]]:
        """A page of episodes, newest first; `next` is the `before` of the following one."""
        return Ask(page("episodes", episode), params={**asked, "before": before, "limit": limit})

    @Pages
    def iter_episodes(self, *, page_size: int = 200, **asked: Unpack[EpisodesAsked]) -> Paging[StoredEpisode]:
        """Every episode asked for, newest first, fetched page by page."""
        return Paging(lambda before: EpisodeCalls.list_episodes.request(before=before, limit=page_size, **asked))

    @get(_EPISODE)
    def get_episode(self, episode_id: UUID, *, namespace: str = DEFAULT_NAMESPACE) -> Ask[FullEpisode]:
        """An episode with its first steps, and what the quality validator says of it.

        Raises:
            NotFound: there is none in this namespace.
        """
        return Ask(full_episode, path={"episode_id": episode_id}, params={"namespace": namespace})

    @get(_EPISODE)
    def refresh_episode(self, known: Episode) -> Ask[Episode]:
        """The episode as it is now, in full; `known` itself, and nothing sent but its version, where it did not change."""
        return Ask(
            lambda reply: known if reply.is_unchanged else full_episode(reply),
            path={"episode_id": known.id},
            params={"namespace": known.scope.namespace},
            headers={"If-None-Match": f'"{known.version}"'},
        )

    @patch(_EPISODE)
    def change_episode(
        self, episode_id: UUID, *, namespace: str = DEFAULT_NAMESPACE, if_version: Version | None = None,
        **changes: Unpack[EpisodeChanges],
    ) -> Ask[StoredEpisode]:  # fmt: skip
        """Change what is given, each field as a whole.

        Raises:
            VersionMismatch: it is not at `if_version`.
        """
        body = {"namespace": namespace, **changes}
        return Ask(one_episode, path={"episode_id": episode_id}, body=body, headers=if_match(if_version))

    @delete(_EPISODE)
    def delete_episode(
        self, episode_id: UUID, *, namespace: str = DEFAULT_NAMESPACE, if_version: Version | None = None
    ) -> Ask[None]:
        """Delete an episode."""
        params = {"namespace": namespace}
        return Ask(nothing, path={"episode_id": episode_id}, params=params, headers=if_match(if_version))

    @post(f"{_EPISODE}/outcome")
    def record_outcome(
        self, episode_id: UUID, outcome: Json, outcome_quality: float | None = None, *,
        namespace: str = DEFAULT_NAMESPACE, idempotency_key: str | None = None,
    ) -> Ask[StoredEpisode]:  # fmt: skip
        """Say how it turned out; the quality is in [0, 1]."""
        body = {"namespace": namespace, "outcome": outcome, "outcome_quality": outcome_quality}
        return Ask(one_episode, path={"episode_id": episode_id}, body=body, idempotency_key=idempotency_key)

    @get(f"{_EPISODE}/outcomes")
    def list_outcomes(
        self, episode_id: UUID, *, namespace: str = DEFAULT_NAMESPACE, after: int = -1, limit: int = 100
    ) -> Ask[Page[OutcomeRevision]]:
        """A page of what was known of its outcome, in order: the last one holds."""
        params = {"namespace": namespace, "after": after, "limit": limit}
        return Ask(page("outcomes", as_(OutcomeRevision)), path={"episode_id": episode_id}, params=params)

    @Pages
    def iter_outcomes(
        self, episode_id: UUID, *, namespace: str = DEFAULT_NAMESPACE, page_size: int = 500
    ) -> Paging[OutcomeRevision]:
        """All that was known of its outcome, oldest first, fetched page by page."""

        def turn(after: int) -> Any:
            return EpisodeCalls.list_outcomes.request(episode_id, namespace=namespace, after=after, limit=page_size)

        return Paging(turn, -1)

    @post(f"{_EPISODE}/steps")
    def append_steps(
        self, episode_id: UUID, steps: Sequence[Json], *, namespace: str = DEFAULT_NAMESPACE, idempotency_key: str | None = None
    ) -> Ask[tuple[EpisodeStep, ...]]:
        """Append steps; returns them with their numbers."""
        body = {"namespace": namespace, "steps": list(steps)}
        return Ask(many("steps", step), path={"episode_id": episode_id}, body=body, idempotency_key=idempotency_key)

    @get(f"{_EPISODE}/steps")
    def list_steps(
        self, episode_id: UUID, *, namespace: str = DEFAULT_NAMESPACE,
        after: int = -1, limit: int = 100, page: int | None = None,
    ) -> Ask[StepPage]:  # fmt: skip
        """A page of steps in order; `next` is the `after` of the following one. `page`, from 1, instead of it."""
        place = {"after": after} if page is None else {"page": page}
        params = {"namespace": namespace, "limit": limit, **place}
        return Ask(steps, path={"episode_id": episode_id}, params=params)

    @Pages
    def iter_steps(self, episode_id: UUID, *, namespace: str = DEFAULT_NAMESPACE, page_size: int = 500) -> Paging[EpisodeStep]:
        """Every step in order, fetched page by page."""

        def turn(after: int) -> Any:
            return EpisodeCalls.list_steps.request(episode_id, namespace=namespace, after=after, limit=page_size)

        return Paging(turn, -1)

"""Cutting a session's messages into episodes (pure)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from app.records import Episode, EpisodeKind, Message, Scope
from app.tokens import estimate_tokens


@dataclass(frozen=True, slots=True)
class SegmentationPolicy:
    """When a conversation episode closes: after a gap between messages, or at a ceiling.

    Defaults: half an hour without a word is what chat products treat as a new conversation; fifty messages or
    four thousand tokens still fit one summary.
    """

    idle_gap: timedelta = timedelta(minutes=30)
    max_messages: int = 50
    max_tokens: int = 4000


@dataclass(frozen=True, slots=True)
class Segmentation:
    """`episodes`: those begun, extended or closed, in order. `episode_ids`: one a message, in order."""

    episodes: tuple[Episode, ...]
    episode_ids: tuple[UUID, ...]

    @property
    def closed(self) -> tuple[Episode, ...]:
        return tuple(e for e in self.episodes if not e.is_open)


def segment(
    open_episode: Episode | None, messages: Sequence[Message], policy: SegmentationPolicy, new_id: Callable[[], UUID]
) -> Segmentation:
    """Assign each message to exactly one episode, going on from the session's open one.

    All episodes but the last are closed; the last stays open, for more may come.
    """
    episodes: list[Episode] = [] if open_episode is None else [open_episode]
    episode_ids: list[UUID] = []
    for message in messages:
        tokens = estimate_tokens(message.content)
        if not episodes or not _has_room(episodes[-1], message, tokens, policy):
            episodes[-1:] = [close(e) for e in episodes[-1:]]
            episodes.append(_begin(message, new_id()))
        episodes[-1] = _extend(episodes[-1], message, tokens)
        episode_ids.append(episodes[-1].id)
    return Segmentation(tuple(episodes), tuple(episode_ids))


def close(episode: Episode) -> Episode:
    return replace(episode, is_open=False)


def is_idle(episode: Episode, now: datetime, policy: SegmentationPolicy) -> bool:
    return now - episode.ended_at > policy.idle_gap


def _has_room(episode: Episode, message: Message, tokens: int, policy: SegmentationPolicy) -> bool:
    # A jump back in time is a gap as well: imported history need not arrive in order.
    is_near = abs(message.created_at - episode.ended_at) <= policy.idle_gap
    return is_near and episode.message_count < policy.max_messages and episode.token_count + tokens <= policy.max_tokens


def _begin(message: Message, episode_id: UUID) -> Episode:
    return Episode(
        id=episode_id,
        kind=EpisodeKind.CONVERSATION,
        scope=message.scope,
        started_at=message.created_at,
        ended_at=message.created_at,
        is_open=True,
        first_sequence=message.sequence,
    )


def _extend(episode: Episode, message: Message, tokens: int) -> Episode:
    return replace(
        episode,
        scope=_common(episode.scope, message.scope),
        started_at=min(episode.started_at, message.created_at),
        ended_at=max(episode.ended_at, message.created_at),
        message_count=episode.message_count + 1,
        token_count=episode.token_count + tokens,
        last_sequence=message.sequence,
    )


def _common(one: Scope, other: Scope) -> Scope:
    """What both share: an episode of several people is nobody's alone, so no single one's scope admits it."""
    return Scope(
        namespace=one.namespace,
        session_id=one.session_id,
        user_id=one.user_id if one.user_id == other.user_id else None,
        agent_id=one.agent_id if one.agent_id == other.agent_id else None,
        project_id=one.project_id if one.project_id == other.project_id else None,
    )

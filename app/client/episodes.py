"""Answers about episodes as values (pure): the records, and what only the service knows of them."""

from __future__ import annotations

from dataclasses import dataclass

from app.client.answers import Document, document, given, scoped, valued
from app.client.asking import Page
from app.client.reply import Reply
from app.records import Episode, EpisodeReceipt, EpisodeStep


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEpisode(Episode):
    """An episode as the service has it.

    `is_learnable`: its quality is known and not below the threshold; otherwise nothing is learned of it.
    `requires_embedding`: the index has yet to learn of it, or of its last change.
    """

    is_learnable: bool
    requires_embedding: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FullEpisode(StoredEpisode):
    """An episode with its first steps, of `step_count` in all; `next` is the `after` of `list_steps` for those that follow.

    `quality_reasons` says where the quality validator sees points lost, the most first.
    """

    quality_reasons: tuple[str, ...]
    steps: tuple[EpisodeStep, ...]
    step_count: int
    next: int | None


@dataclass(frozen=True, slots=True)
class StoredEpisodeReceipt(EpisodeReceipt):
    """What storing an episode did: see `EpisodeReceipt`."""

    episode: StoredEpisode


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPage(Page[EpisodeStep]):
    """Some of an episode's steps in order; it has `step_count` in all."""

    step_count: int


def episode(document: Document) -> StoredEpisode:
    return valued(StoredEpisode, scoped(document))


def one_episode(reply: Reply) -> StoredEpisode:
    return episode(document(reply))


def full_episode(reply: Reply) -> FullEpisode:
    return valued(FullEpisode, scoped(document(reply)))


def stored_episode(reply: Reply) -> StoredEpisodeReceipt:
    answer = document(reply)
    where = {name: answer.get(name) for name in ("stored_in", "degraded", "skipped")}
    return valued(StoredEpisodeReceipt, {"episode": scoped(answer), **where})


def step(document: Document) -> EpisodeStep:
    return valued(EpisodeStep, document)


def steps(reply: Reply) -> StepPage:
    answer = document(reply)
    return StepPage(tuple(map(step, given(answer, "steps"))), answer.get("next"), step_count=given(answer, "step_count"))

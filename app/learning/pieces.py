"""A piece of knowledge on its way in, and after whatever happens to it (pure)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final
from uuid import UUID

from app.errors import InvalidInput
from app.ingestion.limits import Limits, check_document, check_scope, check_text, check_time
from app.learning.conditions import conditions_of
from app.learning.evidence import LEAST_SUPPORTERS, moved
from app.learning.success import SuccessPolicy, is_given_up, verdict
from app.records import Json, Knowledge, KnowledgeKind, Origin, Success

BY_HAND: Final = "deactivated by hand"


def admit(knowledge: Knowledge, limits: Limits) -> Knowledge:
    """The piece as it may be stored: times in UTC, each episode once, its evidence counted.

    Raises:
        InvalidInput: the first field found to break a limit.
    """
    checked = _admit_fields(knowledge, limits)
    supporting, contradicting = checked.supporting_episodes, checked.contradicting_episodes
    check_sides(supporting, contradicting, limits)
    if checked.origin is Origin.LEARNED and len(set(supporting)) < LEAST_SUPPORTERS:
        problem = f"must name at least {LEAST_SUPPORTERS} distinct episodes for learned knowledge, names {len(set(supporting))}"
        raise InvalidInput("supporting_episodes", problem)
    distinct = tuple(dict.fromkeys(supporting)), tuple(dict.fromkeys(contradicting))
    observed = len(distinct[0]) + len(distinct[1]) + checked.times_applied
    checked = replace(checked, inactive_reason=None) if checked.is_active else _with_reason(checked, None, limits)
    return replace(checked, supporting_episodes=distinct[0], contradicting_episodes=distinct[1], evidence_count=observed)


def admit_change(before: Knowledge, changed: Knowledge, limits: Limits) -> Knowledge:
    """The changed piece as it may be stored: one made active again begins anew, one that is not has a reason.

    Raises:
        InvalidInput: the first field found to break a limit.
    """
    checked = _admit_fields(changed, limits)
    if not checked.is_active:
        return _with_reason(checked, before.inactive_reason, limits)
    applied_then = before.applied_when_activated if before.is_active else before.times_applied
    return replace(checked, inactive_reason=None, applied_when_activated=applied_then)


def _with_reason(knowledge: Knowledge, known: str | None, limits: Limits) -> Knowledge:
    """An inactive piece with its reason, which is looked at unless it is the one that is `known`."""
    if knowledge.inactive_reason is not None and knowledge.inactive_reason != known:
        check_text("inactive_reason", knowledge.inactive_reason, limits.message_bytes)
    return replace(knowledge, inactive_reason=knowledge.inactive_reason or BY_HAND)


def applied(knowledge: Knowledge, success: Success, episode_id: UUID | None, most_episodes: int) -> Knowledge:
    """The piece after one more application (pure). Of the episodes on each side, the newest `most_episodes` stay."""
    is_success = success is Success.SUCCESS
    side = "supporting_episodes" if is_success else "contradicting_episodes"
    confidence = moved(knowledge.confidence, knowledge.evidence_count, supporting=is_success, contradicting=not is_success)
    counted = replace(
        knowledge,
        times_applied=knowledge.times_applied + 1,
        success_count=knowledge.success_count + is_success,
        failure_count=knowledge.failure_count + (not is_success),
        confidence=confidence,
        evidence_count=knowledge.evidence_count + 1,
    )
    episodes = _with(getattr(knowledge, side), () if episode_id is None else (episode_id,), most_episodes)
    return replace(counted, supporting_episodes=episodes) if is_success else replace(counted, contradicting_episodes=episodes)


def judged(knowledge: Knowledge, policy: SuccessPolicy) -> Knowledge:
    """The piece, retired if it fails too often."""
    since = knowledge.times_applied - knowledge.applied_when_activated
    counts = knowledge.success_count, knowledge.failure_count
    if not knowledge.is_active or not is_given_up(*counts, since_activation=since, policy=policy):
        return knowledge
    return replace(knowledge, is_active=False, inactive_reason=f"retired: {verdict(*counts, policy)}")


def backed(knowledge: Knowledge, supporting: Sequence[UUID], contradicting: Sequence[UUID], most_episodes: int) -> Knowledge:
    """The piece with further evidence; episodes that are on their side already change nothing.

    Raises:
        InvalidInput: an episode stands on the other side.
    """
    _refuse_other_side("supporting_episodes", supporting, knowledge.contradicting_episodes, "contradicts")
    _refuse_other_side("contradicting_episodes", contradicting, knowledge.supporting_episodes, "supports")
    new_for = len(set(supporting) - set(knowledge.supporting_episodes))
    new_against = len(set(contradicting) - set(knowledge.contradicting_episodes))
    return replace(
        knowledge,
        supporting_episodes=_with(knowledge.supporting_episodes, supporting, most_episodes),
        contradicting_episodes=_with(knowledge.contradicting_episodes, contradicting, most_episodes),
        confidence=moved(knowledge.confidence, knowledge.evidence_count, supporting=new_for, contradicting=new_against),
        evidence_count=knowledge.evidence_count + new_for + new_against,
    )


def ended(knowledge: Knowledge, successor: UUID, at: datetime) -> Knowledge:
    """The piece, superseded from `at` on; one that had ended before stays ended then.

    Raises:
        InvalidInput: it begins after `at`.
    """
    if knowledge.valid_from is not None and at < knowledge.valid_from:
        problem = f"must not be before that of what it supersedes, {knowledge.valid_from.isoformat()}"
        raise InvalidInput("valid_from", problem)
    until = at if knowledge.valid_to is None else min(knowledge.valid_to, at)
    return replace(knowledge, superseded_by=successor, valid_to=until)


def _admit_fields(knowledge: Knowledge, limits: Limits) -> Knowledge:
    check_scope(knowledge.scope, limits)
    check_text("description", knowledge.description, limits.message_bytes)
    check_document("content", knowledge.content, max_bytes=limits.document_bytes, max_depth=limits.document_depth)
    _check_conditions(knowledge.kind, knowledge.content)
    _check_confidence(knowledge.confidence)
    valid_from, valid_to = _time("valid_from", knowledge.valid_from, limits), _time("valid_to", knowledge.valid_to, limits)
    if valid_from is not None and valid_to is not None and valid_to < valid_from:
        raise InvalidInput("valid_to", "must not be before valid_from")
    return replace(knowledge, valid_from=valid_from, valid_to=valid_to)


def _check_conditions(kind: KnowledgeKind, content: Json) -> None:
    """A fact holds or does not; what its content calls conditions is its own matter."""
    if kind is not KnowledgeKind.FACT:
        conditions_of(content)


def _check_confidence(confidence: float) -> None:
    if not 0.0 <= confidence <= 1.0:
        raise InvalidInput("confidence", f"must be between 0 and 1, is {confidence}")


def _time(field: str, moment: datetime | None, limits: Limits) -> datetime | None:
    return None if moment is None else check_time(field, moment, limits, None)


def check_sides(supporting: Sequence[UUID], contradicting: Sequence[UUID], limits: Limits, *, least: int = 0) -> None:
    for field, episodes in (("supporting_episodes", supporting), ("contradicting_episodes", contradicting)):
        if len(episodes) > limits.evidence_episodes:
            raise InvalidInput(field, f"must name at most {limits.evidence_episodes} episodes, names {len(episodes)}")
    if len(supporting) + len(contradicting) < least:
        raise InvalidInput("supporting_episodes", f"must name at least {least} episode, or contradicting_episodes must")
    _refuse_other_side("contradicting_episodes", contradicting, supporting, "supports")


def _refuse_other_side(field: str, episodes: Sequence[UUID], others: Collection[UUID], verb: str) -> None:
    for place, episode_id in enumerate(episodes):
        if episode_id in others:
            raise InvalidInput(f"{field}[{place}]", f"episode {episode_id} {verb} it already: it cannot be on both sides")


def _with(episodes: tuple[UUID, ...], further: Sequence[UUID], most: int) -> tuple[UUID, ...]:
    return tuple(dict.fromkeys((*episodes, *further)))[-most:]

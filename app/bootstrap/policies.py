"""Settings as the policies of those who act on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

from app.breakers import BreakerPolicy
from app.consolidation.rendering import Rendering
from app.consolidation.retention import RetentionPolicy
from app.errors import ConfigurationError, InvalidInput
from app.ingestion.limits import Limits
from app.learning.quality import PARTS, PartWeights, QualityPolicy
from app.records import Feature
from app.settings import Settings


def retention_policy(settings: Settings) -> RetentionPolicy:
    return RetentionPolicy(
        sessions=timedelta(days=settings.session_retention_days),
        archive_after=_days_or_never(settings.archive_after_days),
        delete_after=_days_or_never(settings.delete_after_days),
    )


def _days_or_never(days: int) -> timedelta | None:
    return timedelta(days=days) if days else None


def call_ttl_of(settings: Settings) -> timedelta:
    return timedelta(seconds=settings.idempotency_key_ttl_seconds)


def breaker_policy(settings: Settings) -> BreakerPolicy:
    return BreakerPolicy(ping_deadline=timedelta(seconds=settings.ping_deadline_seconds))


def quality_policy(settings: Settings) -> QualityPolicy:
    """
    Raises:
        ConfigurationError: the weights leave nothing to score by.
    """
    weights = PartWeights(*(getattr(settings, f"quality_weight_{part}") for part in PARTS))
    with _as_setting("MEMORY_QUALITY_WEIGHT_*"):
        return QualityPolicy(weights=weights, threshold=settings.quality_threshold)


def rendering_of(settings: Settings) -> Rendering:
    """
    Raises:
        ConfigurationError: the template cannot be read.
    """
    if settings.episode_template is None:
        return Rendering()
    with _as_setting("MEMORY_EPISODE_TEMPLATE"):
        return Rendering(settings.episode_template.replace("\\n", "\n"))


def features_of(settings: Settings) -> Mapping[Feature, bool]:
    """How each feature stands until it is switched."""
    return {feature: getattr(settings, feature.value) for feature in Feature}


@contextmanager
def _as_setting(name: str) -> Iterator[None]:
    try:
        yield
    except InvalidInput as error:
        raise ConfigurationError(f"{name}: {error.problem}") from error


def limits_of(settings: Settings) -> Limits:
    return Limits(
        message_bytes=settings.max_message_bytes,
        messages_per_call=settings.max_messages_per_call,
        metadata_bytes=settings.max_metadata_bytes,
        metadata_depth=settings.max_metadata_depth,
        clock_skew=timedelta(seconds=settings.max_clock_skew_seconds),
    )

"""Settings as the policies of those who act on them."""

from __future__ import annotations

from datetime import timedelta

from app.breakers import BreakerPolicy
from app.consolidation.retention import RetentionPolicy
from app.ingestion.limits import Limits
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


def limits_of(settings: Settings) -> Limits:
    return Limits(
        message_bytes=settings.max_message_bytes,
        messages_per_call=settings.max_messages_per_call,
        metadata_bytes=settings.max_metadata_bytes,
        metadata_depth=settings.max_metadata_depth,
        clock_skew=timedelta(seconds=settings.max_clock_skew_seconds),
    )

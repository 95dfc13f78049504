"""The circuit breaker: values and a clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from app.embedding.breaker import Breaker, BreakerPolicy

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
POLICY = BreakerPolicy(failure_threshold=2, reset_after=timedelta(seconds=10))
OPEN = Breaker(POLICY).failed(NOON).failed(NOON)


def later(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def test_it_stays_closed_below_the_threshold() -> None:
    """One failure is no outage."""
    assert Breaker(POLICY).failed(NOON).admits(NOON)


def test_it_opens_at_the_threshold() -> None:
    """From the second failure on nothing is let through until the rest is over."""
    assert [OPEN.admits(later(s)) for s in (0, 9.9, 10)] == [False, False, True]


def test_half_open_lets_one_call_through() -> None:
    """The trial starts the rest anew: a crowd that arrives with it is turned away."""
    assert [OPEN.tried(later(10)).admits(later(s)) for s in (10, 19, 20)] == [False, False, True]


def test_a_failed_trial_is_another_rest() -> None:
    """It takes no second failure to stay open."""
    assert [OPEN.tried(later(10)).failed(later(12)).admits(later(s)) for s in (21, 22)] == [False, True]


def test_a_success_forgets_all_failures() -> None:
    """Only failures in a row count."""
    assert OPEN.tried(later(10)).succeeded() == Breaker(POLICY) == Breaker(POLICY).failed(NOON).succeeded()


def test_a_call_through_a_closed_breaker_changes_nothing() -> None:
    """Calls that run at the same time do not shut each other out."""
    assert Breaker(POLICY).tried(NOON) == Breaker(POLICY)

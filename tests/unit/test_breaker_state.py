"""The circuit breaker as a value: what happened, and a clock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from app.breakers import Breaker, BreakerPolicy, BreakerState
from app.testing.clock import FixedClock

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
POLICY = BreakerPolicy(failure_threshold=3)
EVENTS = st.lists(st.sampled_from(["answered", "failed", "opened", "probed"]))


def after(events: Sequence[str]) -> Breaker:
    """The breaker after these events, a second apart."""
    breaker, clock = Breaker(POLICY), FixedClock(NOON)
    for event in events:
        match event:
            case "answered":
                breaker = breaker.answered()
            case "probed":
                breaker = breaker.probed()
            case "failed":
                breaker = breaker.failed(clock(), "nobody there")
            case _:
                breaker = breaker.opened(clock(), "hangs")
        clock.advance(timedelta(seconds=1))
    return breaker


def test_failures_in_a_row_open_it() -> None:
    """The third failure in a row opens it, and says since when and why."""
    assert [after(["failed"] * n).state for n in range(4)] == [BreakerState.CLOSED] * 3 + [BreakerState.OPEN]
    assert after(["failed"] * 3) == Breaker(POLICY, 3, NOON + timedelta(seconds=2), "nobody there")


def test_a_ping_without_an_answer_opens_it_at_once() -> None:
    """An engine that is known to hang is not given two more chances."""
    assert after(["opened"]) == Breaker(POLICY, 0, NOON, "hangs")


def test_an_outage_began_when_it_was_first_seen() -> None:
    """Further bad news changes the reason, not the beginning."""
    assert after(["opened", "probed", "failed", "opened"]).opened_at == NOON


def test_the_states_have_the_metrics_numbers() -> None:
    """Closed, half open and open are 0, 1 and 2, and are named for people."""
    assert [(state.value, state.label) for state in BreakerState] == [(0, "closed"), (1, "half-open"), (2, "open")]


@given(EVENTS)
def test_an_answer_forgives_everything(events: list[str]) -> None:
    """Whatever happened before, an engine that answers is asked again."""
    assert after([*events, "answered"]) == Breaker(POLICY)


@given(EVENTS)
def test_it_never_opens_for_less(events: list[str]) -> None:
    """Without a failed ping, it is open only if some three failures had no answer between them."""
    calm = [event for event in events if event != "opened"]
    runs = "".join("f" if event == "failed" else "" if event == "probed" else "." for event in calm).split(".")
    assert after(calm).is_closed == (len(runs[-1]) < POLICY.failure_threshold)


@given(EVENTS)
def test_a_probe_only_half_opens_what_is_open(events: list[str]) -> None:
    """Half open means: open, and a ping is under way."""
    before, probed = after(events), after([*events, "probed"])
    assert probed.is_closed == before.is_closed
    assert probed.state is (BreakerState.CLOSED if before.is_closed else BreakerState.HALF_OPEN)

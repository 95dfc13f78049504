"""The exam of `ExperimentStore`: the twin and PostgreSQL sit it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from experimenting import CONTROL, experiment
from given import NOW, episode, stored

from app.errors import Conflict
from app.ports import EpisodicMemory, ExperimentStore
from app.records import (
    OUTCOME_QUALITY,
    Experiment,
    ExperimentState,
    Exposure,
    Metric,
    MetricKind,
    Mode,
    Observation,
    Plan,
    Sample,
    Scope,
    Stage,
    Unit,
    Variant,
    new_id,
)

LATER = NOW + timedelta(hours=1)
FULL = experiment(
    variants=(
        replace(CONTROL, weight=2.5),
        Variant("fresh", 1.0, {"recency": 0.5, "fusion": "rrf", "names_out": False}, Mode.EXACT, (Stage.EXPAND,), 7),
    ),
    description="Is newer better?\nSay so.",
    unit=Unit.USER,
    traffic_share=0.25,
    metric=Metric("bought", MetricKind.BINARY, True),
    plan=Plan(0.01, 100, 5000, 0.02),
)


def exposure(of: Experiment, subject: str, variant: str = "fresh", **fields: Any) -> Exposure:
    defaults: dict[str, Any] = {"search_id": new_id(), "at": NOW}
    return Exposure(of.id, of.namespace, subject, variant=variant, **(defaults | fields))


def observation(of: Experiment, subject: str, value: float, variant: str = "fresh", **fields: Any) -> Observation:
    defaults: dict[str, Any] = {"id": new_id(), "metric": of.metric.name, "at": NOW}
    return Observation(experiment_id=of.id, subject=subject, variant=variant, value=value, **(defaults | fields))


async def test_an_experiment_comes_back_as_it_was(experiments: ExperimentStore) -> None:
    """Every field survives; nobody finds it from another namespace or under another name."""
    assert await experiments.create(FULL) == FULL
    assert await experiments.find("acme", FULL.name) == FULL
    assert await experiments.find("rival", FULL.name) is None
    assert await experiments.find("acme", "other") is None


async def test_a_name_is_taken_once_in_a_namespace(experiments: ExperimentStore) -> None:
    """Another experiment of that name is a conflict; the same one again is itself; other namespaces have their own."""
    await experiments.create(FULL)
    with pytest.raises(Conflict, match="name: 'fresher-first' is taken by another experiment in this namespace"):
        await experiments.create(replace(FULL, id=new_id()))
    assert await experiments.create(replace(FULL, description="again")) == FULL
    theirs = replace(FULL, id=new_id(), namespace="rival")
    assert await experiments.create(theirs) == theirs


async def test_experiments_are_listed_by_name(experiments: ExperimentStore) -> None:
    """In pages, of one namespace, of one state or all."""
    b, a, c = (experiment(name=name) for name in "bac")
    draft = experiment(name="d", state=ExperimentState.DRAFT, started_at=None)
    for each in (b, a, c, draft, experiment(namespace="rival", name="e")):
        await experiments.create(each)
    assert await experiments.page("acme", state=None, after="", limit=2) == (a, b)
    assert await experiments.page("acme", state=None, after="b", limit=5) == (c, draft)
    assert await experiments.page("acme", state=ExperimentState.DRAFT, after="", limit=5) == (draft,)


async def test_a_state_changes_once(experiments: ExperimentStore) -> None:
    """From the states that are named alone, with the time it did."""
    draft = await experiments.create(experiment(state=ExperimentState.DRAFT, started_at=None))
    draft_or_running = (ExperimentState.DRAFT, ExperimentState.RUNNING)
    start = {"former": [ExperimentState.DRAFT], "state": ExperimentState.RUNNING}
    assert await experiments.change_state(draft.id, at=NOW, **start)  # type: ignore[arg-type] # as the keywords say
    assert not await experiments.change_state(draft.id, at=LATER, **start)  # type: ignore[arg-type]
    assert await experiments.change_state(draft.id, former=draft_or_running, state=ExperimentState.STOPPED, at=LATER)
    stopped = replace(draft, state=ExperimentState.STOPPED, started_at=NOW, stopped_at=LATER)
    assert await experiments.find("acme", draft.name) == stopped
    assert not await experiments.change_state(new_id(), former=draft_or_running, state=ExperimentState.STOPPED, at=NOW)


async def test_an_exposure_is_kept_once(experiments: ExperimentStore) -> None:
    """By experiment, subject and search; searches find their own in their namespace; what is of no experiment is dropped."""
    given = await experiments.create(FULL)
    seen, unknown = exposure(given, "ana"), exposure(experiment(), "ana")
    await experiments.record_exposures([seen, unknown])
    await experiments.record_exposures([replace(seen, at=LATER), exposure(given, "ana")])
    assert await experiments.exposures_of("acme", seen.search_id) == (seen,)
    assert await experiments.exposures_of("rival", seen.search_id) == ()
    assert await experiments.exposures_of("acme", unknown.search_id) == ()
    assert await experiments.samples(given, given.metric) == (Sample("fresh", exposed=1),)


async def test_a_subject_counts_once_by_its_mean(experiments: ExperimentStore) -> None:
    """However many values a subject has, however often one is sent; other metrics and experiments do not count."""
    given, other = await experiments.create(FULL), await experiments.create(experiment(name="other"))
    twice = observation(given, "ana", 1.0)
    await experiments.record_exposures([exposure(given, "rui"), exposure(given, "ida", "control")])
    await experiments.record_observations(
        [
            twice,
            twice,
            observation(given, "ana", 0.0),
            observation(given, "rui", 1.0),
            observation(given, "eva", 1.0, "control"),
            observation(given, "max", 0.0, "control"),
            observation(given, "max", 9.0, "control", metric="seconds"),
            observation(other, "rui", 0.0),
        ]
    )
    assert await experiments.samples(given, given.metric) == (
        Sample("control", exposed=1, subjects=2, mean=0.5, variance=0.5, is_binary=True),
        Sample("fresh", exposed=1, subjects=2, mean=0.75, variance=0.125, is_binary=False),
    )
    assert await experiments.samples(given, Metric("seconds")) == (
        Sample("control", exposed=1, subjects=1, mean=9.0, variance=0.0, is_binary=False),
        Sample("fresh", exposed=1),
    )


async def test_outcomes_are_joined_from_episodes(episodic: EpisodicMemory, experiments: ExperimentStore) -> None:
    """Those of a subject's own session, or that name it, since its first search; each episode once, others never."""
    given = await experiments.create(experiment(metric=Metric()))
    await experiments.record_exposures(
        [
            exposure(given, "s1", at=LATER),
            exposure(given, "s1", at=NOW),
            exposure(given, "s2", "control"),
            exposure(given, "s3", "control"),
        ]
    )
    named = {"experiment": {"name": given.name, "subject": "s2"}}
    home = Scope("acme", session_id="s1")
    await stored(
        episodic,
        episode(scope=home, outcome_quality=1.0, metadata={"experiment": {"name": given.name, "subject": "s1"}}),
        episode(scope=home, outcome_quality=0.5, ended_at=NOW),
        episode(scope=home, outcome_quality=0.0, started_at=NOW - timedelta(2), ended_at=NOW - timedelta(1)),
        episode(scope=home, outcome_quality=None),
        episode(scope=Scope("acme", session_id="elsewhere"), outcome_quality=0.4, metadata=named),
        episode(scope=Scope("acme", session_id="s9"), outcome_quality=0.0),
        episode(scope=Scope("acme"), outcome_quality=0.0, metadata={"experiment": {"name": "other", "subject": "s3"}}),
        episode(scope=Scope("acme"), outcome_quality=0.0, metadata={"experiment": "s3"}),
        episode(scope=Scope("rival", session_id="s3"), outcome_quality=0.0),
    )
    assert await experiments.samples(given, Metric()) == (
        Sample("control", exposed=2, subjects=1, mean=0.4, variance=0.0, is_binary=False),
        Sample("fresh", exposed=1, subjects=1, mean=0.75, variance=0.0, is_binary=False),
    )
    assert await experiments.samples(given, Metric("other")) == (Sample("control", exposed=2), Sample("fresh", exposed=1))


@pytest.mark.parametrize("unit", [Unit.USER, Unit.AGENT, Unit.CUSTOM])
async def test_outcomes_belong_to_what_the_experiment_is_about(
    episodic: EpisodicMemory, experiments: ExperimentStore, unit: Unit
) -> None:
    """A user's or an agent's episodes are theirs; of custom subjects only those that name them."""
    given = await experiments.create(experiment(unit=unit))
    await experiments.record_exposures([exposure(given, "me")])
    await stored(
        episodic,
        episode(scope=Scope("acme", user_id="me"), outcome_quality=0.2),
        episode(scope=Scope("acme", agent_id="me"), outcome_quality=0.4),
        episode(scope=Scope("acme", session_id="me"), outcome_quality=0.6),
    )
    (found,) = await experiments.samples(given, Metric(OUTCOME_QUALITY))
    assert (found.subjects, found.mean) == {Unit.USER: (1, 0.2), Unit.AGENT: (1, 0.4), Unit.CUSTOM: (0, 0.0)}[unit]


async def test_a_forgotten_user_leaves_no_trace(experiments: ExperimentStore) -> None:
    """What was seen of the user goes from experiments about users; others of the name, and the experiments, stay."""
    users, sessions = await experiments.create(FULL), await experiments.create(experiment(name="sessions"))
    theirs = await experiments.create(replace(FULL, id=new_id(), namespace="rival"))
    await experiments.record_exposures([exposure(e, who) for e in (users, sessions, theirs) for who in ("ana", "rui")])
    await experiments.record_observations([observation(e, "ana", 1.0) for e in (users, sessions, theirs)])
    assert await experiments.forget(Scope("acme", user_id="ana", agent_id="bot")) == 0
    assert await experiments.forget(Scope("acme", project_id="ana")) == 0
    assert await experiments.forget(Scope("acme", user_id="ana")) == 2
    one_left, untouched = Sample("fresh", exposed=1), Sample("fresh", 2, 1, 1.0, 0.0, True)
    assert await experiments.samples(users, users.metric) == (one_left,)
    assert await experiments.samples(sessions, sessions.metric) == (untouched,)
    assert await experiments.samples(theirs, theirs.metric) == (untouched,)


async def test_a_forgotten_namespace_has_no_experiments(experiments: ExperimentStore) -> None:
    """They go with all that was seen; another namespace keeps its own."""
    mine, theirs = await experiments.create(FULL), await experiments.create(replace(FULL, id=new_id(), namespace="rival"))
    for each in (mine, theirs):
        await experiments.record_exposures([exposure(each, "ana")])
        await experiments.record_observations([observation(each, "ana", 1.0)])
    assert await experiments.forget(Scope("acme")) == 2
    assert await experiments.find("acme", mine.name) is None
    assert await experiments.samples(theirs, theirs.metric) == (Sample("fresh", 1, 1, 1.0, 0.0, True),)

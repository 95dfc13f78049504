"""Experiments on twins: made, started, taken part in, observed and judged."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from experimenting import BOUGHT, CONTROL, FRESH, experiment
from given import NOW, SCOPE, episode, stored

from app.errors import Conflict, InvalidInput, NotFound, TierUnavailable
from app.ingestion.experiments import admit_experiment, admit_observations
from app.ingestion.limits import Limits
from app.learning.experiments.assignment import assigned
from app.learning.experiments.exposures import ExposureLog, ExposurePolicy
from app.learning.experiments.running import Experiments
from app.records import (
    Arm,
    Enrolment,
    Experiment,
    ExperimentState,
    Exposure,
    Metric,
    ObservationDraft,
    ObservationReceipt,
    Participation,
    Plan,
    Query,
    Recollection,
    Sample,
    Scope,
    Unit,
    Variant,
    new_id,
)
from app.testing.clock import FixedClock
from app.testing.episodic import InMemoryEpisodicMemory
from app.testing.experiments import InMemoryExperiments

QUERY = Query("where is the cat?", SCOPE)
DRAFT = replace(experiment(), state=ExperimentState.DRAFT, started_at=None)


class Store(InMemoryExperiments):
    """The twin, which can be away; it counts how often an experiment was looked up."""

    def __init__(self, episodic: InMemoryEpisodicMemory) -> None:
        super().__init__(episodic)
        self.is_away = False
        self.look_ups = 0

    async def find(self, namespace: str, name: str) -> Experiment | None:
        self.look_ups += 1
        self._refuse()
        return await super().find(namespace, name)

    async def record_exposures(self, exposures: Sequence[Exposure]) -> None:
        self._refuse()
        await super().record_exposures(exposures)

    def _refuse(self) -> None:
        if self.is_away:
            raise TierUnavailable("episodic", "is away")


@dataclass(slots=True)
class Given:
    """Experiments on a twin, and the queries that were recalled."""

    episodic: InMemoryEpisodicMemory = field(default_factory=InMemoryEpisodicMemory)
    clock: FixedClock = field(default_factory=lambda: FixedClock(NOW))
    asked: list[Query] = field(default_factory=list)
    store: Store = field(init=False)
    experiments: Experiments = field(init=False)

    def __post_init__(self) -> None:
        self.store = Store(self.episodic)
        self.experiments = Experiments(self.store, ExposureLog(self.store), clock=self.clock)

    async def running(self, **fields: Any) -> Experiment:
        made = await self.experiments.create(experiment(**fields))
        return await self.experiments.start(made.namespace, made.name)

    async def search(self, subject: str | None, name: str = "fresher-first", **fields: Any) -> Recollection:
        async def recall(query: Query) -> Recollection:
            self.asked.append(query)
            return Recollection((), ("semantic",), 1.0)

        return await self.experiments.search(Participation(name, subject, **fields), QUERY, recall)

    async def exposed(self, of: Experiment) -> dict[str, int]:
        """How many subjects each variant was shown to."""
        await self.experiments.analyse(of.namespace, of.name)
        return {s.variant: s.exposed for s in await self.store.samples(of, of.metric)}


@pytest.fixture
def given() -> Given:
    return Given()


def subjects(of: Experiment, variant: Variant | None, wanted: int = 1) -> list[str]:
    """Subjects who are assigned to this variant, or (None) to none."""
    named = (f"subject-{n}" for n in range(10_000))
    return [s for s in named if getattr(assigned(of, s), "name", None) == (variant and variant.name)][:wanted]


# ── states ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_experiment_goes_from_draft_to_running_to_stopped(given: Given) -> None:
    """Each step with its time; starting what runs and stopping what was stopped change nothing; back it never goes."""
    made = await given.experiments.create(experiment())
    assert made == replace(DRAFT, id=made.id)
    running = replace(made, state=ExperimentState.RUNNING, started_at=NOW)
    assert await given.experiments.start("acme", made.name) == running
    given.clock.advance(timedelta(hours=1))
    assert await given.experiments.start("acme", made.name) == running
    stopped = replace(running, state=ExperimentState.STOPPED, stopped_at=NOW + timedelta(hours=1))
    assert await given.experiments.stop("acme", made.name) == stopped
    given.clock.advance(timedelta(hours=1))
    assert await given.experiments.stop("acme", made.name) == stopped
    with pytest.raises(Conflict, match="state: the experiment was stopped: make a new one"):
        await given.experiments.start("acme", made.name)


async def test_an_experiment_of_another_namespace_is_none(given: Given) -> None:
    """Whatever is asked of it, it is as if it had never been made."""
    made = await given.running()
    for work in (
        given.experiments.get("rival", made.name),
        given.experiments.start("rival", made.name),
        given.experiments.stop("rival", made.name),
        given.experiments.observe("rival", made.name, []),
        given.experiments.analyse("rival", made.name),
        given.experiments.arm("rival", made.name, "ana"),
    ):
        with pytest.raises(NotFound, match="no experiment 'fresher-first' in this namespace"):
            await work


# ── searches ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_search_gets_the_settings_of_its_variant(given: Given) -> None:
    """The query is asked with them, and the answer says which variant and under which name the search is known."""
    made = await given.running()
    (subject,) = subjects(made, FRESH)
    search_id = new_id()
    found = await given.search(subject, search_id=search_id)
    arm = Arm("fresher-first", subject, Enrolment.ASSIGNED, "fresh", search_id)
    assert found == Recollection((), ("semantic",), 1.0, arm)
    assert given.asked == [FRESH.applied_to(QUERY)]
    assert await given.exposed(made) == {"fresh": 1}


async def test_a_search_repeated_under_its_name_is_one_exposure(given: Given) -> None:
    """By experiment, subject and search; without a name each search is another one, all of one subject."""
    made = await given.running()
    (subject,) = subjects(made, CONTROL)
    search_id = new_id()
    arms = [(await given.search(subject, search_id=search_id)).experiment for _ in range(3)]
    others = [(await given.search(subject)).experiment for _ in range(2)]
    await given.experiments.close()
    assert {arm.search_id for arm in arms if arm} == {search_id}
    assert len({arm.search_id for arm in others if arm}) == 2
    assert len(await given.store.exposures_of("acme", search_id)) == 1
    assert await given.exposed(made) == {"control": 1}


@pytest.mark.parametrize("enrolment", [Enrolment.DRAFT, Enrolment.STOPPED, Enrolment.OUTSIDE])
async def test_who_has_no_variant_is_answered_as_anybody(given: Given, enrolment: Enrolment) -> None:
    """Before the start, after the stop and outside the traffic the query stays as it is, and nobody is exposed."""
    made = await given.experiments.create(experiment(traffic_share=0.5))
    if enrolment is not Enrolment.DRAFT:
        await given.experiments.start("acme", made.name)
    if enrolment is Enrolment.STOPPED:
        await given.experiments.stop("acme", made.name)
    (subject,) = subjects(made, None if enrolment is Enrolment.OUTSIDE else FRESH)
    found = await given.search(subject)
    assert (found.experiment, given.asked) == (Arm("fresher-first", subject, enrolment), [QUERY])
    assert await given.exposed(made) == {}


async def test_the_scope_names_the_subject(given: Given) -> None:
    """Without a subject it is the session, user or agent that the experiment is about; a custom one has to be given."""
    for unit, subject in ((Unit.SESSION, "s1"), (Unit.USER, "ana"), (Unit.AGENT, "bot")):
        made = await given.running(name=unit.value, unit=unit)
        arm = (await given.search(None, made.name)).experiment
        assert arm is not None
        assert arm.subject == subject
    await given.running(name="custom", unit=Unit.CUSTOM)
    with pytest.raises(InvalidInput, match="subject: must be given: the experiment is about each custom"):
        await given.search(None, "custom")


async def test_an_unknown_experiment_is_said_to_be_so(given: Given) -> None:
    """A name that is misspelt must not pass for the control."""
    with pytest.raises(NotFound, match="no experiment 'other' in this namespace"):
        await given.search("ana", "other")
    assert given.asked == []


async def test_searches_remember_the_experiment_for_a_moment(given: Given) -> None:
    """Of many searches one looks it up; a start or a stop in this process is known at once, elsewhere soon."""
    made = await given.running()
    before = given.store.look_ups
    for _ in range(5):
        await given.search("ana")
    assert given.store.look_ups == before
    await given.store.change_state(made.id, former=[made.state], state=ExperimentState.STOPPED, at=NOW)
    assert getattr((await given.search("ana")).experiment, "enrolment", None) is Enrolment.ASSIGNED
    given.clock.advance(timedelta(seconds=5))
    assert getattr((await given.search("ana")).experiment, "enrolment", None) is Enrolment.STOPPED


async def test_a_store_that_is_away_harms_no_search(given: Given) -> None:
    """What is known stays as it was, also when it is old; of what never was, the answer says so, and what is missing."""
    made = await given.running()
    (subject,) = subjects(made, FRESH)
    given.store.is_away = True
    given.clock.advance(timedelta(hours=1))
    known = await given.search(subject)
    unknown = await given.search(subject, "other")
    assert (known.degraded, getattr(known.experiment, "variant", None)) == (("semantic",), "fresh")
    assert unknown.degraded == ("semantic", "experiments")
    assert unknown.experiment == Arm("other", subject, Enrolment.UNAVAILABLE)
    assert given.asked == [FRESH.applied_to(QUERY), QUERY]


async def test_exposures_wait_for_the_store(given: Given) -> None:
    """What could not be recorded is, as soon as the store is back and something happens."""
    made = await given.running()
    first, second = subjects(made, FRESH, 2)
    given.store.is_away = True
    await given.search(first)
    await given.experiments.close()
    given.store.is_away = False
    await given.search(second)
    assert await given.exposed(made) == {"fresh": 2}


async def test_a_search_that_fails_exposes_nobody(given: Given) -> None:
    """Who saw no answer saw no variant."""

    async def fail(query: Query) -> Recollection:
        raise TierUnavailable("semantic", "is away")

    made = await given.running()
    with pytest.raises(TierUnavailable):
        await given.experiments.search(Participation(made.name, "ana"), QUERY, fail)
    assert await given.exposed(made) == {}


async def test_the_oldest_exposures_give_way() -> None:
    """Of more than may wait the newest stay; searches never wait for them."""
    given = Given()
    made = await given.running()
    log = ExposureLog(given.store, ExposurePolicy(waiting=2))
    given.store.is_away = True
    for subject in ("a", "b", "c"):
        log.add(Exposure(made.id, "acme", subject, new_id(), "fresh", NOW))
    await log.settle()
    given.store.is_away = False
    await log.settle()
    assert sorted(key[1] for key in given.store._exposures) == ["b", "c"]


async def test_exposures_gather_while_others_are_written() -> None:
    """While a batch is on its way the next ones become one batch: many searches are few writes."""
    given, batches, reached, gate = Given(), list[int](), asyncio.Event(), asyncio.Event()
    made = await given.running()

    class Slow(InMemoryExperiments):
        async def record_exposures(self, exposures: Sequence[Exposure]) -> None:
            batches.append(len(exposures))
            reached.set()
            await gate.wait()

    log = ExposureLog(Slow(given.episodic))
    log.add(Exposure(made.id, "acme", "0", new_id(), "fresh", NOW))
    await reached.wait()
    for n in range(1, 100):
        log.add(Exposure(made.id, "acme", str(n), new_id(), "fresh", NOW))
    gate.set()
    await log.settle()
    assert batches == [1, 99]


# ── observations and analysis ─────────────────────────────────────────────────────────────────────────────────────


async def test_observations_count_for_the_subjects_variant(given: Given) -> None:
    """By the experiment's own metric unless another is named; who is outside the traffic is counted apart."""
    made = await given.running(traffic_share=0.5)
    (fresh,), (control,), (outside,) = subjects(made, FRESH), subjects(made, CONTROL), subjects(made, None)
    drafts = [ObservationDraft(fresh, 0.75), ObservationDraft(control, 0.5), ObservationDraft(outside, 1.0)]
    assert await given.experiments.observe("acme", made.name, drafts) == ObservationReceipt(recorded=2, outside=1)
    await given.experiments.observe("acme", made.name, [ObservationDraft(fresh, 9.0, "seconds")])
    found = await given.experiments.analyse("acme", made.name)
    assert found.samples == (Sample("control", 0, 1, 0.5), Sample("fresh", 0, 1, 0.75))
    other = await given.experiments.analyse("acme", made.name, "seconds")
    assert (other.metric, other.samples[1]) == (Metric("seconds"), Sample("fresh", 0, 1, 9.0))


async def test_an_observation_with_an_id_counts_once(given: Given) -> None:
    """Sent again, it is the same one."""
    made = await given.running()
    draft = ObservationDraft("ana", 0.5, id=new_id())
    for value in (0.5, 0.9):
        await given.experiments.observe("acme", made.name, [replace(draft, value=value)])
    assert [s.mean for s in await given.store.samples(made, made.metric)] == [0.5]


async def test_a_draft_takes_no_observations_a_stopped_one_does(given: Given) -> None:
    """Nobody took part in a draft; outcomes of those who did may become known after the end."""
    made = await given.experiments.create(experiment())
    with pytest.raises(Conflict, match="state: the experiment has not been started"):
        await given.experiments.observe("acme", made.name, [ObservationDraft("ana", 0.5)])
    await given.experiments.start("acme", made.name)
    await given.experiments.stop("acme", made.name)
    assert (await given.experiments.observe("acme", made.name, [ObservationDraft("ana", 0.5)])).recorded == 1


async def test_a_binary_metric_is_0_or_1(given: Given) -> None:
    """A value between is refused by name, and nothing of the call is recorded; another metric's is not."""
    made = await given.running(metric=BOUGHT)
    with pytest.raises(InvalidInput, match=r"observations\[1\].value: must be 0 or 1: the metric 'bought' is binary"):
        await given.experiments.observe("acme", made.name, [ObservationDraft("ana", 1.0), ObservationDraft("rui", 0.5)])
    assert await given.store.samples(made, BOUGHT) == ()
    assert (await given.experiments.observe("acme", made.name, [ObservationDraft("ana", 0.5, "seconds")])).recorded == 1


async def test_what_a_search_was_worth_is_joined_by_its_name(given: Given) -> None:
    """Feedback that names a search counts for whoever that search exposed, once however often it is sent."""
    made = await given.running(metric=Metric("feedback"))
    (subject,) = subjects(made, FRESH)
    arm = (await given.search(subject)).experiment
    assert arm is not None
    assert arm.search_id is not None
    for _ in range(2):
        assert await given.experiments.observe_search("acme", arm.search_id, "feedback", 1.0, observation_id=made.id) == 1
    assert await given.experiments.observe_search("rival", arm.search_id, "feedback", 1.0) == 0
    assert await given.store.samples(made, made.metric) == (Sample("fresh", 1, 1, 1.0, 0.0, True),)


async def test_outcomes_of_a_session_count_for_its_variant(given: Given) -> None:
    """A search of a session, and later an episode of that session with its outcome: that is all it takes."""
    made = await given.running(metric=Metric())
    await given.search("s1")
    await stored(given.episodic, episode(scope=Scope("acme", session_id="s1"), outcome_quality=0.75))
    found = await given.experiments.analyse("acme", made.name)
    assert sum(s.subjects for s in found.samples) == 1
    assert max(s.mean for s in found.samples) == 0.75


async def test_forgetting_takes_what_is_on_its_way_too(given: Given) -> None:
    """An exposure that still waits to be recorded is gone with the rest, and the experiment with its namespace."""
    made = await given.running()
    await given.search("s1")
    assert await given.experiments.forget(Scope("acme", session_id="s1")) == 1
    assert await given.exposed(made) == {}
    await given.experiments.forget(Scope("acme"))
    with pytest.raises(NotFound):
        await given.search("s1")


# ── what may enter ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"name": " "}, "name: must not be blank"),
        ({"metric": Metric("")}, "metric: must not be blank"),
        ({"traffic_share": 0.0}, "traffic_share: must be above 0 and at most 1, is 0.0"),
        ({"traffic_share": float("nan")}, "traffic_share: must be above 0 and at most 1, is nan"),
        ({"plan": Plan(alpha=0.9)}, "alpha: must be between 0.0001 and 0.5, is 0.9"),
        ({"plan": Plan(minimum_subjects=1)}, r"minimum_subjects: must be between 2 and 1e\+07, is 1"),
        ({"plan": Plan(planned_subjects=0)}, r"planned_subjects: must be between 10 and 1e\+08, is 0"),
        ({"plan": Plan(minimum_effect=-1.0)}, r"minimum_effect: must be between 0 and 1e\+12, is -1"),
        ({"variants": (CONTROL,)}, "variants: must be between 2 and 10, is 1"),
        ({"variants": (CONTROL,) * 11}, "variants: must be between 2 and 10, is 11"),
        ({"variants": (CONTROL, CONTROL)}, r"variants\[1\].name: is that of another variant"),
        ({"variants": (CONTROL, Variant(""))}, r"variants\[1\].name: must not be blank"),
        ({"variants": (CONTROL, Variant("x", 0.0))}, r"variants\[1\].weight: must be between 0.001 and 1000, is 0"),
        ({"variants": (CONTROL, Variant("x", limit=0))}, r"variants\[1\].limit: must be between 1 and 1000, is 0"),
        ({"variants": (CONTROL, Variant("x", ranking={"bm25": 11.0}))}, r"variants\[1\].ranking.bm25: must be between 0 and 10"),
        ({"variants": (CONTROL, Variant("x", ranking={"charm": 1.0}))}, r"variants\[1\].ranking: cannot be applied: .*'charm'"),
        ({"variants": (CONTROL, Variant("x", ranking={"fusion": "x"}))}, r"variants\[1\].ranking: cannot be applied: 'x' is not"),
    ],
)
def test_an_experiment_is_refused_by_field_and_limit(fields: dict[str, Any], problem: str) -> None:
    """Names, shares, the plan and each variant's settings: the first that breaks a limit is named."""
    with pytest.raises(InvalidInput, match=problem):
        admit_experiment(experiment(**fields), Limits())
    assert admit_experiment(DRAFT, Limits()) == DRAFT


@pytest.mark.parametrize(
    ("draft", "problem"),
    [
        (ObservationDraft("", 1.0), r"observations\[1\].subject: must not be blank"),
        (ObservationDraft("ana", 1.0, " "), r"observations\[1\].metric: must not be blank"),
        (ObservationDraft("ana", float("nan")), r"observations\[1\].value: must be a finite number of at most 1e\+12"),
        (ObservationDraft("ana", 1e13), r"observations\[1\].value: must be a finite number of at most 1e\+12"),
    ],
)
def test_an_observation_is_refused_by_field_and_limit(draft: ObservationDraft, problem: str) -> None:
    """The first one that breaks a limit is named with its place; none at all is refused too."""
    with pytest.raises(InvalidInput, match=problem):
        admit_observations([ObservationDraft("ana", 1.0), draft], Limits())
    with pytest.raises(InvalidInput, match="observations: must be between 1 and 10000, is 0"):
        admit_observations([], Limits())

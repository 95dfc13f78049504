"""Experiments as they are made, run, taken part in and judged."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog

from app.errors import Conflict, InvalidInput, NotFound, TierUnavailable
from app.learning.experiments.analysis import analyse
from app.learning.experiments.assignment import assigned
from app.learning.experiments.exposures import ExposureLog
from app.ports import Clock, ExperimentStore
from app.records import (
    FEEDBACK,
    Analysis,
    Arm,
    Enrolment,
    Experiment,
    ExperimentState,
    Exposure,
    Feedback,
    Metric,
    MetricKind,
    Observation,
    ObservationDraft,
    ObservationReceipt,
    Participation,
    Query,
    Recollection,
    Scope,
    Variant,
    Verdict,
    derived_uuid,
    new_id,
)

log = structlog.get_logger(__name__)

EXPERIMENTS: Final = "experiments"
"""How experiments that could not be asked in time are named in `degraded`; the search is then answered as any other."""
_MOST_KNOWN: Final = 1000


@dataclass(frozen=True, slots=True)
class ExperimentPolicy:
    """`known_for`: how long other processes may go on after a start or a stop. `patience`: what a search waits at most."""

    known_for: timedelta = timedelta(seconds=5)
    patience: timedelta = timedelta(milliseconds=100)


@dataclass(frozen=True, slots=True)
class _Known:
    experiment: Experiment
    until: datetime


class Experiments:
    """Experiments of all namespaces; what is known of them is remembered for a moment, because searches ask for it."""

    def __init__(
        self, store: ExperimentStore, exposures: ExposureLog, *, clock: Clock, policy: ExperimentPolicy | None = None
    ) -> None:
        self._store = store
        self._exposures = exposures
        self._clock = clock
        self._policy = policy or ExperimentPolicy()
        self._known: dict[tuple[str, str], _Known] = {}

    async def create(self, experiment: Experiment) -> Experiment:
        """Keep a new experiment, as a draft.

        Raises:
            Conflict: the name is taken in the namespace.
        """
        return await self._store.create(replace(experiment, state=ExperimentState.DRAFT, started_at=None, stopped_at=None))

    async def get(self, namespace: str, name: str) -> Experiment:
        """As it is stored now."""
        experiment = await self._store.find(namespace, name)
        if experiment is None:
            raise NotFound("experiment", name)
        self._remember(experiment)
        return experiment

    async def page(self, namespace: str, *, state: ExperimentState | None, after: str, limit: int) -> tuple[Experiment, ...]:
        return await self._store.page(namespace, state=state, after=after, limit=limit)

    async def start(self, namespace: str, name: str) -> Experiment:
        """Let searches take part; one that runs goes on.

        Raises:
            Conflict: it was stopped: who comes later is not comparable with who came before.
        """
        started = await self._moved(namespace, name, [ExperimentState.DRAFT], ExperimentState.RUNNING)
        if started.state is ExperimentState.STOPPED:
            raise Conflict("state", "the experiment was stopped: make a new one")
        return started

    async def stop(self, namespace: str, name: str) -> Experiment:
        """Let no more searches take part; outcomes of those that did still count. One that was stopped stays so."""
        return await self._moved(namespace, name, [ExperimentState.DRAFT, ExperimentState.RUNNING], ExperimentState.STOPPED)

    async def _moved(self, namespace: str, name: str, former: Sequence[ExperimentState], state: ExperimentState) -> Experiment:
        experiment = await self.get(namespace, name)
        await self._store.change_state(experiment.id, former=former, state=state, at=self._clock())
        return await self.get(namespace, name)

    async def arm(self, namespace: str, name: str, subject: str) -> Arm:
        """The part of the experiment that the subject is in, or would be in."""
        return _arm(await self.get(namespace, name), subject, None)

    async def search(
        self, asked: Participation, query: Query, recall: Callable[[Query], Awaitable[Recollection]]
    ) -> Recollection:
        """What `recall` finds under the settings of the subject's variant, which the answer names; the exposure is noted.

        Experiments that cannot be asked in time are named in `degraded`, and change nothing.

        Raises:
            NotFound: there is no such experiment in the query's namespace.
            InvalidInput: no subject is given, nor named by the query's scope.
        """
        experiment = await self._in_time(query.scope.namespace, asked.experiment)
        if experiment is None:
            found = await recall(query)
            arm = Arm(asked.experiment, asked.subject or "", Enrolment.UNAVAILABLE, search_id=asked.search_id)
            return replace(found, experiment=arm, degraded=(*found.degraded, EXPERIMENTS))
        arm = _arm(experiment, subject_of(experiment, asked, query.scope), asked.search_id)
        found = await recall(_variant(experiment, arm).applied_to(query))
        self._expose(experiment, arm)
        return replace(found, experiment=arm)

    async def _in_time(self, namespace: str, name: str) -> Experiment | None:
        """The experiment, as it was known last where the store is late or away; None when it never was."""
        known = self._known.get((namespace, name))
        if known is not None and known.until > self._clock():
            return known.experiment
        try:
            async with asyncio.timeout(self._policy.patience.total_seconds()):
                return await self.get(namespace, name)
        except (TierUnavailable, TimeoutError) as error:
            log.warning("experiment_not_asked", problem=str(error) or "late")
            return None if known is None else known.experiment

    def _expose(self, experiment: Experiment, arm: Arm) -> None:
        if arm.variant is None or arm.search_id is None:
            return
        exposure = Exposure(experiment.id, experiment.namespace, arm.subject, arm.search_id, arm.variant, self._clock())
        self._exposures.add(exposure)

    async def observe(self, namespace: str, name: str, drafts: Sequence[ObservationDraft]) -> ObservationReceipt:
        """Record values seen of subjects, each once by its id. Outcomes may come in when the experiment has long stopped.

        Raises:
            Conflict: the experiment has not been started.
        """
        experiment = await self.get(namespace, name)
        if experiment.started_at is None:
            raise Conflict("state", "the experiment has not been started")
        _check_values(experiment, drafts)
        observations = [o for draft in drafts if (o := _observation(experiment, draft, self._clock())) is not None]
        await self._store.record_observations(observations)
        return ObservationReceipt(recorded=len(observations), outside=len(drafts) - len(observations))

    async def observe_search(
        self, namespace: str, search_id: UUID, metric: str, value: float, *, observation_id: UUID | None = None
    ) -> int:
        """Record a value seen of whoever this search exposed, such as a judgement of its hits; returns how many there were."""
        await self._exposures.settle()
        exposures = await self._store.exposures_of(namespace, search_id)
        at, own = self._clock(), str(observation_id or new_id())
        ids = (derived_uuid("observation", own, str(e.experiment_id), e.subject) for e in exposures)
        await self._store.record_observations(
            [
                Observation(one, e.experiment_id, metric, e.subject, e.variant, value, at)
                for one, e in zip(ids, exposures, strict=True)
            ]
        )
        return len(exposures)

    async def observe_feedback(self, search_id: UUID, feedback: Feedback) -> int:
        """Have feedback count for whoever the search it is about exposed, once by its id; returns how many there were."""
        worth = 1.0 if feedback.verdict is Verdict.USEFUL else 0.0
        return await self.observe_search(feedback.scope.namespace, search_id, FEEDBACK, worth, observation_id=feedback.id)

    async def analyse(self, namespace: str, name: str, metric: str | None = None) -> Analysis:
        """What the experiment says so far, by its own metric or another one that was observed."""
        experiment = await self.get(namespace, name)
        asked = experiment.metric if metric in {None, experiment.metric.name} else Metric(metric or "")
        await self._exposures.settle()
        samples = await self._store.samples(experiment, asked)
        # In a thread: the first analysis of a process imports scipy, which takes a second or two.
        return await asyncio.to_thread(analyse, experiment, asked, samples)

    async def forget(self, scope: Scope) -> int:
        """Drop what the scope admits, also what is on its way."""
        await self._exposures.settle()
        self._known = {key: known for key, known in self._known.items() if key[0] != scope.namespace}
        return await self._store.forget(scope)

    async def close(self) -> None:
        await self._exposures.close()

    def _remember(self, experiment: Experiment) -> None:
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        known = _Known(experiment, self._clock() + self._policy.known_for)
        self._known[experiment.namespace, experiment.name] = known


def subject_of(experiment: Experiment, asked: Participation, scope: Scope) -> str:
    """Who takes part.

    Raises:
        InvalidInput: nobody is named.
    """
    subject = asked.subject or experiment.unit.subject_in(scope)
    if subject is None:
        instead = "" if experiment.unit.value == "custom" else f", or {experiment.unit.value}_id"
        raise InvalidInput("subject", f"must be given{instead}: the experiment is about each {experiment.unit.value}")
    return subject


def _arm(experiment: Experiment, subject: str, search_id: UUID | None) -> Arm:
    if experiment.state is not ExperimentState.RUNNING:
        return Arm(experiment.name, subject, Enrolment(experiment.state.value), search_id=search_id)
    variant = assigned(experiment, subject)
    if variant is None:
        return Arm(experiment.name, subject, Enrolment.OUTSIDE, search_id=search_id)
    return Arm(experiment.name, subject, Enrolment.ASSIGNED, variant.name, search_id or new_id())


def _variant(experiment: Experiment, arm: Arm) -> Variant:
    """Its settings; none that differ for whoever has no variant."""
    return next((v for v in experiment.variants if v.name == arm.variant), Variant(""))


def _observation(experiment: Experiment, draft: ObservationDraft, at: datetime) -> Observation | None:
    variant = assigned(experiment, draft.subject)
    if variant is None:
        return None
    metric = draft.metric or experiment.metric.name
    return Observation(draft.id or new_id(), experiment.id, metric, draft.subject, variant.name, draft.value, at)


def _check_values(experiment: Experiment, drafts: Sequence[ObservationDraft]) -> None:
    """Values of a binary metric are 0 or 1."""
    metric = experiment.metric
    for position, draft in enumerate(drafts):
        if metric.kind is MetricKind.BINARY and draft.metric in {None, metric.name} and draft.value not in {0.0, 1.0}:
            raise InvalidInput(f"observations[{position}].value", f"must be 0 or 1: the metric {metric.name!r} is binary")

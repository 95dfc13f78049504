"""Experiments over recall and ranking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from app.client.answers import page, the
from app.client.asking import Ask, Page, Pages, Paging, Rest, get, post
from app.client.experimenting import ExperimentAnalysis, experiment, one_experiment
from app.client.fields import ExperimentFields
from app.records import (
    DEFAULT_NAMESPACE,
    Arm,
    Experiment,
    ExperimentState,
    Json,
    ObservationDraft,
    ObservationReceipt,
    Variant,
)

_EXPERIMENT = "/v1/experiments/{name}"


class ExperimentCalls:
    """Calls about experiments. An experiment goes by its name, which is unique in a namespace."""

    @post("/v1/experiments")
    def create_experiment(
        self, name: str, variants: Sequence[Variant | Json], *, idempotency_key: str | None = None,
        **fields: Unpack[ExperimentFields],
    ) -> Ask[Experiment]:  # fmt: skip
        """Make an experiment, the first variant of which is the control; nothing changes before it is started.

        Raises:
            Conflict: the name is taken.
        """
        body = {"name": name, "variants": list(variants), **fields}
        return Ask(one_experiment, body=body, idempotency_key=idempotency_key)

    @get("/v1/experiments")
    def list_experiments(
        self, *, namespace: str = DEFAULT_NAMESPACE, state: ExperimentState | str | None = None, after: str = "", limit: int = 50
    ) -> Ask[Page[Experiment]]:
        """A page of experiments by name; `next` is the `after` of the following one."""
        params = {"namespace": namespace, "state": state, "after": after, "limit": limit}
        return Ask(page("experiments", experiment), params=params)

    @Pages
    def iter_experiments(
        self, *, namespace: str = DEFAULT_NAMESPACE, state: ExperimentState | str | None = None, page_size: int = 200
    ) -> Paging[Experiment]:
        """Every experiment by name, fetched page by page."""

        def turn(after: str) -> Any:
            return ExperimentCalls.list_experiments.request(namespace=namespace, state=state, after=after, limit=page_size)

        return Paging(turn, "")

    @get(_EXPERIMENT)
    def get_experiment(self, name: str, *, namespace: str = DEFAULT_NAMESPACE) -> Ask[Experiment]:
        """An experiment.

        Raises:
            NotFound: there is none of this name in this namespace.
        """
        return Ask(one_experiment, path={"name": name}, params={"namespace": namespace})

    @post(f"{_EXPERIMENT}/start")
    def start_experiment(
        self, name: str, *, namespace: str = DEFAULT_NAMESPACE, idempotency_key: str | None = None
    ) -> Ask[Experiment]:
        """Let searches take part; one that runs goes on.

        Raises:
            Conflict: it was stopped, and stays so.
        """
        return Ask(one_experiment, path={"name": name}, body={"namespace": namespace}, idempotency_key=idempotency_key)

    @post(f"{_EXPERIMENT}/stop")
    def stop_experiment(
        self, name: str, *, namespace: str = DEFAULT_NAMESPACE, idempotency_key: str | None = None
    ) -> Ask[Experiment]:
        """Let no more searches take part; what came of those that did still counts."""
        return Ask(one_experiment, path={"name": name}, body={"namespace": namespace}, idempotency_key=idempotency_key)

    @get(f"{_EXPERIMENT}/assignments/{{subject}}")
    def assignment(self, name: str, subject: str, *, namespace: str = DEFAULT_NAMESPACE) -> Ask[Arm]:
        """What a subject gets, for whoever applies settings of their own; no exposure is noted."""
        return Ask(the(Arm), path={"name": name, "subject": Rest(subject)}, params={"namespace": namespace})

    @post(f"{_EXPERIMENT}/observations")
    def observe(
        self, name: str, observations: Sequence[ObservationDraft | Json], *, namespace: str = DEFAULT_NAMESPACE,
        idempotency_key: str | None = None,
    ) -> Ask[ObservationReceipt]:  # fmt: skip
        """Record what was seen of subjects, all or none; each counts once, by the mean of its values."""
        body = {"namespace": namespace, "observations": list(observations)}
        return Ask(the(ObservationReceipt), path={"name": name}, body=body, idempotency_key=idempotency_key)

    @get(f"{_EXPERIMENT}/analysis")
    def analyse_experiment(
        self, name: str, *, namespace: str = DEFAULT_NAMESPACE, metric: str | None = None
    ) -> Ask[ExperimentAnalysis]:
        """Effects, intervals and a recommendation, by the experiment's metric or another one that was observed."""
        return Ask(the(ExperimentAnalysis), path={"name": name}, params={"namespace": namespace, "metric": metric})

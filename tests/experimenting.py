"""Experiments to start from, and simulated subjects with known effects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from given import NOW
from numpy.typing import NDArray

from app.records import Experiment, ExperimentState, Metric, MetricKind, Plan, Sample, Variant, new_id

Draw = Callable[[int], NDArray[np.float64]]
CONTROL, FRESH = Variant("control"), Variant("fresh", ranking={"recency": 0.5})
BOUGHT = Metric("bought", MetricKind.BINARY)


def experiment(**fields: Any) -> Experiment:
    """A running one, unless it is said otherwise."""
    defaults: dict[str, Any] = {
        "id": new_id(),
        "namespace": "acme",
        "name": "fresher-first",
        "variants": (CONTROL, FRESH),
        "created_at": NOW,
        "state": ExperimentState.RUNNING,
        "started_at": NOW,
        "metric": Metric("satisfaction"),
        "plan": Plan(),
    }
    return Experiment(**(defaults | fields))


def sample(variant: str, values: Sequence[float] | NDArray[np.float64]) -> Sample:
    """These subjects' values, each subject exposed."""
    data = np.asarray(values, dtype=np.float64)
    is_binary = bool(np.isin(data, (0.0, 1.0)).all())
    return Sample(variant, len(data), len(data), float(data.mean()), float(data.var(ddof=1)), is_binary)

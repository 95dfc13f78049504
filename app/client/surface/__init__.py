"""What a client can ask: every call of the HTTP API, described once.

A new route is three lines: the route as a decorator, a signature that ends in `Ask[the answer]`, and a `return`. The
methods describe their call and do nothing else; `asking.Call` makes methods of them that ask.
"""

from __future__ import annotations

from app.client.surface.experiments import ExperimentCalls
from app.client.surface.learning import LearningCalls
from app.client.surface.lineage import LineageCalls
from app.client.surface.operations import OperationCalls
from app.client.surface.recall import RecallCalls
from app.client.surface.records import RecordCalls
from app.client.surface.sessions import SessionCalls
from app.client.surface.situations import SituationCalls


class Surface(
    SessionCalls, RecallCalls, RecordCalls, SituationCalls, LineageCalls, LearningCalls, ExperimentCalls, OperationCalls
):
    """All calls."""


__all__ = ["Surface"]

"""What a client can ask: every call of the HTTP API, described once.

A new route is three lines: the route as a decorator, a signature that ends in `Ask[the answer]`, and a `return`. The
methods describe their call and do nothing else; `asking.Call` makes methods of them that ask.
"""

from __future__ import annotations

from app.client.surface.episodes import EpisodeCalls
from app.client.surface.experiments import ExperimentCalls
from app.client.surface.knowledge import KnowledgeCalls
from app.client.surface.learning import LearningCalls
from app.client.surface.operations import OperationCalls
from app.client.surface.quality import QualityCalls
from app.client.surface.recall import RecallCalls
from app.client.surface.sessions import SessionCalls


class Surface(
    SessionCalls, RecallCalls, EpisodeCalls, QualityCalls, KnowledgeCalls, LearningCalls, ExperimentCalls, OperationCalls
):
    """All calls."""


__all__ = ["Surface"]

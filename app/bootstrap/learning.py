"""The parts that learn, put together."""

from __future__ import annotations

import httpx

from app.chat import OllamaChat
from app.consolidation.logged_episodes import EpisodeDrain
from app.learning.extraction import ExtractionPolicy, ExtractionWorker
from app.learning.heuristic_learning import CasePolicy, HeuristicLearning
from app.learning.heuristics import HeuristicPolicy
from app.learning.phrasing import STAGE, OllamaPhraser, Phraser, PlainPhraser
from app.learning.run import Learning, Teachers
from app.learning.weighing import Weighing, WeighingPolicy
from app.ports import EpisodicMemory
from app.records import utc_now
from app.settings import Settings


def learning_of(episodic: EpisodicMemory, phraser: Phraser, drain: EpisodeDrain, *, min_quality: float) -> Learning:
    extraction = ExtractionPolicy(min_quality=min_quality)
    teachers = Teachers(
        ExtractionWorker(episodic, policy=extraction, clock=utc_now),
        Weighing(episodic, policy=WeighingPolicy(), clock=utc_now),
        HeuristicLearning(episodic, phraser, policy=HeuristicPolicy(), cases=CasePolicy(learnable=extraction), clock=utc_now),
    )
    return Learning(episodic, teachers, drain=drain.drain, clock=utc_now)


def phraser_of(settings: Settings, client: httpx.AsyncClient) -> Phraser:
    if settings.ollama_summary_model is None:
        return PlainPhraser()
    return OllamaPhraser(OllamaChat(client, settings.ollama_url, settings.ollama_summary_model, stage=STAGE))

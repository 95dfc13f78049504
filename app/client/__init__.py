"""Clients of the HTTP API, awaited (`MemoryClient`) or not (`SyncMemoryClient`): one surface, described in `surface`."""

from __future__ import annotations

from app.client.answers import Comparison, QueuedRecord, RetentionReport, Session, Status, as_json
from app.client.asking import Page
from app.client.asynchronous import MemoryClient
from app.client.episodes import FullEpisode, StepPage, StoredEpisode, StoredEpisodeReceipt
from app.client.experimenting import ExperimentAnalysis, VariantComparison, VariantSample
from app.client.ingesting import IngestReport, Said
from app.client.learning import Estimate, FoundPattern, LearnedStrategies, LearnedStrategy, MetCondition, StoredKnowledge
from app.client.retrying import NO_RETRIES, PATIENT, Retries
from app.client.surface import Surface
from app.client.surface.quality import BackfillRun, EpisodeQuality, EpisodeRendering, FeatureSwitches, QualityDistribution
from app.client.synchronous import SyncMemoryClient

__all__ = [
    "NO_RETRIES",
    "PATIENT",
    "BackfillRun",
    "Comparison",
    "EpisodeQuality",
    "EpisodeRendering",
    "Estimate",
    "ExperimentAnalysis",
    "FeatureSwitches",
    "FoundPattern",
    "FullEpisode",
    "IngestReport",
    "LearnedStrategies",
    "LearnedStrategy",
    "MemoryClient",
    "MetCondition",
    "Page",
    "QualityDistribution",
    "QueuedRecord",
    "RetentionReport",
    "Retries",
    "Said",
    "Session",
    "Status",
    "StepPage",
    "StoredEpisode",
    "StoredEpisodeReceipt",
    "StoredKnowledge",
    "Surface",
    "SyncMemoryClient",
    "VariantComparison",
    "VariantSample",
    "as_json",
]

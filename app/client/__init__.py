"""Clients of the HTTP API, awaited (`MemoryClient`) or not (`SyncMemoryClient`): one surface, described in `surface`."""

from __future__ import annotations

from app.client.answers import (
    Comparison,
    LearnedStrategies,
    LearnedStrategy,
    QueuedRecord,
    RetentionReport,
    Session,
    Status,
    as_json,
)
from app.client.asking import Page
from app.client.asynchronous import MemoryClient
from app.client.ingesting import IngestReport, Said
from app.client.retrying import NO_RETRIES, PATIENT, Retries
from app.client.surface import Surface
from app.client.synchronous import SyncMemoryClient

__all__ = [
    "NO_RETRIES",
    "PATIENT",
    "Comparison",
    "IngestReport",
    "LearnedStrategies",
    "LearnedStrategy",
    "MemoryClient",
    "Page",
    "QueuedRecord",
    "RetentionReport",
    "Retries",
    "Said",
    "Session",
    "Status",
    "Surface",
    "SyncMemoryClient",
    "as_json",
]

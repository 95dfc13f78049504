"""Logging and metrics: the vocabulary. Configured once, by the door that starts the process.

Log events carry fields (store, operation, latency_ms, record ids, request_id), never the text of a memory.
Metrics carry no namespace, session or record id: a label is a tier, an operation, a stage or a provider.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal

import structlog
from prometheus_client import Counter, Gauge, Histogram

_LATENCY_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

MESSAGES_APPENDED: Final = Counter("memory_messages_appended", "Messages acknowledged, by the tier they landed in", ["stored_in"])
EPISODES_STORED: Final = Counter("memory_episodes_stored", "Episodes acknowledged, by the tier they landed in", ["stored_in"])
FEEDBACK_GIVEN: Final = Counter("memory_feedback", "Feedback on recalled records, by verdict", ["verdict"])
STORE_LATENCY: Final = Histogram(
    "memory_store_latency_seconds", "Time spent in an engine", ["store", "operation"], buckets=_LATENCY_SECONDS
)
STORE_ERRORS: Final = Counter("memory_store_errors", "Calls to an engine that failed", ["store", "operation"])
BREAKER_STATE: Final = Gauge(
    "memory_breaker_state", "Whether an engine is asked: 0 it is, 1 a ping is under way, 2 it is left alone", ["engine"]
)
RECALL_LATENCY: Final = Histogram(
    "memory_recall_latency_seconds",
    "Time of a recall, by stage (total, or total_with_stages where stages were asked for; embedder, a tier, a stage)",
    ["stage"],
    buckets=_LATENCY_SECONDS,
)
RECALL_DEGRADED: Final = Counter("memory_recall_degraded", "Recalls that went without a tier or stage", ["stage"])
CACHE_REQUESTS: Final = Counter("memory_cache_requests", "Cache look-ups", ["cache", "result"])
CACHE_ENTRIES: Final = Gauge("memory_cache_entries", "Answers that a cache in this process holds", ["cache"])
EMBEDDED_TEXTS: Final = Counter("memory_embedded_texts", "Texts embedded, by provider", ["provider"])
EMBEDDER_IN_USE: Final = Gauge("memory_embedder_in_use", "1 for the embedding provider that answered last", ["provider"])
CONSOLIDATION_SECONDS: Final = Histogram(
    "memory_consolidation_duration_seconds",
    "Duration of a consolidation run",
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300),
)
CONSOLIDATED: Final = Counter("memory_consolidated", "What consolidation did", ["what"])
BACKLOG_MESSAGES: Final = Gauge("memory_backlog_messages", "Messages not yet drained into Postgres")
BACKLOG_EPISODES: Final = Gauge("memory_backlog_episodes", "Episodes logged and not yet drained into Postgres")
BACKLOG_SESSIONS: Final = Gauge("memory_backlog_sessions", "Sessions with something not yet drained")
OUTBOX_DEPTH: Final = Gauge("memory_outbox_depth", "Records waiting to be indexed")
OUTBOX_DEAD: Final = Gauge("memory_outbox_dead_letters", "Records given up on until somebody retries them")
DRIFT: Final = Gauge("memory_index_drift", "Records in Postgres less points in the index, and what else is known to be wrong")
RECONCILED: Final = Counter("memory_reconciled", "What comparing the index with Postgres looked at and found", ["what"])
LEARNED: Final = Counter("memory_learned", "What learning from episodes did", ["what"])
LEARNING_PENDING: Final = Gauge("memory_learning_pending", "Episodes waiting to be learned from")
LEARNING_DEAD: Final = Gauge("memory_learning_dead_letters", "Episodes that learning gave up on until they change")
PATTERNS: Final = Gauge("memory_patterns", "Patterns found in episodes, by state", ["state"])
HTTP_LATENCY: Final = Histogram(
    "memory_http_request_duration_seconds", "Time of a request", ["method", "route", "status"], buckets=_LATENCY_SECONDS
)
EPISODE_QUALITY: Final = Histogram(
    "memory_episode_quality",
    "What the quality validator said, each time it judged an episode",
    buckets=tuple(n / 10 for n in range(1, 11)),
)
BACKFILLED: Final = Counter("memory_backfilled_episodes", "Episodes that a backfill worked on, by result", ["result"])
BACKFILL_PENDING: Final = Gauge("memory_backfill_pending", "Episodes that the last backfill left undone", ["what"])
BACKFILL_SECONDS: Final = Histogram(
    "memory_backfill_duration_seconds", "Duration of a backfill", buckets=(0.1, 1, 10, 60, 300, 1800, 3600, 7200)
)
BACKFILL_LAST_RUN: Final = Gauge("memory_backfill_last_run_timestamp_seconds", "When the last backfill ended (Unix time)")
EXPOSURES: Final = Counter("memory_experiment_exposures", "Searches in experiments, recorded or dropped", ["result"])
BACKGROUND_ERRORS: Final = Counter("memory_background_errors", "Errors a background job outlived", ["job"])


@contextmanager
def timed(store: str, operation: str) -> Iterator[None]:
    """Count the time, and the failure, of one call to an engine."""
    started = time.perf_counter()
    try:
        yield
    except BaseException:
        STORE_ERRORS.labels(store, operation).inc()
        raise
    finally:
        STORE_LATENCY.labels(store, operation).observe(time.perf_counter() - started)


def configure_logging(level: str, form: Literal["json", "console"]) -> None:
    """Send structlog and the standard library's loggers to stderr in one form. Called by doors only."""
    shared = _shared()
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer() if form == "json" else _console()
    tail: list[structlog.typing.Processor] = [structlog.processors.format_exc_info, renderer] if form == "json" else [renderer]
    structlog.configure(
        processors=[*shared, *tail],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *tail]
    )
    handler.setFormatter(formatter)
    logging.basicConfig(level=max(logging.WARNING, logging.getLevelNamesMapping()[level]), handlers=[handler], force=True)


def quiet_unless_configured() -> None:
    """For use as a library: structlog's own default prints every event to stdout; this leaves warnings, on stderr."""
    if not structlog.is_configured():
        structlog.configure(
            processors=[*_shared(), _console()],
            wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        )


def _shared() -> list[structlog.typing.Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _console() -> structlog.typing.Processor:
    """Not with the default traceback: it prints the local variables, and with them memories, for half a minute if need be."""
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)

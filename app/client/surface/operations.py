"""Operations: consolidation, comparison, the outbox, retention, forgetting, moving, health."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Unpack

from app.client.answers import Comparison, QueuedRecord, RetentionReport, Status, as_, field_of, many, page, text, the
from app.client.answers import nothing as received
from app.client.asking import LONG, Ask, Page, Pages, Paging, Upload, download, get, post
from app.client.fields import Forgetting, OutboxAsked
from app.records import ForgetReceipt, ImportReport, RunReport, TierHealth, Trends

_ADMIN = "/v1/admin"


class OperationCalls:
    """Calls for operators."""

    @post(f"{_ADMIN}/consolidate")
    def consolidate(
        self, *, namespace: str | None = None, session_id: str | None = None, idempotency_key: str | None = None
    ) -> Ask[RunReport]:
        """Consolidate all, a namespace or one session: answers when nothing is left to do."""
        body = _given(namespace=namespace, session_id=session_id)
        return Ask(the(RunReport), body=body, timeout=LONG, idempotency_key=idempotency_key)

    @get(f"{_ADMIN}/runs")
    def runs(self, *, limit: int = 20) -> Ask[tuple[RunReport, ...]]:
        """The newest consolidation runs, newest first."""
        return Ask(many("runs", as_(RunReport)), params={"limit": limit})

    @get(f"{_ADMIN}/status")
    def status(self) -> Ask[Status]:
        """What waits where, and how far the index is from the truth."""
        return Ask(the(Status))

    @post(f"{_ADMIN}/reconcile")
    def reconcile(
        self, *, repair: bool = False, namespace: str | None = None, idempotency_key: str | None = None
    ) -> Ask[Comparison]:
        """Compare the index with PostgreSQL, record by record: answers when everything was compared.

        Raises:
            Conflict: another comparison is running.
        """
        body = {"repair": repair, **_given(namespace=namespace)}
        return Ask(the(Comparison), body=body, timeout=LONG, idempotency_key=idempotency_key)

    @get(f"{_ADMIN}/reconcile")
    def reconciliations(self, *, limit: int = 20) -> Ask[tuple[Comparison, ...]]:
        """The newest comparisons, also one that is running."""
        return Ask(many("runs", as_(Comparison)), params={"limit": limit})

    @get(f"{_ADMIN}/outbox")
    def outbox(self, *, after: int = 0, limit: int = 100, **asked: Unpack[OutboxAsked]) -> Ask[Page[QueuedRecord]]:
        """A page of records waiting to be indexed, and dead letters; `next` is the `after` of the following one."""
        return Ask(page("entries", as_(QueuedRecord)), params={**asked, "after": after, "limit": limit})

    @Pages
    def iter_outbox(self, *, page_size: int = 500, **asked: Unpack[OutboxAsked]) -> Paging[QueuedRecord]:
        """Every entry asked for, fetched page by page."""
        return Paging(lambda after: OperationCalls.outbox.request(after=after, limit=page_size, **asked), 0)

    @post(f"{_ADMIN}/outbox/retry")
    def retry_dead_letters(
        self, ids: Sequence[int] | None = None, *, namespace: str | None = None, idempotency_key: str | None = None
    ) -> Ask[int]:
        """Make dead letters due again, all or these; returns how many."""
        return Ask(field_of("retried", int), body=_given(ids=ids, namespace=namespace), idempotency_key=idempotency_key)

    @post(f"{_ADMIN}/outbox/drop")
    def drop_dead_letters(
        self, ids: Sequence[int], *, namespace: str | None = None, idempotency_key: str | None = None
    ) -> Ask[int]:
        """Give up on dead letters for good; returns how many."""
        body = {"ids": list(ids), **_given(namespace=namespace)}
        return Ask(field_of("dropped", int), body=body, idempotency_key=idempotency_key)

    @post(f"{_ADMIN}/retention")
    def retain(self, *, dry_run: bool = False, idempotency_key: str | None = None) -> Ask[RetentionReport]:
        """Retire, archive and delete what has outlived its retention, or only count it."""
        return Ask(the(RetentionReport), body={"dry_run": dry_run}, timeout=LONG, idempotency_key=idempotency_key)

    @post(f"{_ADMIN}/forget")
    def forget(self, namespace: str, *, idempotency_key: str | None = None, **asked: Unpack[Forgetting]) -> Ask[ForgetReceipt]:
        """Remove a scope, or records by name, from all tiers."""
        body = {"namespace": namespace, **asked}
        return Ask(the(ForgetReceipt), body=body, timeout=LONG, idempotency_key=idempotency_key)

    @get(f"{_ADMIN}/trends")
    def trends(self, *, days: int = 7, namespace: str | None = None) -> Ask[Trends]:
        """Quality, recall latency and error rate over 7 or 30 days, of a namespace or of all."""
        return Ask(the(Trends), params={"days": days, "namespace": namespace})

    @download(f"{_ADMIN}/backup")
    def backup(self) -> Ask[None]:
        """Everything, as the file that `hybrid-memory restore` takes, in portions."""
        return Ask(received, timeout=LONG)

    @download(f"{_ADMIN}/export")
    def export(self, namespace: str) -> Ask[None]:
        """A namespace as JSON Lines, in portions; the last line says that the file is whole."""
        return Ask(received, params={"namespace": namespace}, timeout=LONG)

    @post(f"{_ADMIN}/import")
    def import_file(self, path: Path, namespace: str, progress: Callable[[int], None] | None = None) -> Ask[ImportReport]:
        """Take in what was exported; what is there already is left as it is. `progress` counts the bytes sent.

        Raises:
            InvalidInput: names the line and the field; nothing was written.
        """
        upload = Upload(path, progress or (lambda _: None))
        return Ask(the(ImportReport), params={"namespace": namespace}, upload=upload, timeout=LONG, is_named=True)

    @get("/health/live")
    def is_live(self) -> Ask[bool]:
        """True: the process answers. False is never answered, `TierUnavailable` is raised."""
        return Ask(lambda reply: not reply.is_error)

    @get("/health/ready")
    def health(self) -> Ask[tuple[TierHealth, ...]]:
        """A ping per dependency: `is_up` says how it went."""
        return Ask(many("tiers", as_(TierHealth)), answers=frozenset({HTTPStatus.SERVICE_UNAVAILABLE}))

    @get("/metrics")
    def metrics(self) -> Ask[str]:
        """What Prometheus reads."""
        return Ask(text)


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}

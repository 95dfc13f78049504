"""Messages, session state and scratchpads."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api.dependencies import MayRead, MayWrite, Service
from app.api.idempotency import Once, once
from app.api.openapi import ANY, BODY, CHANGED, NOT_FOUND, ONCE
from app.api.versions import IfMatch, tag
from app.api.wire.messages import AppendIn, AppendOut, HistoryOut, MessageOut, RecentOut
from app.api.wire.sessions import ScratchIn, ScratchOut, SessionOut, StateIn, StatePatch
from app.errors import NotFound, VersionMismatch
from app.records import DEFAULT_NAMESPACE, Scope, Wait

router = APIRouter(prefix="/v1/sessions/{session_id}", responses=ANY)
Namespace = Annotated[str, Query()]


@router.post(
    "/messages", status_code=201, tags=["messages"], summary="Append one message or many, all or none", responses=BODY | ONCE
)
@once
async def append_messages(
    session_id: str, body: AppendIn, service: Service, access: MayWrite, attempt: Once,
    wait: Annotated[Wait, Query()] = Wait.NONE,
) -> AppendOut:  # fmt: skip
    """On 201 the messages survive the death of any process and are found by the next search.

    `wait=stored` also drains the session into Postgres, `wait=indexed` also indexes it.
    """
    access.check(body.namespace)
    drafts = [m.draft(attempt.id(position)) for position, m in enumerate(body.messages)]
    return AppendOut.of(await service.append_messages(body.scope(session_id), drafts, wait=wait))


@router.get("/messages", tags=["messages"], summary="The whole history in order, drained or not, paged")
async def fetch_history(
    session_id: str, service: Service, access: MayRead, namespace: Namespace = DEFAULT_NAMESPACE,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0, limit: Annotated[int, Query()] = 100,
) -> HistoryOut:  # fmt: skip
    access.check(namespace)
    messages, degraded = await service.fetch_history(_scope(namespace, session_id), after=after, limit=limit)
    return HistoryOut(
        messages=[MessageOut.of(m) for m in messages],
        next=messages[-1].sequence if len(messages) == limit else None,
        degraded=list(degraded),
    )


@router.get("/context", tags=["messages"], summary="The newest messages within a token budget")
async def fetch_recent_context(
    session_id: str, service: Service, access: MayRead, namespace: Namespace = DEFAULT_NAMESPACE,
    limit: Annotated[int, Query()] = 50, budget_tokens: Annotated[int | None, Query()] = None,
) -> RecentOut:  # fmt: skip
    access.check(namespace)
    scope = _scope(namespace, session_id)
    return RecentOut.of(await service.fetch_recent_context(scope, limit=limit, budget_tokens=budget_tokens))


@router.get("", tags=["sessions"], summary="The session and its state", responses=NOT_FOUND)
async def load_session(
    session_id: str, service: Service, access: MayRead, response: Response, namespace: Namespace = DEFAULT_NAMESPACE
) -> SessionOut:
    """`ETag` is the version of the state; 0 when none was saved yet."""
    access.check(namespace)
    record = await service.load_session(_scope(namespace, session_id))
    tag(response, record.state.version)
    return SessionOut.of(record)


@router.put("", tags=["sessions"], status_code=204, summary="Replace the session's state", responses=BODY | CHANGED)
async def replace_state(
    session_id: str, body: StateIn, service: Service, access: MayWrite, response: Response, expected: IfMatch
) -> None:
    access.check(body.namespace)
    scope = _scope(body.namespace, session_id)
    if expected.must_exist:
        await _require(service, scope)
    tag(response, await service.save_session_state(scope, body.state(), expected_version=expected.version))


@router.patch(
    "", tags=["sessions"], status_code=204, summary="Change parts of the session's state", responses=BODY | NOT_FOUND | CHANGED
)
async def change_state(
    session_id: str, body: StatePatch, service: Service, access: MayWrite, response: Response, expected: IfMatch
) -> None:
    """Of several changes at once none is lost, with `If-Match` or without."""
    access.check(body.namespace)
    scope = _scope(body.namespace, session_id)
    tag(response, await service.change_session_state(scope, body.applied_to, expected_version=expected.version))


@router.delete(
    "", tags=["sessions"], status_code=204, summary="End the session: drained, not lost", responses=NOT_FOUND | CHANGED
)
async def end_session(
    session_id: str, service: Service, access: MayWrite, expected: IfMatch, namespace: Namespace = DEFAULT_NAMESPACE
) -> None:
    access.check(namespace)
    await service.end_session(_scope(namespace, session_id), expected_version=expected.version)


@router.put(
    "/scratchpad/{key}", tags=["sessions"], status_code=204, summary="Keep a JSON value while the session is warm", responses=BODY
)
async def write_scratchpad(session_id: str, key: str, body: ScratchIn, service: Service, access: MayWrite) -> None:
    access.check(body.namespace)
    await service.write_scratchpad(_scope(body.namespace, session_id), key, body.value)


@router.get("/scratchpad/{key}", tags=["sessions"], summary="Read a value back", responses=NOT_FOUND)
async def read_scratchpad(
    session_id: str, key: str, service: Service, access: MayRead, namespace: Namespace = DEFAULT_NAMESPACE
) -> ScratchOut:
    access.check(namespace)
    pad = await service.read_scratchpad(_scope(namespace, session_id))
    if key not in pad:
        raise NotFound("scratchpad key", key)
    return ScratchOut(key=key, value=pad[key])


@router.delete("/scratchpad/{key}", tags=["sessions"], status_code=204, summary="Drop a value", responses=NOT_FOUND)
async def delete_scratchpad(
    session_id: str, key: str, service: Service, access: MayWrite, namespace: Namespace = DEFAULT_NAMESPACE
) -> None:
    access.check(namespace)
    await service.delete_scratchpad(_scope(namespace, session_id), key)


async def _require(service: Service, scope: Scope) -> None:
    """`If-Match: *` is not met by what does not exist."""
    try:
        await service.load_session(scope)
    except NotFound as missing:
        raise VersionMismatch("state", 0) from missing


def _scope(namespace: str, session_id: str) -> Scope:
    return Scope(namespace, session_id=session_id)

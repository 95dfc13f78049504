"""What each tool does: its arguments in, calls of the API, its result out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from app.integrations.mcp.arguments import (
    Document,
    Forget,
    GetContext,
    GetStrategies,
    Learn,
    LogDecision,
    Recall,
    RecordOutcome,
    Remember,
)
from app.integrations.mcp.asking import Api, Connection, Fault, Refused, segment
from app.integrations.mcp.results import (
    ContextResult,
    DecisionResult,
    ForgetResult,
    LearnResult,
    OutcomeResult,
    RecallResult,
    Remembered,
    StrategiesResult,
)
from app.records import derived_uuid

_IDS: Final = {"message": "message_ids", "episode": "episode_ids", "knowledge": "knowledge_ids"}


async def remember(api: Api, connection: Connection, given: Remember) -> Remembered:
    # The same words of the same person in the same conversation are kept once: models like to repeat a call.
    identity = derived_uuid("mcp", given.session_id, given.role, given.name or "", given.content)
    message = {"id": str(identity), "role": given.role, "content": given.content, "name": given.name}
    body = given.owner(connection.namespace) | {"messages": [message]}
    receipt = await api.ask(connection, "POST", f"/v1/sessions/{segment(given.session_id)}/messages", body=body)
    stored = {"stored_in": receipt["stored_in"], "degraded": receipt["degraded"]}
    return Remembered(id=receipt["messages"][0]["id"], session_id=given.session_id, **stored)


async def recall(api: Api, connection: Connection, given: Recall) -> RecallResult:
    asked = given.model_dump(include={"text", "limit", "kinds", "session_id", "since", "until"}, exclude_none=True)
    return RecallResult.of(await api.ask(connection, "POST", "/v1/search", body=given.owner(connection.namespace) | asked))


async def get_context(api: Api, connection: Connection, given: GetContext) -> ContextResult:
    asked = given.model_dump(include={"text", "session_id", "budget_tokens"}, exclude_none=True)
    answer = await api.ask(connection, "POST", "/v1/context", body=given.owner(connection.namespace) | asked)
    return ContextResult.model_validate(answer)


async def log_decision(api: Api, connection: Connection, given: LogDecision) -> DecisionResult:
    parts = {"perception": given.perception, "reasoning": given.reasoning, "action": given.action}
    said = {name: _document(part) for name, part in parts.items() if part is not None}
    further = given.model_dump(include={"summary", "session_id"}, exclude_none=True)
    body = given.owner(connection.namespace) | {"kind": "decision"} | said | further
    stored = await api.ask(connection, "POST", "/v1/episodes", body=body)
    return DecisionResult(episode_id=stored["id"], stored_in=stored["stored_in"], degraded=stored["degraded"])


async def record_outcome(api: Api, connection: Connection, given: RecordOutcome) -> OutcomeResult:
    namespace = given.owner(connection.namespace)["namespace"]
    body = {"namespace": namespace, "outcome": _document(given.outcome), "outcome_quality": given.outcome_quality}
    episode = await api.ask(connection, "POST", f"/v1/episodes/{given.episode_id}/outcome", body=body)
    return OutcomeResult(episode_id=episode["id"], outcome_quality=episode["outcome_quality"], version=episode["version"])


async def learn(api: Api, connection: Connection, given: Learn) -> LearnResult:
    said = given.model_dump(include={"description", "kind", "confidence", "content"})
    knowledge = await api.ask(connection, "POST", "/v1/knowledge", body=given.owner(connection.namespace) | said)
    return LearnResult(knowledge_id=knowledge["id"], kind=knowledge["kind"])


async def get_strategies(api: Api, connection: Connection, given: GetStrategies) -> StrategiesResult:
    asked = given.model_dump(include={"context", "min_confidence", "limit"})
    body = given.owner(connection.namespace) | asked
    return StrategiesResult.of(await api.ask(connection, "POST", "/v1/knowledge/strategies", body=body))


async def forget(api: Api, connection: Connection, given: Forget) -> ForgetResult:
    if given.kind == "message" and given.session_id is None:
        raise Refused("invalid_input", "session_id: must be given for a message", (Fault("session_id", "must be given"),))
    session = {"session_id": given.session_id} if given.kind == "message" else {}
    namespace = given.owner(connection.namespace)["namespace"]
    body = {"namespace": namespace, _IDS[given.kind]: [given.id]} | session
    return ForgetResult.model_validate(await api.ask(connection, "POST", "/v1/admin/forget", body=body))


def _document(part: Document) -> Mapping[str, Any]:
    return part if isinstance(part, dict) else {"text": part}

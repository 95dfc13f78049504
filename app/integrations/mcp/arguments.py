"""What the tools take. The descriptions are read by models: they say what a value is for, with its limits.

Types are strict and nothing may be left over: an argument that is misspelt and ignored would widen an answer in silence.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr
from pydantic_core import PydanticCustomError

from app.integrations.mcp.bounds import DEFAULT_RESULTS, MOST_CONTEXT_TOKENS, MOST_RESULTS

D = TypeVar("D", bound="str | dict[str, Any]")


def _not_blank(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "must not be blank")
    return text


def _finite(document: D) -> D:
    """JSON has no infinities and no NaN, but the parser of the wire takes them, in other places than those of a type too."""
    try:
        json.dumps(document, allow_nan=False)
    except ValueError as error:
        raise PydanticCustomError("finite", "must be JSON, whose numbers are finite: no Infinity, no NaN") from error
    return document


Text = Annotated[StrictStr, AfterValidator(_not_blank)]
Share = Annotated[StrictFloat, Field(ge=0, le=1)]
Object = Annotated[dict[str, Any], AfterValidator(_finite)]
Document = Annotated[Text | dict[str, Any], Field(union_mode="left_to_right"), AfterValidator(_finite)]
"""Text, or a JSON object where there is structure worth keeping."""
RecordId = Annotated[StrictStr, Field(pattern="^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")]
Results = Annotated[StrictInt, Field(ge=1, le=MOST_RESULTS, description="The most results to return")]


class Arguments(BaseModel):
    """Whose memory: leave these out unless you were told to use them."""

    model_config = ConfigDict(extra="forbid")

    namespace: Text | None = Field(default=None, description="Another memory than your usual one; only if you were told its name")
    user_id: Text | None = Field(default=None, description="The user it is about; narrows to that user")
    agent_id: Text | None = Field(default=None, description="The agent it is about; narrows to that agent")
    project_id: Text | None = Field(default=None, description="The project it is about; narrows to that project")

    def owner(self, default_namespace: str) -> dict[str, str]:
        """The scope as the API's fields, without what was not given."""
        whose = {"user_id": self.user_id, "agent_id": self.agent_id, "project_id": self.project_id}
        given = {name: value for name, value in whose.items() if value is not None}
        return {"namespace": self.namespace or default_namespace} | given


class Remember(Arguments):
    content: Text = Field(description="What to keep, in one or a few sentences that make sense on their own, at most 64 KB")
    session_id: Text = Field(default="notes", description="The conversation it belongs to; `notes` if it belongs to none")
    role: Literal["user", "assistant"] = Field(default="user", description="Who said it: the user, or you (assistant)")
    name: Text | None = Field(default=None, description="The name of who said it, if you know it: `Ana`")


class Recall(Arguments):
    text: Text = Field(description="The question, in plain words; names and dates help: `When does Ana's cat see the vet?`")
    limit: Results = DEFAULT_RESULTS
    kinds: list[Literal["message", "episode", "knowledge"]] | None = Field(
        default=None, min_length=1,
        description="Only these: what was said (message), what happened (episode), what is known (knowledge)",
    )  # fmt: skip
    session_id: Text | None = Field(default=None, description="Only from this conversation")
    since: Text | None = Field(default=None, description="Not older than this: RFC 3339, such as 2026-03-01T00:00:00Z")
    until: Text | None = Field(default=None, description="Not newer than this: RFC 3339")


class GetContext(Arguments):
    text: Text = Field(description="What you are about to do or answer, in plain words")
    session_id: Text | None = Field(
        default=None, description="The conversation you are in: its goal and newest messages come along"
    )
    budget_tokens: Annotated[StrictInt, Field(ge=50, le=MOST_CONTEXT_TOKENS)] = Field(
        default=1500, description="How long the text may be"
    )


class LogDecision(Arguments):
    perception: Document = Field(description="The situation you decided in: what you saw and knew; text or a JSON object")
    action: Document = Field(description="What you decided or did; text or a JSON object")
    reasoning: Document | None = Field(default=None, description="Why; text or a JSON object")
    summary: StrictStr = Field(default="", description="One sentence that says it all, by which it is found again")
    session_id: Text | None = Field(default=None, description="The conversation it was made in")


class RecordOutcome(Arguments):
    episode_id: RecordId = Field(description="The id that log_decision returned")
    outcome: Document = Field(description="What came of it; text or a JSON object")
    outcome_quality: Share | None = Field(default=None, description="How good that was, from 0 (bad) to 1 (as good as it gets)")


class Learn(Arguments):
    description: Text = Field(
        description="What holds, as one sentence: `If the backlog exceeds the velocity, plan one story less`"
    )
    kind: Literal["fact", "strategy", "pattern", "constraint", "heuristic"] = Field(
        default="fact",
        description="A fact about the world, a strategy that works, a pattern that recurs, a constraint to respect, "
        "or a heuristic (a rule of thumb)",
    )
    confidence: Share = Field(default=0.8, description="How sure it is, from 0 to 1")
    content: Object = Field(
        default_factory=dict,
        description="Details as a JSON object. Of anything but a fact, `conditions` may say when it applies: "
        '[{"field": "backlog", "op": "gt", "value": 20}]',
    )


class GetStrategies(Arguments):
    context: Document = Field(
        description="The situation you are in: in words, or as a JSON object, which conditions of strategies look into"
    )
    min_confidence: Share = Field(default=0.5, description="Leave out what is less sure than this")
    limit: Results = DEFAULT_RESULTS


class Forget(Arguments):
    kind: Literal["message", "episode", "knowledge"] = Field(description="What the id names, as recall returned it")
    id: RecordId = Field(description="The id, as recall returned it")
    session_id: Text | None = Field(default=None, description="Of a message: its session_id, as recall returned it")

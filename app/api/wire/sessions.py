"""Session state and scratchpads on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import (
    BaseModel,
    Field,
    StrictStr,
)

from app.api.wire.base import Body, JsonObject, example
from app.ports import SessionRecord
from app.records import (
    DEFAULT_NAMESPACE,
    SessionState,
)


class StateFields(Body):
    goal: StrictStr | None = Field(default=None, examples=["Plan the move to Lisbon"])
    active_context: JsonObject = Field(default_factory=dict)
    thoughts: list[StrictStr] = Field(default_factory=list)
    related_episodes: list[UUID] = Field(default_factory=list)


class StateIn(StateFields):
    model_config = example(goal="Plan the move to Lisbon", active_context={"budget": 4000}, thoughts=["ask Rui for a van"])

    namespace: StrictStr = DEFAULT_NAMESPACE

    def state(self) -> SessionState:
        return SessionState(self.goal, self.active_context, tuple(self.thoughts), tuple(self.related_episodes))


class StatePatch(Body):
    """Only what is given changes; `thoughts` are added to those that are there."""

    model_config = example(thoughts=["Rui has a van"])

    namespace: StrictStr = DEFAULT_NAMESPACE
    goal: StrictStr | None = None
    active_context: JsonObject | None = None
    thoughts: list[StrictStr] | None = None
    related_episodes: list[UUID] | None = None

    def applied_to(self, state: SessionState) -> SessionState:
        return SessionState(
            goal=self.goal if "goal" in self.model_fields_set else state.goal,
            active_context={**state.active_context, **(self.active_context or {})},
            thoughts=(*state.thoughts, *(self.thoughts or ())),
            related_episodes=tuple(dict.fromkeys((*state.related_episodes, *(self.related_episodes or ())))),
        )


class SessionOut(BaseModel):
    session_id: str
    namespace: str
    state: StateFields
    version: int = Field(description="Of the state: rises with every save, 0 before the first")
    created_at: datetime
    last_message_at: datetime | None
    ended_at: datetime | None
    degraded: list[str]

    @classmethod
    def of(cls, record: SessionRecord) -> Self:
        return cls(
            session_id=record.session.session_id,
            namespace=record.session.namespace,
            state=StateFields(
                goal=record.state.goal,
                active_context=dict(record.state.active_context),
                thoughts=list(record.state.thoughts),
                related_episodes=list(record.state.related_episodes),
            ),
            version=record.state.version,
            created_at=record.created_at,
            last_message_at=record.last_message_at,
            ended_at=record.ended_at,
            degraded=list(record.degraded),
        )


class ScratchIn(Body):
    model_config = example(value={"boxes": 12})

    namespace: StrictStr = DEFAULT_NAMESPACE
    value: Any = Field(description="Any JSON value")


class ScratchOut(BaseModel):
    key: str
    value: Any

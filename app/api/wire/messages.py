"""Messages on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import (
    BaseModel,
    Field,
    StrictStr,
)

from app.api.wire.base import Body, JsonObject, Moment, Scoped, example
from app.records import (
    AppendReceipt,
    Draft,
    Message,
    RecentContext,
    Role,
)


class MessageIn(Body):
    id: UUID | None = Field(default=None, description="Makes a retry safe: the same id and content are stored once")
    role: Role = Field(examples=["user"])
    name: StrictStr | None = Field(default=None, description="The author, when there is more than the role to say")
    content: StrictStr = Field(examples=["My cat Miso sees the vet on Thursday."])
    created_at: Moment | None = Field(default=None, description="When it was said; now, if left out")
    metadata: JsonObject = Field(default_factory=dict)

    def draft(self, fallback_id: UUID | None = None) -> Draft:
        """`fallback_id` is for a message that brings none."""
        return Draft(self.role, self.content, self.name, self.id or fallback_id, self.created_at, self.metadata)


class AppendIn(Scoped):
    model_config = example(messages=[{"role": "user", "content": "My cat Miso sees the vet on Thursday."}])

    messages: list[MessageIn]


class AppendedOut(BaseModel):
    id: UUID
    sequence: int


class AppendOut(BaseModel):
    messages: list[AppendedOut]
    stored_in: str = Field(examples=["working"])
    degraded: list[str]

    @classmethod
    def of(cls, receipt: AppendReceipt) -> Self:
        return cls(
            messages=[AppendedOut(id=m.id, sequence=m.sequence) for m in receipt.messages],
            stored_in=receipt.stored_in.value,
            degraded=list(receipt.degraded),
        )


class MessageOut(BaseModel):
    id: UUID
    sequence: int
    role: Role
    name: str | None
    content: str
    created_at: datetime
    metadata: JsonObject

    @classmethod
    def of(cls, message: Message) -> Self:
        return cls(
            id=message.id,
            sequence=message.sequence,
            role=message.role,
            name=message.name,
            content=message.content,
            created_at=message.created_at,
            metadata=dict(message.metadata),
        )


class HistoryOut(BaseModel):
    messages: list[MessageOut]
    next: int | None = Field(description="Pass as `after` for the next page; null on the last one")
    degraded: list[str]


class RecentOut(BaseModel):
    messages: list[MessageOut]
    tier: str
    degraded: list[str]

    @classmethod
    def of(cls, context: RecentContext) -> Self:
        return cls(
            messages=[MessageOut.of(m) for m in context.messages], tier=context.tier.value, degraded=list(context.degraded)
        )

"""RFC 9457 problem details."""

from __future__ import annotations

from typing import Any, Final

from pydantic import (
    BaseModel,
    Field,
)

PROBLEM_MEDIA_TYPE: Final = "application/problem+json"


class FieldProblem(BaseModel):
    field: str
    problem: str


class Problem(BaseModel):
    """Problem details as in RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str | None = None
    errors: list[FieldProblem] = Field(default_factory=list)
    facts: dict[str, Any] | None = Field(default=None, description="Of an error of our own: what its `type` is about")

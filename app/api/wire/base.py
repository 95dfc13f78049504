"""What every body is made of: strict types (a number is not a string), scopes, and no unknown fields.

Fields may be added; what is here stays.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from app.records import (
    DEFAULT_NAMESPACE,
    RECALLED_KINDS,
    RecordKind,
    Scope,
)

_BEGINS_LIKE_RFC3339: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]")
_INT64_MAX: Final = 2**63 - 1
IDS_PER_CALL: Final = 10_000


def _rfc3339(value: object) -> object:
    """Keep out what pydantic also takes for a time: numbers, numbers in a string, and dates alone."""
    if isinstance(value, datetime) or (isinstance(value, str) and _BEGINS_LIKE_RFC3339.match(value)):
        return value
    raise PydanticCustomError("rfc3339", "must be an RFC 3339 date and time, such as 2026-03-01T09:30:00Z")


def _filter_value(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    """One refusal instead of one for each type that the value might have had."""
    try:
        return handler(value)
    except ValidationError:
        raise PydanticCustomError("filter_value", "must be a string, a number, a boolean, or a list of these") from None


Moment = Annotated[datetime, BeforeValidator(_rfc3339)]


def _recalled(value: object) -> object:
    if value not in RECALLED_KINDS:
        *first, last = (f"'{kind}'" for kind in RECALLED_KINDS)
        raise PydanticCustomError("enum", f"Input should be {', '.join(first)} or {last}")
    return value


RecalledKind = Annotated[
    RecordKind, BeforeValidator(_recalled), WithJsonSchema({"type": "string", "enum": [kind.value for kind in RECALLED_KINDS]})
]
Scalar = StrictStr | StrictBool | StrictInt | StrictFloat
FilterValue = Annotated[Scalar | list[Scalar], WrapValidator(_filter_value)]
OutboxId = Annotated[StrictInt, Field(ge=1, le=_INT64_MAX)]
JsonObject = dict[str, Any]


def example(**fields: Any) -> ConfigDict:
    """The configuration of a body, with what it may look like."""
    return ConfigDict(extra="forbid", json_schema_extra={"examples": [fields]})


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Scoped(Body):
    """Whose memory: the namespace is the wall between tenants, the rest narrows."""

    namespace: StrictStr = Field(default=DEFAULT_NAMESPACE, examples=["default"])
    user_id: StrictStr | None = None
    agent_id: StrictStr | None = None
    project_id: StrictStr | None = None

    def scope(self, session_id: str | None = None) -> Scope:
        return Scope(self.namespace, self.user_id, self.agent_id, session_id, self.project_id)

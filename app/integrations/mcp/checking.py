"""Arguments against their models, and the models as JSON schemas that are short (pure): models read all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from app.integrations.mcp.asking import Fault, Refused

A = TypeVar("A", bound=BaseModel)
_FAULTS_NAMED: Final = 20
"""A call may be wrong in a million places; an answer names so many of them."""


def checked(takes: type[A], given: Mapping[str, Any]) -> A:
    """The arguments as the tool takes them.

    Raises:
        Refused: names every argument that is missing, unknown or wrong.
    """
    try:
        return takes.model_validate(given)
    except ValidationError as error:
        problems = error.errors(include_url=False)[:_FAULTS_NAMED]
        faults = dict.fromkeys(Fault(str(p["loc"][0]), _said(p, takes)) for p in problems)
        raise refusal("invalid_input", tuple(faults)) from None


def renamed(refused: Refused, names: Mapping[str, str]) -> Refused:
    """The refusal in a tool's own words, where it calls a field of the API by another name."""
    faults = tuple(Fault(names.get(fault.field, fault.field), fault.problem) for fault in refused.faults)
    return refused if faults == refused.faults else refusal(refused.kind, faults)


def refusal(kind: str, faults: tuple[Fault, ...]) -> Refused:
    return Refused(kind, "; ".join(f"{fault.field}: {fault.problem}" for fault in faults), faults)


def _said(problem: ErrorDetails, takes: type[BaseModel]) -> str:
    match problem["type"]:
        case "missing":
            return "must be given"
        case "extra_forbidden":
            return f"is not an argument of this tool; known are {', '.join(takes.model_fields)}"
        case _:
            return problem["msg"]


def argument_schema(takes: type[BaseModel]) -> dict[str, Any]:
    """The schema of arguments. One that may be left out need not be null as well: more clients understand that."""
    schema = result_schema(takes)
    return schema | {"properties": {name: _given(value) for name, value in schema["properties"].items()}}


def result_schema(answers: type[BaseModel]) -> dict[str, Any]:
    schema: dict[str, Any] = _untitled(answers.model_json_schema())
    return schema


def _untitled(schema: Any) -> Any:
    """Titles only repeat the names of fields."""
    match schema:
        case dict():
            return {key: _untitled(value) for key, value in schema.items() if not (key == "title" and isinstance(value, str))}
        case list():
            return [_untitled(item) for item in schema]
        case _:
            return schema


def _given(schema: dict[str, Any]) -> dict[str, Any]:
    if schema.get("default", ...) is not None:
        return schema
    choices = [choice for choice in schema["anyOf"] if choice != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key not in {"anyOf", "default"}}
    return {**(choices[0] if len(choices) == 1 else {"anyOf": choices}), **rest}

"""Versions on the wire: `ETag` on answers, `If-Match` and `If-None-Match` on requests (RFC 9110 §13)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Final, Protocol, TypeVar, cast

from fastapi import Depends, Header, Response

from app.errors import InvalidInput

_TAG: Final = re.compile(r'(?P<weak>W/)?"(?P<opaque>[\x21\x23-\x7e]*)"')
_TAGS: Final = re.compile(rf"{_TAG.pattern}(?:\s*,\s*{_TAG.pattern})*".replace("?P<weak>", "").replace("?P<opaque>", ""))
_NO_VERSION: Final = -1
"""What an entity tag stands for that no record of ours can have."""


class Versioned(Protocol):
    """What is shown with a version."""

    version: int


Shown = TypeVar("Shown", bound=Versioned)


@dataclass(frozen=True, slots=True)
class Precondition:
    """What `If-Match` asks for: one version, or with `*` any that exists, or nothing."""

    version: int | None = None
    must_exist: bool = False


def etag(version: int) -> str:
    return f'"{version}"'


def tag(response: Response, version: int) -> None:
    """Say in the answer's `ETag` which version it shows."""
    response.headers["ETag"] = etag(version)


async def _if_match(
    value: Annotated[
        str | None,
        Header(alias="If-Match", description="The `ETag` that the record must still have, or `*`", max_length=255),
    ] = None,
) -> Precondition:
    """Compared strongly: a weak tag, or one that no version of ours looks like, matches nothing.

    Raises:
        InvalidInput: neither `*` nor one entity tag.
    """
    if value is None:
        return Precondition()
    if value.strip() == "*":
        return Precondition(must_exist=True)
    match = _TAG.fullmatch(value.strip())
    if match is None:
        raise InvalidInput("If-Match", 'must be * or one entity tag, such as "3"')
    return Precondition(_NO_VERSION if match["weak"] else _version(match["opaque"]))


async def _if_none_match(
    value: Annotated[
        str | None,
        Header(alias="If-None-Match", description="An `ETag`, or several, for which 304 is enough; or `*`", max_length=4096),
    ] = None,
) -> frozenset[int] | None:
    """The versions the caller has (compared weakly); None when `*` asks for none at all.

    Raises:
        InvalidInput: neither `*` nor a list of entity tags.
    """
    if value is None:
        return frozenset()
    if value.strip() == "*":
        return None
    if _TAGS.fullmatch(value.strip()) is None:
        raise InvalidInput("If-None-Match", 'must be * or entity tags, such as "3", "4"')
    return frozenset(_version(match["opaque"]) for match in _TAG.finditer(value))


def is_known(version: int, held: frozenset[int] | None) -> bool:
    return held is None or version in held


def not_modified(version: int) -> Response:
    return Response(status_code=304, headers={"ETag": etag(version)})


def shown(response: Response, record: Shown, held: frozenset[int] | None) -> Shown:
    """The record with its `ETag`, or 304 for a caller who has this version."""
    if is_known(record.version, held):
        return cast(Shown, not_modified(record.version))  # a response goes out as it is
    tag(response, record.version)
    return record


def _version(opaque: str) -> int:
    return int(opaque) if re.fullmatch("0|[1-9][0-9]{0,17}", opaque) else _NO_VERSION


IfMatch = Annotated[Precondition, Depends(_if_match)]
IfNoneMatch = Annotated[frozenset[int] | None, Depends(_if_none_match)]

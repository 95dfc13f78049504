"""Calls of the HTTP API on behalf of whoever calls a tool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import httpx

from app.records import DEFAULT_NAMESPACE

_STOOD_FOR: Final = str.maketrans({".": "%2E"})
"""A path segment `..` would be resolved by the client before the service sees it."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Who calls, and which memory they mean where they name none. Without a `bearer` the client's own key is sent."""

    bearer: str | None = None
    namespace: str = DEFAULT_NAMESPACE

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.bearer is None else {"Authorization": self.bearer}


@dataclass(frozen=True, slots=True)
class Fault:
    """A field of a call and what is wrong with it."""

    field: str
    problem: str


class Refused(Exception):
    """The call was not carried out. `kind` tells programs why, the text tells the model what to do."""

    def __init__(self, kind: str, detail: str, faults: tuple[Fault, ...] = ()) -> None:
        super().__init__(detail)
        self.kind: Final = kind
        self.faults: Final = faults


_KINDS: Final = {
    400: "invalid_input",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    409: "conflict",
    412: "conflict",
    413: "invalid_input",
    422: "invalid_input",
    503: "unavailable",
}


@dataclass(frozen=True, slots=True)
class Api:
    """The HTTP API, in this process or elsewhere."""

    http: httpx.AsyncClient

    async def ask(
        self, connection: Connection, method: str, path: str, *,
        body: Mapping[str, Any] | None = None, params: Mapping[str, Any] | None = None, call: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """The answer's JSON object. `call` names the call: made again under the same name, it does nothing more.

        Raises:
            Refused: the service refused, or could not be reached.
        """
        named = {} if call is None else {"Idempotency-Key": call}
        try:
            response = await self.http.request(method, path, json=body, params=_given(params), headers=connection.headers | named)
        except httpx.TransportError as error:
            raise Refused("unavailable", f"the memory service does not answer: {error or type(error).__name__}") from error
        if response.is_error:
            raise _refusal(response)
        answer: dict[str, Any] = response.json()
        return answer


def segment(value: str) -> str:
    """A value as one segment of a path.

    Raises:
        Refused: it holds a slash, with which no path of the API can address it.
    """
    if "/" in value:
        raise Refused("invalid_input", "session_id: must not contain /", (Fault("session_id", "must not contain /"),))
    return quote(value, safe="").translate(_STOOD_FOR)


def _given(params: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (params or {}).items() if value is not None}


def _refusal(response: httpx.Response) -> Refused:
    kind = _KINDS.get(response.status_code, "internal")
    try:
        problem = response.json()
        faults = tuple(Fault(e["field"], e["problem"]) for e in problem["errors"])
        return Refused(kind, str(problem["detail"]), faults)
    except (ValueError, TypeError, KeyError):  # not ours: a proxy's page, say
        return Refused(kind, f"the memory service answered with HTTP {response.status_code}")

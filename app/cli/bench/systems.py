"""What is compared: ways to rank, each written as what it adds to the body of `POST /v1/search`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.errors import InvalidInput
from app.records import Json

_NO_BOOSTS: Final[Json] = {"author": 0.0, "date": 0.0, "session": 0.0, "assistant": 0.0}
_PLAIN: Final[Json] = {**_NO_BOOSTS, "names_out": False}

DEFAULT: Final = "default"
BODIES: Final[Mapping[str, Json]] = {
    "bm25": {"mode": "sparse", "ranking": _NO_BOOSTS},
    "dense": {"mode": "dense", "ranking": _PLAIN},
    "rrf60": {"ranking": {"fusion": "rrf", "rrf_k": 60, **_PLAIN}},
    "rrf5": {"ranking": {"fusion": "rrf", "rrf_k": 5, **_PLAIN}},
    "linear": {"ranking": {"fusion": "linear", **_PLAIN}},
    DEFAULT: {},
    "default-author": {"ranking": {"author": 0.0}},
    "default-date": {"ranking": {"date": 0.0}},
    "default-session": {"ranking": {"session": 0.0}},
    "default-assistant": {"ranking": {"assistant": 0.0}},
    "default-names": {"ranking": {"names_out": False}},
}
COMPARED: Final = ("bm25", "dense", "rrf60", "linear", DEFAULT)
ABLATED: Final = (DEFAULT, "default-author", "default-date", "default-session", "default-assistant", "default-names")
"""The default, and the default with one of its terms switched off."""


@dataclass(frozen=True, slots=True)
class System:
    """A way to rank; `body` are the fields of a search that make it differ from the default."""

    name: str
    body: Json


def systems_of(given: Iterable[str], *, ablation: bool) -> tuple[System, ...]:
    """The systems meant, each once, in order; those of the ablation are added, and without any, the usual comparison.

    What is given is a known name, or `name={…}` with the fields of a search.

    Raises:
        InvalidInput: a name is not known, or its fields are not a JSON object.
    """
    systems = {system.name: system for system in map(_system, given)}
    for name in ABLATED if ablation else () if systems else COMPARED:
        systems.setdefault(name, System(name, BODIES[name]))
    return tuple(systems.values())


def _system(given: str) -> System:
    name, separator, fields = given.partition("=")
    if separator:
        return System(name, _body(name, fields))
    if name not in BODIES:
        raise InvalidInput("--system", f"{name!r} is none of {', '.join(BODIES)}, nor NAME={{…}} with the fields of a search")
    return System(name, BODIES[name])


def _body(name: str, fields: str) -> Json:
    try:
        body: Any = json.loads(fields)
    except ValueError as error:
        raise InvalidInput("--system", f"what follows {name}= must be JSON: {error}") from error
    if not name or not isinstance(body, dict):
        raise InvalidInput("--system", 'must look like NAME={"ranking": {"author": 0.2}}')
    return body

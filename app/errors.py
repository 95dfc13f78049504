"""Every error this project raises on purpose.

    HybridMemoryError
    ├── InvalidInput              a field breaks a stated limit                      422
    ├── NotFound                  no such record in the caller's namespace           404
    ├── Conflict                  the id is taken by other content                   409
    │   ├── IdTaken               by a message with other content in this session    409
    │   ├── StillRunning          a call with this key is being carried out          409
    │   └── VersionMismatch       the record is not at the version the caller read   412
    ├── AccessError
    │   ├── Unauthenticated       no key, or one that is not known                   401
    │   └── Forbidden             the key does not cover this scope or namespace     403
    ├── TierUnavailable           an engine could not be reached; may be repeated    503
    │   └── EngineRefused         it is there, but full, busy or locked              503
    ├── EmbedderUnavailable       no embedding provider answered; may be repeated    503
    ├── Unreadable                what is stored is damaged, or over a limit         500
    │   └── NewerRelease          a newer release wrote it and can read it           503
    ├── DimensionMismatch         vectors of another size than the space holds       500
    ├── UnexpectedAnswer          a service answered what its client does not know   502
    │   └── IncompatibleVersion   it speaks another version of the API               502
    └── StartupError
        ├── ConfigurationError    the settings contradict themselves
        └── DataDirectoryInUse    another process owns the data directory

A class exists because someone catches it or a door maps it to a status. Attributes carry the facts, the
message says what to do next.
"""

from __future__ import annotations

from typing import Any, Final


class HybridMemoryError(Exception):
    """The root of the tree; catching it catches everything raised here on purpose."""

    @property
    def facts(self) -> dict[str, Any]:
        """Its attributes: what a client needs to raise the same error again."""
        return dict(vars(self))


def problem_type(kind: type[HybridMemoryError]) -> str:
    """The URI by which problem documents (RFC 9457) name this class."""
    return f"urn:hybrid-memory:problem:{kind.__name__}"


class InvalidInput(HybridMemoryError):
    """A field breaks a stated limit. `field` is its path (`messages[3].content`), `problem` names the limit."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field: Final = field
        self.problem: Final = problem


class NotFound(HybridMemoryError):
    """No such record in the caller's namespace; says nothing about other namespaces."""

    def __init__(self, kind: str, key: str) -> None:
        super().__init__(f"no {kind} {key!r} in this namespace")
        self.kind: Final = kind
        self.key: Final = key


class Conflict(HybridMemoryError):
    """The id, the key or the version is not free for what the caller wants to do with it."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field: Final = field
        self.problem: Final = problem


class IdTaken(Conflict):
    """A message's id is taken by other content; `position` is its place among the messages that were given."""

    def __init__(self, position: int) -> None:
        super().__init__(f"messages[{position}].id", "is taken by a message with other content in this session")
        self.position: Final = position


class StillRunning(Conflict):
    """A call with the same key is being carried out right now; repeated a moment later, this one gets its answer."""

    def __init__(self, field: str) -> None:
        super().__init__(field, "names a call that is still being carried out: repeat it in a moment")


class VersionMismatch(Conflict):
    """The record changed since the caller read it: it is at version `current` by now (0: it does not exist)."""

    def __init__(self, kind: str, current: int) -> None:
        super().__init__("version", f"the {kind} is at version {current}: read it again and decide anew")
        self.kind: Final = kind
        self.current: Final = current


class AccessError(HybridMemoryError):
    """The caller may not do this."""


class Unauthenticated(AccessError):
    """No key was given, or one that is not known."""


class Forbidden(AccessError):
    """The key is known, but does not cover this scope or this namespace."""


class TierUnavailable(HybridMemoryError):
    """An engine could not be reached in time. Nothing half-written; the call may be repeated."""

    def __init__(self, tier: str, problem: str) -> None:
        super().__init__(f"{tier} tier unavailable: {problem}")
        self.tier: Final = tier
        self.problem: Final = problem


class EngineRefused(TierUnavailable):
    """The engine is there and would not do it: full, read-only, locked, out of connections or of time.

    For a caller the same as an engine that is away; no reason for a breaker to leave it alone.
    """


class EmbedderUnavailable(HybridMemoryError):
    """No embedding provider answered; the call may be repeated."""

    def __init__(self, provider: str, problem: str) -> None:
        super().__init__(f"embedding provider {provider} unavailable: {problem}")
        self.provider: Final = provider
        self.problem: Final = problem


class Unreadable(HybridMemoryError):
    """A stored record cannot be read: damaged, or over a limit. Repeating the call does not help."""

    def __init__(self, kind: str, key: str, problem: str) -> None:
        super().__init__(f"{kind} {key}: {problem}")
        self.kind: Final = kind
        self.key: Final = key
        self.problem: Final = problem


class NewerRelease(Unreadable):
    """A newer release wrote what is stored here; an instance of that release can read it."""


class DimensionMismatch(HybridMemoryError):
    """Vectors of another size than the embedding space holds."""

    def __init__(self, expected: int, got: int) -> None:
        super().__init__(f"expected vectors of dimension {expected}, got {got}")
        self.expected: Final = expected
        self.got: Final = got


class UnexpectedAnswer(HybridMemoryError):
    """A client met an answer that no service of its version gives: a proxy's, perhaps. Whether the call was done is unknown."""


class IncompatibleVersion(UnexpectedAnswer):
    """The service speaks another version of the API than the client; the message names both."""


class StartupError(HybridMemoryError):
    """The service cannot start; the message says what to change."""


class ConfigurationError(StartupError):
    """The settings contradict themselves or what is installed."""


class DataDirectoryInUse(StartupError):
    """Another process owns the data directory; `pid` is its id, if that is known, and `address` where it answers over HTTP."""

    def __init__(self, data_dir: str, owner: str, address: str | None = None, pid: int | None = None) -> None:
        super().__init__(f"{data_dir} is in use by {owner}")
        self.data_dir: Final = data_dir
        self.owner: Final = owner
        self.address: Final = address
        self.pid: Final = pid

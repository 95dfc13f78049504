"""The connection to PostgreSQL: the pool, the one place where driver errors become ours, and a timed session."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar, cast
from uuid import uuid4

import asyncpg
import orjson
from sqlalchemy import URL, Connection, Executable, Row, event, make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError, IntegrityError, SQLAlchemyError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.breakers import BreakerPolicy, Guard
from app.errors import Conflict, EngineRefused, HybridMemoryError, InvalidInput, TierUnavailable
from app.observability import timed
from app.records import Tier, plain_mapping

TIER: Final = Tier.EPISODIC.value
T = TypeVar("T")

_FOREIGN_KEY_VIOLATION: Final = "23503"
_UNIQUE_VIOLATION: Final = "23505"
_DATA_EXCEPTION_CLASS: Final = "22"
_AWAY: Final = ("08", "57P0")
"""How the SQLSTATEs of a server begin that is gone, going or not up yet; no state: there was no server to give one."""
_FAREWELL_SECONDS: Final = 2.0
STATEMENT_DEADLINE: Final = timedelta(seconds=30)

_GUARD: Final = "guard"


class _Connection(asyncpg.Connection):
    """A connection that is given up without keeping anybody waiting.

    SQLAlchemy closes what a cancelled caller leaves behind, and waits for the server's goodbye. A server that hangs says
    none, and the caller has a deadline: so the goodbye, with the request to cancel the statement, goes on alone.
    """

    __slots__ = ("_goodbye",)

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's own parameter
        if timeout is None:  # an orderly end, not that of a caller who was cancelled
            await super().close(timeout=_FAREWELL_SECONDS)
        else:
            self._goodbye = asyncio.create_task(self._close_quietly(timeout))

    async def _close_quietly(self, seconds: float) -> None:
        with suppress(TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await super().close(timeout=seconds)


def create_engine(
    url: str,
    *,
    pool_size: int = 10,
    statement_timeout: timedelta = STATEMENT_DEADLINE,
    lock_timeout: timedelta = timedelta(seconds=10),
    connect_timeout: timedelta = timedelta(seconds=5),
) -> AsyncEngine:
    """A pool of at most `pool_size` connections to `postgresql+asyncpg://…`; connects on first use.

    `?pgbouncer=true` in the URL says that a PgBouncer in transaction mode answers: prepared statements then get
    names of their own and none are kept, and the timeouts are held by the client alone, since PgBouncer refuses
    unknown start-up parameters.
    """
    address = make_url(url)
    is_pgbouncer = address.query.get("pgbouncer") == "true"
    arguments = _through_pgbouncer() if is_pgbouncer else _direct(statement_timeout, lock_timeout)
    engine = create_async_engine(
        _without_flag(address),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=connect_timeout.total_seconds(),
        pool_use_lifo=True,
        hide_parameters=True,  # an error's text may be logged, a memory's may not
        json_serializer=dump_json,
        json_deserializer=load_json,
        # The client waits a little longer than the server, so that the server's own, clearer error wins.
        connect_args={
            "timeout": connect_timeout.total_seconds(),
            "command_timeout": statement_timeout.total_seconds() + 5,
            "connection_class": _Connection,
            **arguments,
        },
    )
    event.listen(engine.sync_engine, "checkout", _replace_if_closed)
    return engine


def guarded(engine: AsyncEngine, policy: BreakerPolicy | None = None) -> tuple[AsyncEngine, Guard]:
    """The same engine with a guard that all its connections pass, and that guard.

    Its ping has a connection of its own: the pool may be empty because of those who wait.
    """
    arguments, options = engine.dialect.create_connect_args(engine.url)
    options = {name: value for name, value in options.items() if not name.startswith("prepared_statement")}
    options["statement_cache_size"] = 0  # a PgBouncer may be what answers

    async def ping() -> None:
        with translated():
            connection = await asyncpg.connect(*arguments, **options)
            try:
                await connection.execute("SELECT 1")
                await connection.close()
            finally:
                connection.terminate()

    guard = Guard(TIER, ping, policy=policy)
    return engine.execution_options(**{_GUARD: guard}), guard


def guard_of(engine: AsyncEngine) -> Guard | None:
    return cast("Guard | None", engine.get_execution_options().get(_GUARD))


def _without_flag(address: URL) -> URL:
    return address.difference_update_query(["pgbouncer"])


def _direct(statement_timeout: timedelta, lock_timeout: timedelta) -> dict[str, Any]:
    return {
        "server_settings": {
            "application_name": "hybrid-memory",
            "statement_timeout": _milliseconds(statement_timeout),
            "lock_timeout": _milliseconds(lock_timeout),
            "idle_in_transaction_session_timeout": _milliseconds(2 * statement_timeout),
            "jit": "off",  # compiling costs more than any of these short statements
            # Tenants and words differ in size and frequency by orders of magnitude: one plan for all suits none.
            "plan_cache_mode": "force_custom_plan",
        }
    }


def _through_pgbouncer() -> dict[str, Any]:
    return {
        "statement_cache_size": 0,
        "prepared_statement_cache_size": 0,
        "prepared_statement_name_func": lambda: f"__hybrid_memory_{uuid4().hex}__",
    }


def _milliseconds(duration: timedelta) -> str:
    return str(round(duration / timedelta(milliseconds=1)))


def _replace_if_closed(connection: Any, _record: object, _proxy: object) -> None:
    """Have the pool replace a connection whose socket is gone; knowing that costs no round trip, a pre-ping would."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError


def dump_json(value: object) -> str:
    """JSON text of `value`, whose mappings may be of any kind and whose integers may be of any size."""
    try:
        return orjson.dumps(value, default=plain_mapping).decode()
    except TypeError:  # orjson stops at 64-bit integers; PostgreSQL's numeric does not
        return json.dumps(value, default=plain_mapping)


MAX_JSON_CHARACTERS: Final = 16_777_216
"""A document larger than this was not written by us: no request may be as large."""


@dataclass(frozen=True, slots=True)
class UnreadJson:
    """Stands in a row for a document that was not parsed, so that the other rows can be read."""

    problem: str


def load_json(text: str) -> object:
    """The JSON value; an `UnreadJson` for what is too large to be parsed, or nested too deep."""
    if len(text) > MAX_JSON_CHARACTERS:
        return UnreadJson(f"{len(text)} characters of JSON, this release reads up to {MAX_JSON_CHARACTERS}")
    try:
        return orjson.loads(text)
    except ValueError as error:
        return UnreadJson(f"no JSON that can be read: {error}")


@contextmanager
def translated() -> Iterator[None]:
    """Raise this project's errors in place of the driver's.

    Raises:
        Conflict: an id, a sequence or a parent record is not as the caller believed.
        InvalidInput: a value that the tables refuse; it should have been refused at the door.
        TierUnavailable: anything else; the transaction is gone and may be repeated.
    """
    try:
        yield
    # What is refused for its value is raised `from None`: the driver quotes the value, and tracebacks are logged.
    except IntegrityError as exc:
        raise _refusal(exc) from None
    except DBAPIError as exc:
        failure = _failure(exc)
        raise failure from (exc if isinstance(failure, TierUnavailable) else None)
    except StatementError as exc:
        raise InvalidInput("value", f"cannot be stored: {type(exc.orig).__name__}") from None
    except PoolTimeoutError as exc:
        raise EngineRefused(TIER, "all connections are in use") from exc
    except (SQLAlchemyError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
        raise TierUnavailable(TIER, _first_line(exc)) from exc


def _refusal(exc: IntegrityError) -> HybridMemoryError:
    state = getattr(exc.orig, "sqlstate", None)
    constraint = str(getattr(_driver_error(exc), "constraint_name", None) or "value")
    if state in {_UNIQUE_VIOLATION, _FOREIGN_KEY_VIOLATION}:
        return Conflict(constraint, "the record changed meanwhile; read it again")
    return InvalidInput(constraint, "outside what the table allows")


def _failure(exc: DBAPIError) -> HybridMemoryError:
    driver_error = _driver_error(exc)
    state = str(getattr(driver_error, "sqlstate", None) or "")
    if isinstance(driver_error, ValueError) or state.startswith(_DATA_EXCEPTION_CLASS):
        return InvalidInput("value", f"cannot be stored: {type(driver_error).__name__}")
    kind = TierUnavailable if not state or state.startswith(_AWAY) else EngineRefused
    return kind(TIER, f"{_first_line(driver_error)} {state}".strip())


def _driver_error(exc: DBAPIError) -> BaseException:
    """asyncpg's own exception, which SQLAlchemy wraps twice."""
    adapted = exc.orig or exc
    return adapted.__cause__ or adapted


def _first_line(exc: BaseException) -> str:
    return (str(exc).splitlines() or [""])[0] or type(exc).__name__


class Session:
    """One connection, on which every statement passes the guard, is timed, and has its errors translated."""

    def __init__(self, connection: AsyncConnection, guard: Guard | None = None) -> None:
        self._connection = connection
        self._guard = guard

    async def run(self, operation: str, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Sequence[Row[Any]]:
        """Execute one statement; its rows, or none where it returns none. `operation` names it in metrics."""
        async with _calling(self._guard, operation):
            result = await self._connection.execute(statement, parameters)
            return result.all() if result.returns_rows else ()

    async def pages(self, operation: str, statement: Executable, size: int) -> AsyncIterator[Sequence[Row[Any]]]:
        """The rows of one statement, at most `size` at a time: a cursor on the server, memory for one page here."""
        async with _calling(self._guard, operation):
            result = await self._connection.stream(statement)
        while True:
            async with _calling(self._guard, operation):
                page = await result.fetchmany(size)
            if not page:
                return
            yield page

    async def work(self, operation: str, step: Callable[[Connection], T]) -> T:
        """Run something that speaks to a synchronous connection: reflection, migrations."""
        async with _calling(self._guard, operation):
            return await self._connection.run_sync(step)

    async def commit(self) -> None:
        async with _calling(self._guard, "commit"):
            await self._connection.commit()


@asynccontextmanager
async def connected(engine: AsyncEngine) -> AsyncIterator[Session]:
    """A session on a pooled connection; what was not committed when the context ends is rolled back."""
    connection, guard = engine.connect(), guard_of(engine)
    async with _calling(guard, "connect"):
        await connection
    try:
        yield Session(connection, guard)
    finally:
        async with guard.waiting() if guard is not None else nullcontext():
            with translated():
                await connection.__aexit__(None, None, None)  # closes even if this task is being cancelled


@asynccontextmanager
async def _calling(guard: Guard | None, operation: str) -> AsyncIterator[None]:
    async with guard.calling() if guard is not None else nullcontext():
        with timed(TIER, operation), translated():
            yield

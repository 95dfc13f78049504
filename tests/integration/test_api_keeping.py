"""What is kept and what is not, over real HTTP and real engines: outbox, retention, archive, pins, forgetting."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from rich.console import Console
from served import Served, served
from talking import SESSION, append, created, history, pages, said, search

from app.cli import operating
from app.client import MemoryClient
from app.episodic.repository import PostgresRepository
from app.errors import InvalidInput
from app.records import Permission, new_id, utc_now

OUTBOX = "/v1/admin/outbox"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """An open API of this module's own: dead letters are made in it."""
    with served(tmp_path_factory.mktemp("keeping")) as running:
        yield running


def fact(api: Served, namespace: str, **fields: Any) -> dict[str, Any]:
    return created(api.http.post("/v1/knowledge", json={"namespace": namespace, "description": "walnuts", **fields}))


def kill(api: Served, namespace: str) -> list[int]:
    """Make dead letters of all that waits in the namespace; their ids."""

    async def release() -> list[int]:
        episodic = api.installation.service._parts.episodic
        assert isinstance(episodic, PostgresRepository)
        async with episodic.writing() as tx:
            entries = await tx.claim_outbox(100, lease=timedelta(0), now=utc_now())
            mine = [e for e in entries if e.namespace == namespace]
            await tx.release_outbox(mine, error="too long", next_attempt_at=utc_now(), is_dead=True)
        return [e.id for e in mine]

    return api.portal.call(release)


def outbox(http: httpx.Client, **asked: Any) -> dict[str, Any]:
    response = http.get(OUTBOX, params=asked)
    assert response.status_code == 200, response.text
    return dict(response.json())


def test_the_outbox_in_pages_and_by_state(api: Served, namespace: str) -> None:
    """Every entry once, in order; of one state when asked; an impossible wish is refused."""
    facts = [fact(api, namespace)["id"] for _ in range(5)]

    def fetch(after: int | None) -> dict[str, Any]:
        return outbox(api.http, namespace=namespace, limit=2, after=after or 0)

    assert [[e["record_uid"] for e in page] for page in pages(fetch, "entries")] == [facts[:2], facts[2:4], facts[4:]]
    assert outbox(api.http, namespace=namespace, state="dead")["entries"] == []
    kill(api, namespace)
    assert [e["state"] for e in outbox(api.http, namespace=namespace, is_dead=True)["entries"]] == ["dead"] * 5
    assert outbox(api.http, namespace=namespace, is_dead=False)["entries"] == []
    refused = api.http.get(OUTBOX, params={"state": "due", "is_dead": True})
    assert (refused.status_code, refused.json()["detail"]) == (422, "is_dead: contradicts state")


def test_dead_letters_are_retried_and_dropped(api: Served, namespace: str) -> None:
    """Retried ones are due again, dropped ones are gone for good while their record stays; no dropping without ids."""
    kept, dropped = fact(api, namespace), fact(api, namespace)
    first, second = kill(api, namespace)
    assert api.http.post(f"{OUTBOX}/drop", json={"ids": [second]}).json() == {"dropped": 1}
    assert api.http.post(f"{OUTBOX}/drop", json={"ids": [second]}).json() == {"dropped": 0}
    assert api.http.post(f"{OUTBOX}/retry", json={"ids": [first], "namespace": namespace}).json() == {"retried": 1}
    assert [e["record_uid"] for e in outbox(api.http, namespace=namespace)["entries"]] == [kept["id"]]
    assert api.http.get(f"/v1/knowledge/{dropped['id']}", params={"namespace": namespace}).status_code == 200
    assert api.http.post(f"{OUTBOX}/drop", json={}).status_code == 422


def test_a_key_sees_the_dead_letters_of_its_namespaces_only(guarded_api: Served, namespace: str) -> None:
    """A key bound to a namespace neither lists, retries nor drops what is in another."""
    owner = {"Authorization": f"Bearer {guarded_api.make_key(*Permission)[1]}"}
    bound = {"Authorization": f"Bearer {guarded_api.make_key(*Permission, namespaces=[namespace])[1]}"}
    for name in (namespace, "elsewhere"):
        guarded_api.http.post("/v1/knowledge", json={"namespace": name, "description": "x"}, headers=owner)
    (theirs,) = kill(guarded_api, "elsewhere")
    (mine,) = kill(guarded_api, namespace)
    listed = guarded_api.http.get(OUTBOX, params={"namespace": namespace}, headers=bound).json()["entries"]
    assert [e["id"] for e in listed] == [mine]
    assert guarded_api.http.get(OUTBOX, headers=bound).status_code == 403
    asked = {"ids": [mine, theirs], "namespace": namespace}
    assert guarded_api.http.post(f"{OUTBOX}/retry", json=asked, headers=bound).json() == {"retried": 1}
    kill(guarded_api, namespace)
    assert guarded_api.http.post(f"{OUTBOX}/drop", json=asked, headers=bound).json() == {"dropped": 1}
    assert guarded_api.http.post(f"{OUTBOX}/drop", json={"ids": [theirs]}, headers=bound).status_code == 403
    assert guarded_api.http.post(f"{OUTBOX}/drop", json={"ids": [theirs]}, headers=owner).json() == {"dropped": 1}


def test_retention_is_off_until_it_is_asked_for(api: Served, namespace: str) -> None:
    """With the defaults an episode of another century stays in sight, dry run or not."""
    old = {"namespace": namespace, "summary": "long ago", "ended_at": "1999-01-01T00:00:00Z", "pinned": True}
    episode = created(api.http.post("/v1/episodes", json=old))
    assert (episode["pinned"], episode["archived_at"]) == (True, None)
    for dry_run in (True, False):
        answer = api.http.post("/v1/admin/retention", json={"dry_run": dry_run}).json()
        assert (answer["dry_run"], answer["errors"]) == (dry_run, [])
        assert {what: n for what, n in answer["counts"].items() if "episodes" in what} == {
            "episodes_archived": 0, "episodes_deleted": 0,
        }  # fmt: skip
    listed = api.http.get("/v1/episodes", params={"namespace": namespace}).json()["episodes"]
    assert [e["id"] for e in listed] == [episode["id"]]


def test_the_archive_is_read_and_listed_but_not_searched(api: Served, namespace: str) -> None:
    """An archived episode is answered by id and with `archived=true`, and no search finds it any more."""
    body = {"namespace": namespace, "summary": "we bought walnuts", "ended_at": "1999-01-01T00:00:00Z"}
    episode = created(api.http.post("/v1/episodes", json=body))
    api.http.post("/v1/admin/consolidate")
    assert len(search(api, namespace, "walnuts")["hits"]) == 1

    async def archive() -> None:
        async with api.installation.service._parts.episodic.writing() as tx:
            await tx.archive_episodes(utc_now() - timedelta(days=9000), at=utc_now(), limit=1000)

    api.portal.call(archive)
    api.http.post("/v1/admin/consolidate")
    assert search(api, namespace, "walnuts")["hits"] == []
    params = {"namespace": namespace}
    assert api.http.get("/v1/episodes", params=params).json()["episodes"] == []
    (listed,) = api.http.get("/v1/episodes", params={**params, "archived": True}).json()["episodes"]
    in_full = api.http.get(f"/v1/episodes/{episode['id']}", params=params).json()
    assert listed == {field: in_full[field] for field in listed}
    assert listed["archived_at"] is not None


@pytest.mark.parametrize("wait", ["none", "indexed"])
def test_a_user_is_forgotten_everywhere(api: Served, namespace: str, wait: str) -> None:
    """Of a shared session the other's messages stay; the receipt says what went where, and that nothing is left."""
    created(append(api, namespace, [said("my secret plan")], wait=wait, user_id="ana"))
    created(append(api, namespace, [said("a public plan")], wait=wait, user_id="ben"))
    receipt = api.http.post("/v1/admin/forget", json={"namespace": namespace, "user_id": "ana"}).json()
    stored = {"message": 1} if wait == "indexed" else {}
    points = {"point": 1} if wait == "indexed" else {}
    assert receipt == {
        "removed": {**stored, "buffered": 1}, "remaining": 0, "pending": [], "degraded": [],
        "tiers": {
            "working": {"removed": {"message": 1}, "remaining": 0},
            "episodic": {"removed": stored, "remaining": 0},
            "semantic": {"removed": points, "remaining": 0},
        },
    }  # fmt: skip
    api.http.post("/v1/admin/consolidate")
    assert [m["content"] for m in history(api, namespace)["messages"]] == ["a public plan"]
    assert {hit["text"] for hit in search(api, namespace, "plan", kinds=["message"])["hits"]} == {"a public plan"}


def test_records_are_forgotten_by_name(api: Served, namespace: str) -> None:
    """A message and a fact by id; ids of nobody, or of another namespace, count for nothing."""
    mine, kept, theirs = said("my plan"), said("kept plan"), fact(api, f"{namespace}-rival")
    known = fact(api, namespace)
    created(append(api, namespace, [mine, kept], wait="indexed"))
    body = {
        "namespace": namespace, "session_id": "s1", "message_ids": [mine["id"]],
        "knowledge_ids": [known["id"], theirs["id"], str(new_id())],
    }  # fmt: skip
    receipt = api.http.post("/v1/admin/forget", json=body).json()
    assert (receipt["removed"], receipt["remaining"]) == ({"message": 1, "knowledge": 1, "buffered": 1}, 0)
    assert [m["content"] for m in history(api, namespace)["messages"]] == ["kept plan"]
    rival = {"namespace": f"{namespace}-rival"}
    assert api.http.get(f"/v1/knowledge/{theirs['id']}", params=rival).status_code == 200


async def test_the_commands_say_what_the_service_did(api: Served, namespace: str) -> None:
    """What waits and what became of it, in words, for the operator at a terminal."""
    fact(api, namespace)
    (dead,) = kill(api, namespace)
    console = Console(width=80, file=io.StringIO(), record=True)

    def service() -> MemoryClient:
        return MemoryClient(api.url)

    await operating.list_outbox(service(), {"state": "dead", "namespace": namespace}, console)
    await operating.retry_dead_letters(service(), None, namespace, console)
    await operating.list_outbox(service(), {"state": "dead", "namespace": namespace}, console)
    kill(api, namespace)
    await operating.drop_dead_letters(service(), [dead], None, console)
    await operating.retain(service(), console, dry_run=True)
    shown = console.export_text()
    assert "too long" in shown
    said_so = [line.strip() for line in shown.splitlines() if line.strip()]
    assert said_so[-8:-5] == ["1 made due again", "nothing waits", "1 dropped"]
    assert said_so[-5].split()[:3] == ["would", "be", "sessions"]


async def test_the_commands_name_what_is_no_dead_letter(api: Served, namespace: str) -> None:
    """An id of nothing, of an entry that is not dead, or of another namespace: the command fails, and did the rest."""
    fact(api, namespace)
    fact(api, namespace)
    first, second = kill(api, namespace)
    written = io.StringIO()
    console, nobody = Console(file=written, width=80), 2**62
    with pytest.raises(InvalidInput, match=rf"^{nobody}: names no dead letter: `hybrid-memory outbox list` shows what waits$"):
        await operating.retry_dead_letters(MemoryClient(api.url), [first, nobody, first], None, console)
    with pytest.raises(InvalidInput, match=f"^{first}, {nobody}: name no dead letters: "):
        await operating.drop_dead_letters(MemoryClient(api.url), [first, nobody], None, console)
    with pytest.raises(InvalidInput, match=f"^{second}: names no dead letter in elsewhere: "):
        await operating.drop_dead_letters(MemoryClient(api.url), [second], "elsewhere", console)
    await operating.retry_dead_letters(MemoryClient(api.url), [second], namespace, console)
    await operating.retry_dead_letters(MemoryClient(api.url), [], namespace, console)
    assert written.getvalue().splitlines() == [
        "1 made due again", "0 dropped", "0 dropped", "1 made due again", "0 made due again",
    ]  # fmt: skip


REFUSED = [
    ({"message_ids": [str(new_id())]}, "session_id: must be given with message_ids"),
    ({"knowledge_ids": []}, "ids: must be between 1 and 1000, is 0"),
    ({"knowledge_ids": [str(new_id())], "user_id": "ana"}, "user_id: cannot be given with ids of records"),
    ({"user_id": " "}, "user_id: must not be blank"),
]


@pytest.mark.parametrize(("fields", "problem"), REFUSED)
def test_a_forget_that_is_not_clear_is_refused(api: Served, namespace: str, fields: dict[str, Any], problem: str) -> None:
    """Nothing is removed by a call that names ids and none, or an owner beside ids."""
    created(append(api, namespace, [said("kept")]))
    refused = api.http.post("/v1/admin/forget", json={"namespace": namespace, **fields})
    assert (refused.status_code, refused.json()["detail"]) == (422, problem)
    assert api.http.get(f"{SESSION}/messages", params={"namespace": namespace}).json()["messages"] != []

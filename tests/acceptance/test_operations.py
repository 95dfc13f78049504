"""docs/operations.md keeps its word: every alert and metric has its entry, and its recipes work."""

from __future__ import annotations

import re
import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from prometheus_client import Counter, Gauge, Histogram
from snippets import ROOT, Page, Snippet, run

from app import observability
from app.cli.child import served
from app.client import MemoryClient

MANUAL: Final = Page(ROOT / "docs" / "operations.md")
SITE_PACKAGES: Final = sysconfig.get_path("platlib")
TOLD: Final = [{"role": "user", "name": "Ana", "content": f"Miso sees the vet on day {day}."} for day in range(1, 6)]
QUESTION: Final = "On which day does Miso see the vet?"


def recipe(section: str) -> Snippet:
    """The one snippet of a section, for the environment of the tests instead of `.venv`."""
    (snippet,) = MANUAL.snippets(section, "sh")
    return Snippet("sh", snippet.code.replace(".venv/lib/python3*/site-packages", SITE_PACKAGES))


def settings(data_dir: Path) -> dict[str, str]:
    return {
        "MEMORY_DATA_DIR": str(data_dir),
        "MEMORY_EMBEDDER": "hashing",
        "MEMORY_CONSOLIDATION_INTERVAL_SECONDS": "86400",
    }


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where somebody stands who types the recipes: `.hybrid-memory` is here."""
    return tmp_path


async def tell(address: str) -> None:
    async with MemoryClient(address) as memory:
        await memory.append("kitchen", TOLD, wait="indexed")


async def look(address: str) -> dict[str, Any]:
    """What the service holds, without what varies."""
    async with MemoryClient(address) as memory:
        status, history = await memory.status(), await memory.history("kitchen")
        found = await memory.search(QUESTION, limit=10)
    return {
        "records": (status.records or {})["message"],
        "points": status.indexed_points,
        "history": [message.content for message in history.items],
        "found": sorted((hit.tier.value, hit.text) for hit in found.hits),
    }


SAID: Final = [message["content"] for message in TOLD]
WHOLE: Final = {"records": 5, "points": 5, "history": SAID, "found": [("semantic", text) for text in SAID]}


def test_every_alert_has_an_entry() -> None:
    """Whoever is paged finds the alert's name as a heading, and no heading of an alert that is gone."""
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yml").read_text(encoding="utf-8"))
    alerts = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    assert re.findall(r"^### (\w+)$", MANUAL.sections["Alerts"], re.MULTILINE) == alerts


def test_every_metric_is_explained() -> None:
    """The table and the code name the same metrics, as Prometheus spells them."""
    assert sorted(re.findall(r"`(memory_\w+)`", MANUAL.sections["Metrics"])) == sorted(_metrics())


def _metrics() -> Iterator[str]:
    for metric in vars(observability).values():
        if isinstance(metric, Counter | Gauge | Histogram):
            (family,) = metric.describe()
            yield f"{family.name}_total" if isinstance(metric, Counter) else family.name


def steps(section: str) -> list[Snippet]:
    """The commands of a recipe, one by one."""
    return [Snippet("sh", line) for line in recipe(section).code.splitlines()]


async def test_a_backup_is_a_memory_of_its_own(home: Path) -> None:
    """Made beside a running service and restored into an empty directory, it holds all there was, index and all."""
    backup, restore = steps("Backups")
    async with served(**settings(home / ".hybrid-memory")) as address:
        await tell(address)
        await run(backup, home, settings(home / ".hybrid-memory"))
    await run(restore, home, settings(home / "restored"))
    await run(Snippet("sh", "hybrid-memory consolidate"), home, settings(home / "restored"))
    async with served(**settings(home / "restored")) as address:
        assert await look(address) == WHOLE


@pytest.mark.slow
async def test_a_lost_index_is_rebuilt(home: Path) -> None:
    """Without the directory of the index nothing is found, and after the recipe everything is."""
    async with served(**settings(home / ".hybrid-memory")) as address:
        await tell(address)
    shutil.rmtree(home / ".hybrid-memory" / "qdrant")
    async with served(**settings(home / ".hybrid-memory")) as address:
        assert await look(address) == WHOLE | {"points": 0, "found": []}
        await run(recipe("Rebuilding the index"), home, settings(home / ".hybrid-memory"))
        assert await look(address) == WHOLE


@pytest.mark.slow
async def test_an_embedded_memory_moves_to_a_server(home: Path, empty_database_url: str, redis_url: str) -> None:
    """What an embedded memory knows is on the server after the commands of the recipe, and found once it is indexed."""
    async with served(**settings(home / ".hybrid-memory")) as address:
        await tell(address)
        await run(Snippet("sh", "hybrid-memory backup all.backup"), home, settings(home / ".hybrid-memory"))
    moved = settings(home / "moved") | {"MEMORY_POSTGRES_URL": empty_database_url, "MEMORY_REDIS_URL": redis_url}
    for command in ("migrate", "restore all.backup", "consolidate"):
        await run(Snippet("sh", f"hybrid-memory {command}"), home, moved)
    async with served(**moved) as address:
        assert await look(address) == WHOLE

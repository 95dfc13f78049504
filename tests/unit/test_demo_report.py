"""What the demo makes of answers: ranks, ticks and the count at the end."""

from __future__ import annotations

from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from app.cli.demo import Asked, answer_grid, rank_of, settings_of, summary
from app.records import Hit, Recollection, RecordKind, Scope, Tier, new_id
from app.settings import EmbedderChoice, Settings


def _hit(turn: str) -> Hit:
    return Hit(
        new_id(), RecordKind.MESSAGE, f"said in {turn}", 1.25, {"dense": 1.25}, Tier.SEMANTIC, Scope("demo"),
        datetime(2026, 3, 7, tzinfo=UTC), {"turn": turn}, role="user", author="Mara",
    )  # fmt: skip


def _asked(rank: int | None, *, degraded: tuple[str, ...] = ()) -> Asked:
    return Asked("Where?", Recollection((_hit("a"),), degraded), rank)


@pytest.mark.parametrize(("gold", "rank"), [(("a",), 1), (("c", "b"), 2), (("z",), None)])
def test_the_rank_is_that_of_the_first_gold_turn(gold: tuple[str, ...], rank: int | None) -> None:
    """Ranks count from 1; there is none when no gold turn came back."""
    assert rank_of(gold, [_hit("a"), _hit("b"), _hit("c")]) == rank


def test_questions_are_counted_by_rank() -> None:
    """A question found second is among the top three and not first; one not found is neither."""
    counted = summary([_asked(1), _asked(3), _asked(None)])
    assert counted == "1 of 3 questions found their sentence at rank 1, 2 of 3 in the top 10."


@pytest.mark.parametrize(("rank", "mark"), [(1, "✓"), (2, "2"), (None, "✗")])
def test_an_answer_shows_where_it_comes_from(rank: int | None, mark: str) -> None:
    """The question with its mark, then the first hit's sentence, author, date, tier and score."""
    assert _printed(_asked(rank)) == [
        f"{mark} Where?",
        "“said in a”",
        "Mara, 7 Mar 2026 · semantic tier · score 1.25",
    ]


def test_a_tier_that_did_not_answer_is_named() -> None:
    """A worse answer is not passed off as the whole one."""
    assert _printed(_asked(1, degraded=("embedder",)))[-1] == "did not answer: embedder"


def test_the_demo_keeps_to_itself_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines are embedded and the model is local, also where servers and Ollama are configured."""
    monkeypatch.setenv("MEMORY_REDIS_URL", "redis://production")
    monkeypatch.setenv("MEMORY_OLLAMA_SUMMARY_MODEL", "llama")
    settings = settings_of(Path("elsewhere"))
    assert isinstance(settings, Settings)
    assert (settings.redis_url, settings.postgres_url, settings.qdrant_url) == (None, None, None)
    assert (settings.embedder, settings.ollama_summary_model) == (EmbedderChoice.LOCAL, None)
    assert settings.data_dir == Path("elsewhere")


def _printed(asked: Asked) -> list[str]:
    console = Console(file=StringIO(), width=80)
    console.print(answer_grid(asked))
    printed: str = console.file.getvalue()  # type: ignore[attr-defined] # a Console's file is typed as IO, this one is ours
    return [line.strip() for line in printed.splitlines() if line.strip()]

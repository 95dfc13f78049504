"""What the benchmark finds out before it starts anything."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from gold_files import TINY_LOCOMO

from app.cli.bench.plot import draw_curves
from app.cli.bench.run import BenchPlan, Outputs, conversations_of
from app.errors import ConfigurationError, InvalidInput
from app.gold.locomo import load_locomo

PLAN = BenchPlan(TINY_LOCOMO, load_locomo, ())


def asked(plan: BenchPlan) -> list[str]:
    return [question.id for conversation in conversations_of(plan) for question in conversation.questions]


def test_questions_are_chosen_by_category_and_number() -> None:
    """A limit counts what is left of a conversation when other categories are out."""
    assert asked(PLAN) == ["tiny/q0", "tiny/q1", "tiny/q3", "tiny/q4"]
    assert asked(replace(PLAN, categories=("temporal", "single-hop"))) == ["tiny/q1", "tiny/q3"]
    assert asked(replace(PLAN, categories=("temporal", "single-hop"), questions=1)) == ["tiny/q1"]


def test_a_category_that_nothing_has_is_refused() -> None:
    """The refusal says which categories there are."""
    with pytest.raises(InvalidInput, match=r"--category: 'open-domain' .* adversarial, multi-hop, single-hop, temporal"):
        conversations_of(replace(PLAN, categories=("temporal", "open-domain")))


def test_what_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    """Each file is named by its option: a directory that does not exist, a directory itself, a picture of no known kind."""
    for outputs, option in (
        (Outputs(json_file=tmp_path / "no" / "report.json"), "--json"),
        (Outputs(markdown=tmp_path), "--markdown"),
        (Outputs(rankings=tmp_path / "no" / "run.json"), "--export-run"),
        (Outputs(plot=tmp_path / "curve.gif"), "--plot"),
    ):
        with pytest.raises(InvalidInput, match=option):
            outputs.check()
    Outputs(tmp_path / "a.json", tmp_path / "b.svg", tmp_path / "c.md", tmp_path / "d.json").check()


def test_a_plot_without_matplotlib_is_refused_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody measures for minutes to be told what to install."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigurationError, match="pip install matplotlib"):
        Outputs(plot=tmp_path / "curve.svg").check()


@pytest.mark.parametrize(("suffix", "signature"), [(".svg", b"<?xml"), (".png", b"\x89PNG")])
def test_the_same_curves_make_the_same_picture(tmp_path: Path, suffix: str, signature: bytes) -> None:
    """A plot in the repository changes only when its figures do, and says nothing of where it was made."""
    curves = {"bm25": [0.1, 0.2] + [0.3] * 48, "default": [0.2, 0.4] + [0.9] * 48}
    pictures = [tmp_path / f"{name}{suffix}" for name in ("one", "two")]
    for picture in pictures:
        draw_curves(curves, "3 questions", picture)
    first, second = (picture.read_bytes() for picture in pictures)
    assert first == second
    assert first.startswith(signature)
    assert str(tmp_path).encode() not in first

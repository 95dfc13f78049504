"""The systems that are compared, as bodies of a search."""

from __future__ import annotations

import pytest

from app.api.wire.recall import SearchIn
from app.cli.bench.systems import ABLATED, BODIES, COMPARED, System, systems_of
from app.errors import InvalidInput


def test_without_a_name_the_baselines_stand_beside_ours() -> None:
    """Words, meaning, the two fused in the usual way and by score, and the default."""
    assert [system.name for system in systems_of((), ablation=False)] == ["bm25", "dense", "rrf60", "linear", "default"]
    assert set(COMPARED) | set(ABLATED) | {"rrf5"} == set(BODIES)


def test_the_ablation_comes_beside_what_is_asked_for() -> None:
    """The default and each of its terms left out, none of them twice."""
    names = [system.name for system in systems_of(["bm25", "default", "bm25"], ablation=True)]
    assert names == ["bm25", "default", "default-author", "default-date", "default-session", "default-assistant", "default-names"]
    assert [system.name for system in systems_of((), ablation=True)] == list(ABLATED)


def test_a_system_of_ones_own_is_a_name_and_fields() -> None:
    """What a search takes can be compared without a change to this program."""
    given = ['wide={"limit": 200, "ranking": {"bm25": 0.1}}', "default"]
    assert systems_of(given, ablation=False) == (
        System("wide", {"limit": 200, "ranking": {"bm25": 0.1}}),
        System("default", {}),
    )


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("bm52", "'bm52' is none of bm25, dense, rrf60"),
        ("mine=", "what follows mine= must be JSON"),
        ("mine=[1]", "must look like NAME={"),
        ("={}", "must look like NAME={"),
    ],
)
def test_what_is_no_system_is_refused(given: str, problem: str) -> None:
    """The option is named, and what it may be."""
    with pytest.raises(InvalidInput, match="--system") as refused:
        systems_of([given], ablation=False)
    assert problem in refused.value.problem


@pytest.mark.parametrize("name", BODIES)
def test_the_api_takes_every_system(name: str) -> None:
    """No body has a field or a value that the wire refuses."""
    SearchIn.model_validate({"text": "Who?", **BODIES[name]})

"""Stages of recall over real HTTP: with models behind them, without, and asked for in ways that make no sense."""

from __future__ import annotations

from typing import Any

import pytest
from cross_encoders import tiny_cross_encoder
from ollama_server import ollama_server
from served import Served, served
from talking import append, created, said, search

from app.settings import EmbedderChoice

ALL = ["expand", "late_interaction", "cross_encoder"]


def test_every_stage_takes_part(tmp_path_factory: pytest.TempPathFactory) -> None:
    """With the models at hand each stage is a component of the scores, for indexed and for buffered hits."""
    root = tmp_path_factory.mktemp("stages")
    models = {
        "embedder": EmbedderChoice.LOCAL,
        "cross_encoder": tiny_cross_encoder(root / "model"),
        "ollama_summary_model": "tiny",
    }
    with ollama_server() as ollama, served(root / "api", ollama_url=ollama.url, **models) as api:
        ollama.summary = "When is the cat's appointment?"
        created(append(api, "acme", [said("Miso sees the vet on Thursday")], wait="indexed"))
        created(append(api, "acme", [said("Thursday is soup day")]))
        answer = ask_once_loaded(api)
    assert answer["degraded"] == []
    assert {hit["tier"] for hit in answer["hits"]} == {"semantic", "working"}
    for hit in answer["hits"]:
        assert set(ALL) <= hit["components"].keys()
        assert sum(hit["components"].values()) == pytest.approx(hit["score"], abs=1e-6)


def ask_once_loaded(api: Served) -> dict[str, Any]:
    """The first answer in full: while models are loading, the stages that need them may be late."""
    while True:
        answer = search(api, "acme", "When does Miso see the vet?", kinds=["message"], stages=ALL)
        if not answer["degraded"]:
            return answer


def test_stages_that_are_not_installed_are_named(api: Served, namespace: str) -> None:
    """Hits are those of the search alone, and the answer says what it goes without; unasked, nothing is missing."""
    created(append(api, namespace, [said("Miso sees the vet on Thursday")]))
    plain = search(api, namespace, "vet")
    staged = search(api, namespace, "vet", stages=[*ALL, "expand"])
    assert (plain["degraded"], sorted(staged["degraded"])) == ([], sorted(ALL))
    assert staged["hits"] == plain["hits"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"stages": ["magic"]}, "stages[0]"),
        ({"stages": "expand"}, "stages"),
        ({"ranking": {"late_interaction": 10.5}}, "ranking.late_interaction"),
        ({"ranking": {"cross_encoder": -1}}, "ranking.cross_encoder"),
    ],
)
def test_stages_that_make_no_sense_are_refused(api: Served, namespace: str, body: dict[str, Any], field: str) -> None:
    """The answer names the field and what it may hold."""
    response = api.http.post("/v1/search", json={"text": "vet", "namespace": namespace, **body})
    assert response.status_code == 422
    assert field in response.text

"""Which embedders are wanted, and which are taken because they happen to be there."""

from __future__ import annotations

from typing import Any

import pytest

from app.bootstrap.models import names_ollama
from app.settings import Settings


@pytest.mark.parametrize(
    ("settings", "is_named"),
    [
        ({}, False),
        ({"embedder": "local"}, False),
        ({"ollama_url": "http://127.0.0.1:11434", "ollama_embedding_model": "all-minilm"}, False),
        ({"embedder": "ollama"}, True),
        ({"ollama_url": "http://ollama:11434"}, True),
        ({"ollama_embedding_model": "nomic-embed-text"}, True),
        ({"ollama_summary_model": "llama3.2"}, True),
    ],
)
def test_ollama_is_wanted_where_something_is_said_of_it(settings: dict[str, Any], is_named: bool) -> None:
    """The defaults, also written down as in a copy of `.env.example`, take it if it is there; anything else asks for it."""
    assert names_ollama(Settings(_env_file=None, **settings)) is is_named

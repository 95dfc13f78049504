"""What a switch on the command line may say, before anybody is asked to switch."""

from __future__ import annotations

import io
from contextlib import AbstractAsyncContextManager

import pytest
from rich.console import Console

from app.cli.backfilling import features
from app.client import MemoryClient
from app.errors import InvalidInput


class Unreached(AbstractAsyncContextManager[MemoryClient]):
    """A service that must not be asked."""

    async def __aenter__(self) -> MemoryClient:
        raise AssertionError("asked")

    async def __aexit__(self, *_: object) -> None: ...


@pytest.mark.parametrize(
    ("switch", "said"),
    [
        ("foo=on", "foo=on: must name a feature: episode_logging or retrieval"),
        ("foo", "foo: must name a feature: episode_logging or retrieval"),
        ("self=on", "self=on: must name a feature: episode_logging or retrieval"),
        ("retrieval=maybe", "retrieval=maybe: must be a feature and its state, such as retrieval=off or episode_logging=on"),
    ],
)
async def test_a_switch_that_means_nothing_is_refused_by_name(switch: str, said: str) -> None:
    """One sentence that names the features there are, and nothing is switched, also not what was given beside it."""
    with pytest.raises(InvalidInput) as refused:
        await features(Unreached(), ["retrieval=off", switch], Console(file=io.StringIO()))
    assert str(refused.value) == said

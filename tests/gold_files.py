"""A made-up conversation with questions, the same in both formats that the benchmark reads."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_DATA: Final = Path(__file__).parent / "data"

TINY_LOCOMO: Final = _DATA / "tiny.json"
TINY_JSONL: Final = _DATA / "tiny.jsonl"

"""What came back, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer. `headers` by names in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes = b""

    @property
    def is_error(self) -> bool:
        return self.status >= HTTPStatus.BAD_REQUEST

    @property
    def is_unchanged(self) -> bool:
        """The caller has this version already."""
        return self.status == HTTPStatus.NOT_MODIFIED

    def json(self) -> Any:
        """Raises `ValueError` where the body is not JSON."""
        return orjson.loads(self.content)

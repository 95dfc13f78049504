"""What goes through the pipe between a shard's process and its parent.

A frame is a length (four bytes, big-endian) and a pickle. A request is (operation, arguments); an answer is
(None, result) or (problem, message).
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, BinaryIO, Final

LENGTH: Final = struct.Struct(">I")


class Problem(StrEnum):
    """Why an operation failed: what it was given cannot be stored, or the engine could not do it."""

    VALUE = "value"
    ENGINE = "engine"


def to_frame(value: object) -> bytes:
    body = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(body)) + body


def from_body(body: bytes) -> Any:
    return pickle.loads(body)  # noqa: S301 - both ends are this program, and the pipe has no other


def read_frames(source: BinaryIO) -> Iterator[Any]:
    """What arrives, until the other end is closed; half a frame is none."""
    while len(header := source.read(LENGTH.size)) == LENGTH.size:
        body = source.read(LENGTH.unpack(header)[0])
        yield from_body(body)

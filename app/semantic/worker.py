"""The process a shard lives in: requests on stdin, answers on stdout, in order, until stdin ends.

    python -m app.semantic.worker <directory> <dimension>

The first answer says that the shard is open. When the parent dies, however it dies, stdin ends and so does this process.
"""

from __future__ import annotations

import fcntl
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from app.semantic.frames import Problem, read_frames, to_frame
from app.semantic.shard import Shard


def answer(operations: dict[str, Callable[..., Any]], operation: str, arguments: tuple[Any, ...]) -> tuple[Any, Any]:
    """Do it; a failure is an answer too."""
    try:
        return None, operations[operation](*arguments)
    except (TypeError, ValueError, OverflowError) as error:
        return Problem.VALUE, str(error)
    except Exception as error:  # noqa: BLE001 - the engine raises nothing more specific, and the next request must be served
        return Problem.ENGINE, (str(error), traceback.format_exc())


def serve(shard: Shard, requests: Iterator[tuple[str, tuple[Any, ...]]], send: Callable[[object], None]) -> None:
    operations = {
        operation.__name__: operation
        for operation in (
            shard.upsert, shard.judge, shard.delete, shard.forget, shard.search, shard.authors, shard.count, shard.scroll,
            shard.lookup, shard.state, shard.optimize,
        )
    }  # fmt: skip
    for operation, arguments in requests:
        send(answer(operations, operation, arguments))


def main(directory: Path, dimension: int) -> None:
    sink = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever the engine prints must not get between the frames

    def send(value: object) -> None:
        sink.write(to_frame(value))
        sink.flush()

    with directory.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a predecessor whose parent was killed may still be closing
        opened = answer({"open": Shard.open}, "open", (directory, dimension))
        send((opened[0], opened[1] if opened[0] else None))
        if opened[0] is None:
            serve(opened[1], read_frames(sys.stdin.buffer), send)
            opened[1].close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

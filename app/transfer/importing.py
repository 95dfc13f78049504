"""Records into Postgres, from whatever reader: looked at first, all of them, and then written in batches.

What is there already is left as it is, known by its id. So an import that was interrupted is resumed by doing it again,
and one that is done twice changes nothing.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import structlog

from app.consolidation.drain import Drain
from app.ingestion.limits import Limits, check_label
from app.ports import Clock, EpisodicMemory
from app.records import ImportReport
from app.transfer.admission import Admission
from app.transfer.backups import Progress
from app.transfer.reading import PortableReader, RecordReader
from app.transfer.sink import Sink, kind_of, refuse_taken
from app.transfer.threads import in_thread

log = structlog.get_logger(__name__)


class Importing:
    """Takes the records of a reader into one namespace."""

    def __init__(self, episodic: EpisodicMemory, drain: Drain, *, limits: Limits, clock: Clock) -> None:
        self._episodic = episodic
        self._drain = drain
        self._limits = limits
        self._clock = clock

    async def run_file(self, path: Path, namespace: str, progress: Progress | None = None) -> ImportReport:
        """Import a file of lines as `portable` describes them; see `run`."""
        check_label("namespace", namespace, self._limits)
        return await self.run(PortableReader(path, namespace), namespace, progress)

    async def run(self, reader: RecordReader, namespace: str, progress: Progress | None = None) -> ImportReport:
        """Import everything that is not there yet. `progress` counts the bytes of both passes.

        Raises:
            InvalidInput: names the line and the field; nothing was written.
            Conflict: an id is taken by other content, or in another namespace; nothing was written.
            TierUnavailable: a tier went away; what was written is left as it is when the import is repeated.
        """
        counted = progress or (lambda _: None)
        size = await self._check(reader, counted)
        await self._drain.drain_all(namespace)
        seen, new = Counter[str](), Counter[str]()
        sink = Sink(self._episodic, self._drain)
        async for batch in in_thread(reader.batches()):
            seen.update(kind_of(placed.record) for placed in batch.placed)
            new += await sink.write(batch.placed)
            counted(size + batch.position)
        log.info("imported", **new)
        return ImportReport(dict(new), dict(seen - new))

    async def _check(self, reader: RecordReader, counted: Progress) -> int:
        """Look at all records, and at what is there of them; returns the size of the file."""
        admission, size = Admission(self._limits, self._clock()), 0
        async for batch in in_thread(reader.batches()):
            for placed in batch.placed:
                admission.admit(placed)
            async with self._episodic.reading() as found:
                await refuse_taken(found, batch.placed)
            size = batch.position
            counted(size)
        return size

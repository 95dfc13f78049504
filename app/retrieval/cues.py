"""What a question says about its answer besides its words: who, and when (pure)."""

from __future__ import annotations

from datetime import datetime

from app.ranking import Cues
from app.records import Query
from app.retrieval.dates import dates_asked, days
from app.retrieval.people import People


def read_cues(query: Query, people: People, clock: datetime) -> Cues:
    """The one person named (of several none stands out), the days asked about, and the moment that is now."""
    now = query.now or clock
    named = people.named(query.text)
    asked = dates_asked(query.text, now, named) if query.ranking.date else ()
    return Cues(named[0] if len(named) == 1 else None, tuple(days(stretch) for stretch in asked), now.timestamp())

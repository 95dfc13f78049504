"""The dates a question asks about: `dates_asked` finds and resolves them, `days` is what the index is asked (pure)."""

from app.retrieval.dates.asked import SLACK_DAYS_AFTER, dates_asked, days
from app.retrieval.dates.spans import DateRange

__all__ = ["SLACK_DAYS_AFTER", "DateRange", "dates_asked", "days"]

"""Settings that only their reader can judge, judged before anything is started."""

from __future__ import annotations

from app.bootstrap.policies import quality_policy, rendering_of
from app.bootstrap.timetable import nightly
from app.semantic.bm25 import Bm25Encoder
from app.settings import Settings
from app.working.client import connect


async def check_settings(settings: Settings) -> None:
    """Read every setting that is in a language of its own; nothing is started or asked.

    Raises:
        ConfigurationError: one cannot be read; names the variable and the problem.
    """
    nightly(settings)
    rendering_of(settings)
    quality_policy(settings)
    Bm25Encoder(settings.language)
    if settings.redis_url is not None:
        async with connect(settings.redis_url.get_secret_value()):
            pass  # nothing is sent before the first command

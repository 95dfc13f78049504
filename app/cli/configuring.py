"""What every command begins with: the settings, and logging as they say."""

from __future__ import annotations

import structlog

from app.observability import configure_logging
from app.settings import Settings, load_settings, unknown_variables

log = structlog.get_logger(__name__)


def configured() -> Settings:
    """The settings; a variable that looks like one and is none is warned of, for it changes nothing.

    Raises:
        ConfigurationError: a variable has an impossible value.
    """
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    for variable, nearest in unknown_variables().items():
        log.warning("setting_unknown", variable=variable, did_you_mean=nearest)
    return settings

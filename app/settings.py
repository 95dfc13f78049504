"""The environment, read here and nowhere else: every setting is a variable `MEMORY_<NAME>`.

Defaults that belong to a policy live on the policy's own dataclass; a setting of `None` leaves them alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from enum import StrEnum
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, DirectoryPath, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, DotEnvSettingsSource, EnvSettingsSource, SettingsConfigDict

from app.errors import ConfigurationError
from app.faultpoints import parse_plan
from app.records import ReadPreference

_PREFIX: Final = "MEMORY_"
_CENTURY_DAYS: Final = 36_500
"""Nobody waits or keeps longer; and what is much longer is no span of time to Python."""


class EmbedderChoice(StrEnum):
    AUTO = "auto"
    OLLAMA = "ollama"
    LOCAL = "local"
    HASHING = "hashing"


def _asyncpg(url: str | None) -> str | None:
    """Accept the URLs people have: `postgres://…` and `postgresql://…` mean the asyncpg driver here."""
    if url is None:
        return None
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in {"postgres", "postgresql", "postgresql+asyncpg"}:
        raise ValueError("must start with postgresql+asyncpg:// (or postgresql://)")
    return f"postgresql+asyncpg://{rest}"


def _plan(text: str | None) -> str | None:
    """Refuse a fault that could never happen."""
    if text is not None:
        parse_plan(text)
    return text


class Settings(BaseSettings):
    """All settings with their defaults; see `.env.example` for a commented copy."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, env_file=".env", extra="ignore", frozen=True, env_ignore_empty=True)

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    data_dir: Path = Path(".hybrid-memory")
    allow_open_access: bool = False
    """Serve without keys on an address other than loopback: has to be said out loud."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "console"] = "json"

    redis_url: SecretStr | None = None
    postgres_url: Annotated[
        SecretStr | None, AfterValidator(lambda v: None if v is None else SecretStr(_asyncpg(v.get_secret_value()) or ""))
    ] = None
    qdrant_url: str | None = None
    qdrant_api_key: SecretStr | None = None
    qdrant_shards: int = Field(default=1, ge=1)
    qdrant_replicas: int = Field(default=1, ge=1)
    redis_fsync: Literal["everysec", "always"] = "everysec"
    """Of the embedded engine: what a power cut may cost, one second of acknowledged appends or nothing."""
    read_preference: ReadPreference = ReadPreference.REDIS_FIRST

    embedder: EmbedderChoice = EmbedderChoice.AUTO
    ollama_url: str = "http://127.0.0.1:11434"
    ollama_embedding_model: str = "all-minilm"
    ollama_summary_model: str | None = None
    """A chat model for summaries and the stage `expand`; extractive summaries without one."""
    local_model: str | None = None
    """A directory or hub name of a sentence-transformers model; the packaged all-MiniLM-L6-v2 without one."""
    cross_encoder: DirectoryPath | None = None
    """A local sentence-transformers cross-encoder, for searches that ask for one; there is none without it."""
    embedder_timeout_seconds: float = Field(default=30.0, gt=0, le=86_400 * _CENTURY_DAYS)
    embedding_cache_ttl_seconds: int = Field(default=86_400, gt=0, le=86_400 * _CENTURY_DAYS)

    language: str = "english"
    """Of stop words and stems in the index; points written before a change keep theirs until they are indexed again."""

    session_ttl_seconds: int = Field(default=86_400, gt=0, le=86_400 * _CENTURY_DAYS)
    session_retention_days: int = Field(default=30, gt=0, le=_CENTURY_DAYS)
    """Archived session state of ended or idle sessions is dropped after this; messages and episodes stay."""
    archive_after_days: int = Field(default=0, ge=0, le=_CENTURY_DAYS)
    """Episodes that ended longer ago are archived: kept with their messages, not searched. 0: never."""
    delete_after_days: int = Field(default=0, ge=0, le=_CENTURY_DAYS)
    """Archived episodes are deleted this long after they were archived. 0: never."""
    buffer_window: int = Field(default=50, ge=0)
    """Drained messages a session keeps in Redis for recent context."""

    idempotency_key_ttl_seconds: int = Field(default=86_400, gt=0, le=86_400 * _CENTURY_DAYS)
    """How long an `Idempotency-Key` and what it was answered with are remembered."""

    consolidation_interval_seconds: float = Field(default=5.0, gt=0, le=86_400 * _CENTURY_DAYS)
    episode_idle_minutes: float = Field(default=30.0, gt=0, le=1440 * _CENTURY_DAYS)
    episode_max_messages: int = Field(default=50, ge=1)
    episode_max_tokens: int = Field(default=4000, ge=1)
    outbox_max_attempts: int = Field(default=12, ge=1)
    reconcile_interval_hours: float = Field(default=24.0, ge=0, le=24 * _CENTURY_DAYS)
    """How often the index is compared with Postgres and repaired by itself; 0: never."""

    learning_interval_seconds: float = Field(default=60.0, ge=0, le=86_400 * _CENTURY_DAYS)
    """Pause between two runs that learn from episodes; 0: never by itself."""

    redis_deadline_seconds: float = Field(default=5.0, gt=0, le=86_400 * _CENTURY_DAYS)
    postgres_deadline_seconds: float = Field(default=30.0, gt=0, le=86_400 * _CENTURY_DAYS)
    qdrant_deadline_seconds: float = Field(default=10.0, gt=0, le=86_400 * _CENTURY_DAYS)
    """How long one call to an engine that is alive may take."""
    ping_deadline_seconds: float = Field(default=1.0, gt=0, le=86_400 * _CENTURY_DAYS)
    """An engine that leaves a ping unanswered for so long counts as hanging, and is left alone until it answers one."""

    recall_deadline_ms: float = Field(default=300.0, gt=0, le=86_400_000)
    recall_cache_ttl_seconds: float = Field(default=60.0, ge=0, le=86_400 * _CENTURY_DAYS)
    """How long a process may give the same answer about the same situation again while nothing changes. 0: never."""
    max_message_bytes: int = Field(default=65_536, ge=1)
    max_messages_per_call: int = Field(default=1000, ge=1)
    max_metadata_bytes: int = Field(default=8192, ge=2)
    max_metadata_depth: int = Field(default=8, ge=1)
    max_request_bytes: int = Field(default=16_777_216, ge=1024)
    max_import_bytes: int = Field(default=1_073_741_824, ge=1024)
    """Of a file sent to be imported; it is kept in a temporary file, not in memory."""
    max_clock_skew_seconds: float = Field(default=60.0, ge=0, le=86_400 * _CENTURY_DAYS)

    episode_logging: bool = True
    """Until it is switched at run time (`hybrid-memory features`): whether episodes are stored."""
    retrieval: bool = True
    """Until it is switched at run time: whether searches look anything up."""
    episode_template: str | None = None
    """How an episode reads when it is embedded: see docs/episodes.md; `\\n` stands for a line break."""
    quality_weight_perception: float = Field(default=0.30, ge=0)
    quality_weight_reasoning: float = Field(default=0.30, ge=0)
    quality_weight_action: float = Field(default=0.25, ge=0)
    quality_weight_outcome: float = Field(default=0.15, ge=0)
    quality_threshold: float = Field(default=0.7, ge=0, le=1)
    """Nothing is learned from episodes below it."""
    backfill_cron: str = "0 2 * * *"
    """When episodes without a quality or a vector are seen to, in UTC; `never` for not by itself."""
    backfill_batch_size: int = Field(default=100, ge=1, le=1000)
    backfill_max_episodes: int = Field(default=10_000, ge=1)
    backfill_per_second: float = Field(default=50.0, ge=0.1)
    """The pace of the scheduled backfill."""

    url: str | None = None
    """Read by commands alone: the service they talk to."""
    api_key: SecretStr | None = None
    """Read by commands alone: the key they send."""

    faultpoint: Annotated[str | None, AfterValidator(_plan)] = None
    """For the fault harness alone: `point:occurrence:action`, where the process dies, fails or hangs on purpose."""

    @property
    def secret_key(self) -> str | None:
        """What commands send as their key."""
        return None if self.api_key is None else self.api_key.get_secret_value()

    @cached_property
    def is_loopback(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def is_embedded(self) -> bool:
        """Whether any engine lives in the data directory, which then has exactly one owner."""
        return self.redis_url is None or self.postgres_url is None or self.qdrant_url is None


def load_settings() -> Settings:
    """Read the environment (and `.env`).

    Raises:
        ConfigurationError: a variable has an impossible value; names the variable and the problem.
    """
    try:
        return Settings()
    except ValidationError as error:
        problems = "; ".join(f"{_PREFIX}{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
        raise ConfigurationError(problems) from error


def unknown_variables() -> Mapping[str, str | None]:
    """What the environment (and `.env`) sets under our prefix and nobody reads, each with the variable it may have meant."""
    known = Settings.model_fields.keys()
    given = {**DotEnvSettingsSource(Settings).env_vars, **EnvSettingsSource(Settings).env_vars}  # names in lower case
    prefix = _PREFIX.casefold()
    names = sorted({name.removeprefix(prefix) for name in given if name.startswith(prefix)} - known)
    return {_variable(name): next(map(_variable, get_close_matches(name, sorted(known), n=1)), None) for name in names}


def _variable(name: str) -> str:
    return f"{_PREFIX}{name.upper()}"

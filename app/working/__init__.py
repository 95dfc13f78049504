"""Tier 1 on Redis or Valkey: conversation buffers, session state and scratchpads."""

from __future__ import annotations

from app.working.client import Client, connect
from app.working.repository import RedisRepository

__all__ = ["Client", "RedisRepository", "connect"]

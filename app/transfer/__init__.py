"""Memories on the move: whole installations as backups, namespaces as files that anybody can read and write."""

from __future__ import annotations

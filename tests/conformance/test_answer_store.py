"""The exam of `AnswerStore`: the twin, one server and a cluster sit it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from clusters import one_node_cluster

from app.ports import Answer, AnswerStore, Call, Claim
from app.records import new_id
from app.testing.answers import InMemoryAnswerStore
from app.testing.clock import FixedClock
from app.working import connect
from app.working.answers import RedisAnswerStore

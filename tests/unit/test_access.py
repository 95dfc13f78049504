"""API keys: who may do what where."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID

import pytest
from given import NOW
from hypothesis import given
from hypothesis import strategies as st

from app.access import ANYONE, AccessControl, Caller
from app.errors import Forbidden, NotFound, TierUnavailable, Unauthenticated
from app.records import ALL_NAMESPACES, ApiKey, Permission, Tier
from app.testing.clock import FixedClock
from app.testing.faults import away

READ = Permission.READ
SECOND = timedelta(seconds=1)


@dataclass
class InMemoryKeyStore:
    """Implements `KeyStore`."""

    keys: dict[UUID, ApiKey] = field(default_factory=dict)

    async def find(self, key_sha256: bytes) -> ApiKey | None:
        return next((key for key in self.keys.values() if key.key_sha256 == key_sha256), None)

    async def list(self) -> tuple[ApiKey, ...]:
        return tuple(sorted(self.keys.values(), key=lambda key: key.created_at))

    async def save(self, key: ApiKey) -> None:
        self.keys[key.id] = key

    async def revoke(self, key_id: UUID, at: datetime) -> bool:
        if key_id not in self.keys:
            return False
        self.keys[key_id] = replace(self.keys[key_id], revoked_at=at)
        return True


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW)


@pytest.fixture
def access(clock: FixedClock) -> AccessControl:
    return AccessControl(InMemoryKeyStore(), clock, may_be_open=True)


async def test_a_key_is_shown_once_and_kept_as_a_hash(access: AccessControl) -> None:
    """The key itself is returned by `make` alone; what is kept is its SHA-256 and what it is good for."""
    key, secret = await access.make("notebook", [READ], ["acme"], NOW + SECOND)
    assert secret.startswith("hm_")
    assert len(secret) >= 43
    assert await access.list() == (key,)
    assert key == ApiKey(
        key.id, "notebook", sha256(secret.encode()).digest(), frozenset({READ}), frozenset({"acme"}), NOW, NOW + SECOND
    )


async def test_a_key_identifies_its_caller(access: AccessControl) -> None:
    """A bearer key stands for the permissions and namespaces it was made with."""
    key, secret = await access.make("notebook", [READ, Permission.WRITE], ["acme", "beta"], None)
    assert await access.identify(secret) == Caller(frozenset({READ, Permission.WRITE}), frozenset({"acme", "beta"}), key.id)


@pytest.mark.parametrize("bearer", ["", "hm_", "hm_wrong", "notebook"])
async def test_an_unknown_key_is_refused(access: AccessControl, bearer: str) -> None:
    """A key that was not made here is refused, also while the API is open to callers without one."""
    with pytest.raises(Unauthenticated, match="unknown, expired or revoked"):
        await access.identify(bearer)


async def test_an_api_without_keys_may_be_open(access: AccessControl) -> None:
    """Where that is allowed, and no key was ever made, whoever calls may do everything."""
    assert await access.identify(None) == ANYONE


async def test_the_first_key_closes_the_api(access: AccessControl) -> None:
    """From the first key on every caller needs one, at once."""
    assert await access.identify(None) == ANYONE
    await access.make("first", [READ], ["acme"], None)
    with pytest.raises(Unauthenticated, match="a key is needed"):
        await access.identify(None)


async def test_a_key_made_elsewhere_closes_the_api_soon(access: AccessControl, clock: FixedClock) -> None:
    """A key made by another process closes this one's API within seconds, and revoking it does not open it again."""
    assert await access.identify(None) == ANYONE
    key, _ = await AccessControl(access.store, clock, may_be_open=True).make("other", [READ], ["acme"], None)
    await access.revoke(key.id)
    clock.advance(5 * SECOND)
    with pytest.raises(Unauthenticated):
        await access.identify(None)


async def test_an_api_that_may_not_be_open_never_is(clock: FixedClock) -> None:
    """On an address that others reach, a key is needed even if there is none."""
    with pytest.raises(Unauthenticated):
        await AccessControl(InMemoryKeyStore(), clock, may_be_open=False).identify(None)


async def test_a_key_expires(access: AccessControl, clock: FixedClock) -> None:
    """Until its last moment a key is good, then it is not, cached or not."""
    _, secret = await access.make("short", [READ], ["acme"], NOW + 2 * SECOND)
    clock.advance(2 * SECOND - timedelta(microseconds=1))
    await access.identify(secret)
    clock.advance(timedelta(microseconds=1))
    with pytest.raises(Unauthenticated):
        await access.identify(secret)


async def test_a_revoked_key_is_refused_within_seconds(access: AccessControl, clock: FixedClock) -> None:
    """Another process that has just seen the key may take it for good for five seconds, not longer."""
    key, secret = await access.make("leaked", [READ], ["acme"], None)
    caller = await access.identify(secret)
    await AccessControl(access.store, clock, may_be_open=True).revoke(key.id)
    clock.advance(5 * SECOND - timedelta(microseconds=1))
    assert await access.identify(secret) == caller
    clock.advance(timedelta(microseconds=1))
    with pytest.raises(Unauthenticated):
        await access.identify(secret)


async def test_a_key_revoked_here_is_refused_at_once(access: AccessControl) -> None:
    """The process that revokes a key forgets that it was good."""
    key, secret = await access.make("leaked", [READ], ["acme"], None)
    await access.identify(secret)
    await access.revoke(key.id)
    with pytest.raises(Unauthenticated):
        await access.identify(secret)


async def test_an_outage_does_not_bring_a_revoked_key_back(access: AccessControl) -> None:
    """A key revoked here just before the store went away is not taken for good from memory."""
    key, secret = await access.make("leaked", [READ], ["acme"], None)
    await access.identify(secret)
    await access.revoke(key.id)
    access.store = away(access.store, Tier.EPISODIC)
    with pytest.raises(TierUnavailable):
        await access.identify(secret)


async def test_only_a_key_that_exists_can_be_revoked(access: AccessControl) -> None:
    """Revoking an unknown key says that there is none."""
    with pytest.raises(NotFound, match="no key"):
        await access.revoke(UUID(int=1))


async def test_without_the_store_nobody_is_let_in(access: AccessControl) -> None:
    """When keys cannot be looked up the answer is an outage, neither a yes nor a no."""
    access.store = away(access.store, Tier.EPISODIC)
    for bearer in (None, "hm_any"):
        with pytest.raises(TierUnavailable):
            await access.identify(bearer)


async def test_a_known_caller_goes_on_while_the_store_is_away(access: AccessControl, clock: FixedClock) -> None:
    """The last answer about a key holds for as long as keys cannot be looked up; a key never seen is not let in."""
    _, secret = await access.make("notebook", [READ], ["acme"], None)
    _, unseen = await access.make("unseen", [READ], ["acme"], None)
    caller = await access.identify(secret)
    access.store = away(access.store, Tier.EPISODIC)
    clock.advance(60 * SECOND)
    assert await access.identify(secret) == caller
    with pytest.raises(TierUnavailable):
        await access.identify(unseen)


async def test_an_open_service_stays_open_while_the_store_is_away(access: AccessControl, clock: FixedClock) -> None:
    """Openness that was known before the outage holds; without having known it, nobody is let in."""
    assert await access.identify(None) == ANYONE
    access.store = away(access.store, Tier.EPISODIC)
    clock.advance(60 * SECOND)
    assert await access.identify(None) == ANYONE


def test_a_caller_is_bound_to_namespaces() -> None:
    """A key covers the namespaces it names, and none when none is named in the request."""
    caller = Caller(frozenset({READ}), frozenset({"acme"}))
    caller.check(READ, "acme")
    with pytest.raises(Forbidden, match="does not cover namespace 'beta'"):
        caller.check(READ, "beta")
    with pytest.raises(Forbidden, match="bound to namespaces"):
        caller.check(READ, None)


permissions, namespaces = st.frozensets(st.sampled_from(Permission)), st.sampled_from(["acme", "beta", ALL_NAMESPACES])


@given(
    permissions, st.frozensets(namespaces), st.sampled_from(Permission), st.one_of(st.none(), st.sampled_from(["acme", "beta"]))
)
def test_nothing_is_allowed_that_was_not_given(
    held: frozenset[Permission], covered: frozenset[str], wanted: Permission, namespace: str | None
) -> None:
    """A caller passes exactly when the key has the permission and covers the namespace, or all of them."""
    is_allowed = wanted in held and (ALL_NAMESPACES in covered or (namespace is not None and namespace in covered))
    try:
        Caller(held, covered).check(wanted, namespace)
    except Forbidden:
        assert not is_allowed
    else:
        assert is_allowed


@dataclass
class SlowKeyStore(InMemoryKeyStore):
    """One that answers only when it is let."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    looks: int = 0

    async def find(self, key_sha256: bytes) -> ApiKey | None:
        self.looks += 1
        await self.gate.wait()
        return await super().find(key_sha256)

    async def list(self) -> tuple[ApiKey, ...]:
        self.looks += 1
        await self.gate.wait()
        return await super().list()


async def test_a_slow_store_keeps_nobody_waiting_who_is_known(clock: FixedClock) -> None:
    """While keys are looked up anew, callers go on as they were known, and the store is asked once; then its answer counts."""
    store = SlowKeyStore()
    access = AccessControl(store, clock, may_be_open=True)
    store.gate.set()
    key, secret = await access.make("notebook", [READ], ["acme"], None)
    known = await access.identify(secret)
    store.gate.clear()
    await store.revoke(key.id, NOW)
    clock.advance(timedelta(minutes=1))
    looks = store.looks
    assert await asyncio.gather(*(access.identify(secret) for _ in range(100))) == [known] * 100
    assert store.looks == looks + 1
    store.gate.set()
    while access._learning:
        await asyncio.gather(*access._learning.values())
    with pytest.raises(Unauthenticated):
        await access.identify(secret)


async def test_openness_is_not_waited_for_either(clock: FixedClock) -> None:
    """An API known to be open stays so while that is looked up; a key made elsewhere closes it."""
    store = SlowKeyStore()
    access, elsewhere = AccessControl(store, clock, may_be_open=True), AccessControl(store, clock, may_be_open=True)
    store.gate.set()
    assert await access.identify(None) == ANYONE
    await elsewhere.make("first", [READ], ["acme"], None)
    store.gate.clear()
    clock.advance(timedelta(minutes=1))
    assert await access.identify(None) == ANYONE
    store.gate.set()
    while access._learning:
        await asyncio.gather(*access._learning.values())
    with pytest.raises(Unauthenticated):
        await access.identify(None)

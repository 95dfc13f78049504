"""The exam of `AnswerStore`: the twin and the server sit it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from app.ports import Answer, AnswerStore, Call, Claim
from app.records import new_id
from app.testing.answers import InMemoryAnswerStore
from app.working import connect
from app.working.answers import RedisAnswerStore

LONG = timedelta(hours=1)
AT_ONCE = timedelta(0)
SHORT = timedelta(milliseconds=5)
ANSWER = Answer(201, b'{"id": "\x00\xff"}')


@pytest.fixture(params=["twin", "server"])
async def answers(request: pytest.FixtureRequest) -> AsyncIterator[AnswerStore]:
    if request.param == "twin":
        yield InMemoryAnswerStore()
        return
    async with connect(request.getfixturevalue("redis_url")) as client:
        yield RedisAnswerStore(client, process=new_id())


def call(namespace: str = "acme") -> Call:
    return Call(namespace, new_id(), "digest", new_id())


def again(call: Call) -> Call:
    """Another attempt at the call."""
    return replace(call, attempt=new_id())


async def claim(answers: AnswerStore, call: Call, *, lease: timedelta = LONG, ttl: timedelta = LONG) -> Answer | Claim:
    return await answers.claim(call, lease=lease, ttl=ttl)


async def test_an_answer_is_given_again(answers: AnswerStore) -> None:
    """The first attempt gets the claim, those meanwhile are told so, and those afterwards get its answer."""
    first = call()
    found = [await claim(answers, first), await claim(answers, again(first))]
    await answers.remember(first, ANSWER, ttl=LONG)
    assert [*found, await claim(answers, again(first))] == [Claim.OURS, Claim.RUNNING, ANSWER]


async def test_a_key_is_for_one_request(answers: AnswerStore) -> None:
    """Another request under the key is told so, whether the first one is answered or not."""
    first = call()
    other = replace(again(first), request="another digest")
    await claim(answers, first)
    assert await claim(answers, other) is Claim.OTHER_REQUEST
    await answers.remember(first, ANSWER, ttl=LONG)
    assert await claim(answers, other) is Claim.OTHER_REQUEST


async def test_of_attempts_at_once_one_gets_the_claim(answers: AnswerStore) -> None:
    """Twenty at once: one is to do the work."""
    first = call()
    found = await asyncio.gather(*(claim(answers, again(first)) for _ in range(20)))
    assert Counter(found) == {Claim.OURS: 1, Claim.RUNNING: 19}


async def test_a_released_key_is_free(answers: AnswerStore) -> None:
    """What ended without an answer leaves nothing behind: the key may even name another request."""
    first = call()
    await claim(answers, first)
    await answers.release(first)
    assert await claim(answers, replace(first, request="another digest")) is Claim.OURS


async def test_a_claim_whose_lease_ran_out_is_taken_over(answers: AnswerStore) -> None:
    """Who is late neither answers for the one that took over, nor takes the claim from it."""
    late = call()
    await claim(answers, late, lease=AT_ONCE)
    heir = again(late)
    assert await claim(answers, heir) is Claim.OURS
    await answers.remember(late, Answer(200, b"late"), ttl=LONG)
    await answers.release(late)
    assert await claim(answers, again(late)) is Claim.RUNNING
    await answers.remember(heir, ANSWER, ttl=LONG)
    await answers.release(heir)
    assert await claim(answers, again(late)) == ANSWER


async def test_calls_are_told_apart_by_namespace_and_id(answers: AnswerStore) -> None:
    """The same id elsewhere, or another id here, is another call."""
    first = call()
    await claim(answers, first)
    for other in (replace(first, namespace="rival"), replace(first, id=new_id())):
        assert await claim(answers, other) is Claim.OURS


@pytest.mark.parametrize("is_answered", [False, True])
async def test_a_key_expires(answers: AnswerStore, is_answered: bool) -> None:
    """After its time a key is as good as new, answered or not."""
    first = call()
    await claim(answers, first, ttl=LONG if is_answered else SHORT)
    if is_answered:
        await answers.remember(first, ANSWER, ttl=SHORT)
    other = replace(again(first), request="another digest")
    async with asyncio.timeout(10):
        while await claim(answers, other) is not Claim.OURS:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.002)


@pytest.mark.parametrize("namespace", ["acme", "a:b", "*", "[a-z]?", "per%20cent", "äö ☃"])
async def test_forgetting_takes_the_bodies_of_a_namespace(answers: AnswerStore, namespace: str) -> None:
    """Answered calls stay known without their answers, running ones go on, other namespaces keep theirs."""
    answered, running, elsewhere = call(namespace), call(namespace), call("acme2")
    for one in (answered, running, elsewhere):
        await claim(answers, one)
    for one in (answered, elsewhere):
        await answers.remember(one, ANSWER, ttl=LONG)
    assert [await answers.forget(namespace), await answers.forget(namespace)] == [1, 0]
    assert await claim(answers, again(answered)) is Claim.ANSWER_FORGOTTEN
    assert await claim(answers, again(running)) is Claim.RUNNING
    assert await claim(answers, again(elsewhere)) == ANSWER


async def test_who_is_alone_need_not_wait_for_the_dead(redis_url: str) -> None:
    """Where no other process uses this Redis, a claim of another one was left by it when it died; one's own are kept."""
    first = call()
    async with connect(redis_url) as client:
        dead = RedisAnswerStore(client, process=new_id(), is_alone=True)
        assert await claim(dead, first) is Claim.OURS
        assert await claim(dead, again(first)) is Claim.RUNNING
        beside = RedisAnswerStore(client, process=new_id())
        assert await claim(beside, again(first)) is Claim.RUNNING
        alone = RedisAnswerStore(client, process=new_id(), is_alone=True)
        assert await claim(alone, again(first)) is Claim.OURS
        assert await claim(alone, again(first)) is Claim.RUNNING

"""The chain: who answers, in which space, and how it finds back to the primary."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from embedders import MINILM_SPACE, StandIn
from pauses import Pauses
from structlog.testing import capture_logs

from app.breakers import BreakerPolicy, BreakerState
from app.embedding.chain import PROBE, EmbedderChain
from app.errors import EmbedderUnavailable
from app.observability import EMBEDDED_TEXTS, EMBEDDER_IN_USE
from app.records import Space

OTHER_SPACE = Space("mpnet", 384)
POLICY = BreakerPolicy(failure_threshold=2)


@dataclass
class Rig:
    """A chain of two, and the pauses between its probes."""

    ollama: StandIn = field(default_factory=lambda: StandIn("ollama"))
    local: StandIn = field(default_factory=lambda: StandIn("local"))
    pauses: Pauses = field(default_factory=Pauses)

    def __post_init__(self) -> None:
        self.chain = EmbedderChain([self.ollama, self.local], breaker=POLICY, pause=self.pauses)

    async def answer(self) -> tuple[str, Space]:
        answer = await self.chain.embed(["cat"])
        return answer.provider, answer.space

    async def recover(self) -> None:
        """Let the primary be probed until it is asked again."""
        probing = self.chain._links[0].guard._probing
        assert probing is not None
        await self.pauses.end()
        await probing

    async def compare(self) -> None:
        """Embed with both up, and wait until the two were compared."""
        await self.answer()
        assert self.chain._comparison is not None
        await self.chain._comparison


async def test_the_primary_answers() -> None:
    """As long as it is up, nobody else is asked for a caller's texts."""
    rig = Rig()
    assert await rig.answer() == ("ollama", MINILM_SPACE)
    assert rig.local.calls == []


async def test_the_fallback_answers_for_the_primary() -> None:
    """An outage is not seen by the caller, but in `provider`."""
    rig = Rig()
    rig.ollama.is_up = False
    assert await rig.answer() == ("local", MINILM_SPACE)


async def test_a_provider_that_keeps_failing_is_left_alone() -> None:
    """From the threshold on the primary is not asked at all, and costs nobody a timeout."""
    rig = Rig()
    rig.ollama.is_up = False
    for _ in range(5):
        await rig.answer()
    assert (len(rig.ollama.calls), len(rig.local.calls)) == (2, 5)


async def test_the_primary_is_used_again_once_it_is_back() -> None:
    """A sentence embedded in the background, at no caller's expense, brings everybody back to it."""
    rig = Rig()
    rig.ollama.is_up = False
    await rig.answer()
    await rig.answer()
    rig.ollama.is_up = True
    resting = await rig.answer()
    await rig.recover()
    assert [resting[0], (await rig.answer())[0], rig.chain.state] == ["local", "ollama", BreakerState.CLOSED]


async def test_a_server_that_only_answers_pings_is_not_back() -> None:
    """What embeds nothing is not asked again, however healthy it claims to be."""
    rig = Rig()
    rig.ollama.refused = {"cat", PROBE}
    await rig.answer()
    await rig.answer()
    await rig.pauses.end()
    await rig.pauses.begun()
    assert (await rig.answer(), rig.ollama.calls) == (("local", MINILM_SPACE), [["cat"], ["cat"], [PROBE]])
    await rig.chain.close()


async def test_while_the_primary_is_probed_nobody_waits() -> None:
    """No caller bears the risk of a timeout."""
    rig = Rig()
    rig.ollama.is_up = False
    await rig.answer()
    await rig.answer()
    rig.ollama.gate.clear()
    rig.ollama.called.clear()
    await rig.pauses.end()
    await rig.ollama.called.wait()
    assert await rig.answer() == ("local", MINILM_SPACE)
    await rig.chain.close()


async def test_with_nobody_up_each_problem_is_named() -> None:
    """The error says what is wrong with every provider."""
    rig = Rig()
    rig.ollama.is_up = rig.local.is_up = False
    with pytest.raises(EmbedderUnavailable) as raised:
        await rig.answer()
    assert raised.value.problem == "ollama: is down; local: is down"


async def test_a_fallback_of_another_space_says_so() -> None:
    """Its vectors are labelled with its own space, while the chain goes on aiming at the primary's."""
    rig = Rig(local=StandIn("local", OTHER_SPACE))
    rig.ollama.is_up = False
    assert (await rig.answer(), rig.chain.space) == (("local", OTHER_SPACE), MINILM_SPACE)


async def test_one_claimed_space_is_kept_when_the_vectors_agree() -> None:
    """Both embed the same sentence, once; then the fallback is taken at its word."""
    rig = Rig()
    await rig.compare()
    await rig.answer()
    rig.ollama.is_up = False
    assert await rig.answer() == ("local", MINILM_SPACE)
    assert rig.local.calls == [[PROBE], ["cat"]]


async def test_one_claimed_space_becomes_two_when_the_vectors_differ() -> None:
    """A fallback whose weights are not the primary's never writes into its space, and the log warns of it."""
    rig = Rig(local=StandIn("local", salt="entirely different weights"))
    with capture_logs() as logs:
        await rig.compare()
    rig.ollama.is_up = False
    assert await rig.answer() == ("local", Space("all-minilm-l6-v2@local", 384))
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["embedding_spaces_differ"]
    assert rig.chain.space == MINILM_SPACE


async def logged_of_outages(chain: EmbedderChain) -> list[tuple[str, str]]:
    """What is logged, and how loudly, while texts are embedded often enough for the breaker to open."""
    with capture_logs() as logs:
        for _ in range(4):
            await chain.embed(["cat"])
    return [(entry["log_level"], entry["event"]) for entry in logs]


async def test_the_absence_of_a_provider_that_nobody_asked_for_is_said_once() -> None:
    """As information: the fallback is there by design. Once it has answered, its outage is one like any other."""
    ollama, pauses = StandIn("ollama"), Pauses()
    ollama.is_up = False
    optional = EmbedderChain([ollama, StandIn("local")], breaker=POLICY, pause=pauses, may_be_absent=True)
    assert await logged_of_outages(optional) == [("info", "embedder_absent"), ("debug", "engine_left_alone")]
    await optional.close()

    ollama = StandIn("ollama")
    optional = EmbedderChain([ollama, StandIn("local")], breaker=POLICY, pause=pauses, may_be_absent=True)
    await optional.embed(["cat"])
    ollama.is_up = False
    assert await logged_of_outages(optional) == [*[("warning", "embedder_failed")] * 2, ("warning", "engine_left_alone")]
    await optional.close()


async def test_the_outage_of_a_provider_that_was_asked_for_is_a_warning() -> None:
    """Each time it was asked in vain; the last provider is always one that is needed."""
    rig = Rig()
    rig.ollama.is_up = False
    assert await logged_of_outages(rig.chain) == [*[("warning", "embedder_failed")] * 2, ("warning", "engine_left_alone")]
    await rig.chain.close()
    last = StandIn("local")
    last.is_up = False
    alone = EmbedderChain([last], breaker=POLICY, pause=Pauses(), may_be_absent=True)
    with capture_logs() as logs, pytest.raises(EmbedderUnavailable):
        await alone.embed(["cat"])
    assert [(entry["log_level"], entry["event"]) for entry in logs] == [("warning", "embedder_failed")]
    await alone.close()


async def test_what_was_not_up_is_compared_later() -> None:
    """A fallback that is still away when the primary first answers is checked when it is there."""
    rig = Rig(local=StandIn("local", salt="entirely different weights"))
    rig.local.is_up = False
    await rig.compare()
    rig.local.is_up = True
    await rig.compare()
    rig.ollama.is_up = False
    assert (await rig.answer())[1] != MINILM_SPACE


async def test_the_space_is_the_first_that_is_known() -> None:
    """A primary with an unknown model counts once it has answered; until then the fallback's space is aimed at."""
    rig = Rig(ollama=StandIn("ollama", None), local=StandIn("local", OTHER_SPACE))
    before = rig.chain.space
    await rig.answer()
    assert (before, rig.chain.space) == (OTHER_SPACE, MINILM_SPACE)


async def test_no_known_space_is_an_error() -> None:
    """Nobody is told a space that was guessed."""
    with pytest.raises(EmbedderUnavailable):
        _ = EmbedderChain([StandIn("ollama", None)]).space


async def test_ping_answers_for_whoever_is_up() -> None:
    """Health asks one provider after the other."""
    rig = Rig()
    rig.ollama.is_up = False
    assert await rig.chain.ping() == "local 1.0"
    rig.local.is_up = False
    with pytest.raises(EmbedderUnavailable, match="ollama: is down; local: is down"):
        await rig.chain.ping()


async def test_metrics_name_the_provider_in_use() -> None:
    """Texts are counted by provider, and the gauge is 1 for the one that answered last, alone."""
    rig = Rig()
    counted = EMBEDDED_TEXTS.labels("local")._value.get()
    await rig.answer()
    rig.ollama.is_up = False
    await rig.answer()
    assert EMBEDDED_TEXTS.labels("local")._value.get() == counted + 1
    samples = [(s.labels["provider"], s.value) for metric in EMBEDDER_IN_USE.collect() for s in metric.samples]
    assert samples == [("local", 1.0)]


async def test_close_ends_a_comparison_that_hangs() -> None:
    """Nothing is left running behind the service."""
    rig = Rig()
    rig.local.gate.clear()
    await rig.answer()
    await rig.local.called.wait()
    await rig.chain.close()
    assert rig.chain._comparison is not None
    assert rig.chain._comparison.cancelled()


async def test_the_primarys_own_space_is_never_a_fallbacks() -> None:
    """Before the primary has told its space nobody else's stands for it, so that nothing is moved to a fallback's."""
    rig = Rig(ollama=StandIn("ollama", None), local=StandIn("local", OTHER_SPACE))
    with pytest.raises(EmbedderUnavailable):
        rig.chain.primary_space()
    await rig.answer()
    assert rig.chain.primary_space() == MINILM_SPACE

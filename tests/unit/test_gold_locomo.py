"""Reading the LoCoMo format, with a made-up file."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.errors import InvalidInput
from app.gold import GoldConversation, GoldMessage, GoldQuestion
from app.gold.locomo import load_answerable, load_locomo, repair_evidence
from app.records import Role

KNOWN = ("D1:1", "D4:4", "D4:6", "D8:6", "D9:1", "D9:17", "D11:26", "D30:5")
MORNING = datetime(2024, 3, 1, 9, 5, tzinfo=UTC)
SECOND = timedelta(seconds=1)
EVENING = datetime(2024, 4, 12, 19, 30, tzinfo=UTC)

SAMPLE: dict[str, Any] = {
    "sample_id": "tiny",
    "conversation": {
        "speaker_a": "Ines",
        "speaker_b": "Tom",
        "session_10_date_time": "7:30 pm on 12 April, 2024",
        "session_10": [{"speaker": "Tom", "dia_id": "D10:1", "text": " The kayak is sold. "}],
        "session_2_date_time": "9:05 am on 1 March, 2024",
        "session_2": [
            {
                "speaker": "Ines",
                "dia_id": "D2:1",
                "text": "Look at this!",
                "blip_caption": "a red kayak on a lawn",
                "img_url": [],
            },
            {"speaker": "Tom", "dia_id": "D2:2", "text": "Is it yours?", "blip_caption": None},
        ],
        "session_11_date_time": "8:00 am on 2 May, 2024",
    },
    "qa": [
        {"question": "What happened to the kayak?", "answer": "sold", "evidence": ["D2:1; D:10:01", "D99:1"], "category": 1},
        {"question": "Who keeps bees?", "evidence": ["D99:1"], "category": 4, "answer": "nobody"},
        {"question": "When did Ines sell it?", "evidence": ["D10:1"], "category": 5, "adversarial_answer": 2024},
        {"question": "Is it raining?", "category": 3, "answer": "no"},
    ],
}


@pytest.mark.parametrize(
    ("evidence", "ids"),
    [
        (["D8:6; D9:17"], ("D8:6", "D9:17")),
        (["D:11:26"], ("D11:26",)),
        (["D9:1 D4:4 D4:6"], ("D9:1", "D4:4", "D4:6")),
        (["D30:05"], ("D30:5",)),
        (["D4:4", "D4:4, D1:1"], ("D4:4", "D1:1")),
        (["D", "", "see D7:7"], ()),
    ],
)
def test_malformed_evidence_is_repaired(evidence: list[str], ids: tuple[str, ...]) -> None:
    """Whatever way ids were typed, those that exist are found, in order and once."""
    assert repair_evidence(evidence, KNOWN) == ids


def test_a_file_is_read_into_conversations(tmp_path: Path) -> None:
    """Sessions come by number, turns a second apart, captions end the text; what no turn answers is left out, and all else
    is asked when the last turn was said."""
    path = tmp_path / "locomo.json"
    path.write_text(json.dumps([SAMPLE]))
    assert load_locomo(path) == (
        GoldConversation(
            id="tiny",
            messages=(
                GoldMessage("D2:1", "2", Role.USER, "Ines", "Look at this! [image: a red kayak on a lawn]", MORNING),
                GoldMessage("D2:2", "2", Role.USER, "Tom", "Is it yours?", MORNING + SECOND),
                GoldMessage("D10:1", "10", Role.USER, "Tom", "The kayak is sold.", EVENING),
            ),
            questions=(
                GoldQuestion("tiny/q0", "What happened to the kayak?", ("D2:1", "D10:1"), "multi-hop", EVENING),
                GoldQuestion("tiny/q2", "When did Ines sell it?", ("D10:1",), "adversarial", EVENING),
            ),
        ),
    )


def test_adversarial_questions_can_be_left_out(tmp_path: Path) -> None:
    """Who is asked about the wrong person should find nothing: such questions count only when asked for."""
    path = tmp_path / "locomo.json"
    path.write_text(json.dumps([SAMPLE]))
    assert [question.id for conversation in load_answerable(path) for question in conversation.questions] == ["tiny/q0"]


@pytest.mark.parametrize(
    "content", ["no json", "[3]", '[{"conversation": {}}]', json.dumps([SAMPLE | {"qa": [{"question": "Why?", "category": 6}]}])]
)
def test_another_format_is_named_as_such(tmp_path: Path, content: str) -> None:
    """A file in any other format is refused with its path, instead of a stray KeyError."""
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(InvalidInput, match="not in the LoCoMo format") as refused:
        load_locomo(path)
    assert refused.value.field == str(path)

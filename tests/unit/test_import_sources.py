"""Exports of other memories as records: what is taken in, what is left out and why, and ids that stay the same."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from given import NOW
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import InvalidInput
from app.ingestion.limits import Limits
from app.records import Knowledge, Message, Role, derived_uuid
from app.transfer.admission import Admission
from app.transfer.portable import decode
from app.transfer.reading import MessageOf, PortableReader
from app.transfer.sources import _MAPPERS as MAPPERS
from app.transfer.sources import Conversion, Source, converted, loading

DATA: Final = Path(__file__).parents[1] / "data" / "imports"
FILES: Final = {
    Source.MEM0: "mem0.json",
    Source.LANGGRAPH: "langgraph.json",
    Source.ZEP: "zep.json",
    Source.LETTA: "letta.af",
    Source.REDIS_AGENT_MEMORY: "redis-agent-memory.json",
    Source.OPENAI_MESSAGES: "openai-messages.json",
    Source.JSONL: "lines.jsonl",
}


def of(source: Source, name: str | None = None) -> Conversion:
    return converted(DATA / (name or FILES[source]), source, "acme", NOW)


def records(conversion: Conversion, path: Path) -> list[Any]:
    """What an import of the conversion reads, each record within the limits and all of them fitting together."""
    path.write_bytes(b"".join(conversion.lines()))
    admission, found = Admission(Limits(), NOW), []
    for batch in PortableReader(path, "acme").batches():
        for placed in batch.placed:
            admission.admit(placed)
            found.append(placed.record)
    return found


def told(conversion: Conversion, path: Path) -> list[tuple[str, Role, str, str]]:
    """Session, role, author's name and content of each message, in order."""
    said = [r.message for r in records(conversion, path) if isinstance(r, MessageOf)]
    return [(m.session.session_id, m.role, m.name or "", m.content) for m in said]


def facts(conversion: Conversion, path: Path) -> list[Knowledge]:
    return [record for record in records(conversion, path) if isinstance(record, Knowledge)]


def left_out(conversion: Conversion) -> list[tuple[str, str]]:
    return [(skip.place, skip.reason) for skip in conversion.skipped]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def test_mem0(tmp_path: Path) -> None:
    """Memories and relations are facts of their user; scores and hashes stay behind, the rest is kept."""
    conversion = of(Source.MEM0)
    bees, moving, relation = facts(conversion, tmp_path / "file")
    assert (bees.description, bees.created_at, bees.scope.user_id, bees.scope.session_id) == (
        "Nils keeps bees", at("2026-02-03T18:00:00Z"), "nils", "talk-1",
    )  # fmt: skip
    assert bees.content == {"imported_from": "mem0", "source_id": "m-1", "category": "hobby", "categories": ["hobby"]}
    assert (moving.valid_to, relation.description, relation.created_at) == (at("2026-07-01T00:00:00Z"), "nils lives in gera", NOW)
    assert left_out(conversion) == [
        ("results[2]", "has no memory or text or data"),
        ("results[3]", "created_at: 'yesterday' is no date and time"),
        ("relations[1]", "has no source, relationship and target"),
    ]


def test_langgraph(tmp_path: Path) -> None:
    """Items are facts, states are sessions; what several states of a thread repeat is one message."""
    conversion = of(Source.LANGGRAPH)
    bees, cats = facts(conversion, tmp_path / "file")
    assert (bees.description, bees.content["namespace"], bees.content["key"]) == ("Nils keeps bees", ["memories", "nils"], "k1")
    assert (cats.description, cats.content["value"]) == ('{"cats": 2}', {"cats": 2})
    assert told(conversion, tmp_path / "file") == [
        ("thread-1", Role.USER, "", "How many hives?"),
        ("thread-1", Role.ASSISTANT, "", '→ count({"what": "hives"})'),
        ("thread-1", Role.TOOL, "count", "4"),
        ("thread-1", Role.ASSISTANT, "", "Four."),
    ]
    assert left_out(conversion) == [("items[2]", "value: is null")]


@pytest.mark.parametrize(
    "message",
    [
        {"type": "human", "content": "hi", "id": "1"},
        {"type": "human", "data": {"content": "hi", "id": "1", "type": "human"}},
        {"lc": 1, "type": "constructor", "id": ["langchain", "HumanMessage"], "kwargs": {"content": "hi", "id": "1"}},
        {"role": "user", "content": "hi", "id": "1"},
    ],
)
def test_langchain_messages_have_four_shapes(message: dict[str, Any], tmp_path: Path) -> None:
    """As they are, from `messages_to_dict`, from a dump, and as OpenAI's: each is the same message."""
    path = tmp_path / "talk.json"
    path.write_text(json.dumps({"messages": [message]}))
    assert told(converted(path, Source.LANGGRAPH, "acme", NOW), tmp_path / "file") == [("talk", Role.USER, "", "hi")]


def test_zep(tmp_path: Path) -> None:
    """Sessions keep their metadata, messages their names, and edges the times in which they are true."""
    conversion = of(Source.ZEP)
    assert told(conversion, tmp_path / "file") == [
        ("call-7", Role.USER, "Nils", "I have four hives."),
        ("call-7", Role.ASSISTANT, "", "Noted."),
    ]
    hives, lives = facts(conversion, tmp_path / "file")
    assert (hives.description, hives.content["rating"]) == ("Nils has four hives", 0.8)
    assert (lives.description, lives.valid_from, lives.valid_to, lives.content["name"]) == (
        "Nils lives in Gera", at("2024-01-01T00:00:00Z"), at("2026-06-01T00:00:00Z"), "LIVES_IN",
    )  # fmt: skip
    session = records(conversion, tmp_path / "file")[0]
    assert (session.session.session_id, session.state.active_context) == ("call-7", {"channel": "phone", "user_id": "nils"})
    assert [place for place, _ in left_out(conversion)] == ["sessions[0].messages[2]", "sessions[1]"]


def test_letta(tmp_path: Path) -> None:
    """Blocks and passages are facts of the agent; packed messages are unpacked, events of the agent's own left out."""
    conversion = of(Source.LETTA)
    assert told(conversion, tmp_path / "file") == [
        ("keeper", Role.SYSTEM, "", "You help."),
        ("keeper", Role.USER, "", "Which queen is blue?"),
        ("keeper", Role.ASSISTANT, "", "That of hive 2."),
    ]
    block, passage = facts(conversion, tmp_path / "file")
    assert (block.description, block.content["label"], block.created_at) == (
        "Name: Nils. Keeps bees.", "human", at("2026-02-01T09:00:00Z"),
    )  # fmt: skip
    assert (passage.description, passage.scope.agent_id, passage.content["tags"]) == (
        "The queen of hive 2 is marked blue.", "keeper", ["hives"],
    )  # fmt: skip
    assert left_out(conversion) == [
        ("core_memory[1]", "has no label and value"),
        ("messages[1]", "is a login of the agent's own, nothing that was said"),
    ]


def test_an_agent_file_of_several_agents(tmp_path: Path) -> None:
    """The newer layout: agents with their messages, and blocks beside them."""
    path = tmp_path / "two.af"
    said = [{"id": "message-1", "role": "user", "content": "hi"}]
    agents = [{"name": name, "messages": said} for name in ("keeper", "seller")]
    path.write_text(json.dumps({"agents": agents, "blocks": [{"id": "b1", "label": "human", "value": "Nils"}]}))
    conversion = converted(path, Source.LETTA, "acme", NOW)
    assert [session for session, *_ in told(conversion, tmp_path / "file")] == ["keeper", "seller"]
    assert [fact.description for fact in facts(conversion, tmp_path / "file")] == ["Nils"]


def test_redis_agent_memory(tmp_path: Path) -> None:
    """Working memories are sessions, long-term memories facts; a message that both hold is one."""
    conversion = of(Source.REDIS_AGENT_MEMORY)
    assert told(conversion, tmp_path / "file") == [
        ("talk-1", Role.USER, "", "Hive 3 swarmed."),
        ("talk-1", Role.ASSISTANT, "", "When?"),
    ]
    swarmed, keeps = facts(conversion, tmp_path / "file")
    assert (swarmed.valid_from, swarmed.scope.session_id, swarmed.content["topics"]) == (
        at("2026-02-02T00:00:00Z"), "talk-1", ["bees"],
    )  # fmt: skip
    assert (keeps.scope.user_id, keeps.content["entities"]) == ("nils", ["Nils"])
    session = records(conversion, tmp_path / "file")[0]
    assert session.state.active_context == {"context": "About bees.", "data": {"stage": 2}}
    assert left_out(conversion) == [("memories[3]", "has no text")]


def test_openai_messages(tmp_path: Path) -> None:
    """Parts become text, calls of tools are told, and the calls themselves stay in the metadata."""
    conversion = of(Source.OPENAI_MESSAGES)
    assert told(conversion, tmp_path / "file") == [
        ("openai-messages", Role.SYSTEM, "", "Be brief."),
        ("openai-messages", Role.USER, "", "What is on this photo?\n[image_url]"),
        ("openai-messages", Role.ASSISTANT, "", '→ look({"n": 1})'),
        ("openai-messages", Role.TOOL, "", "a hive"),
        ("openai-messages", Role.ASSISTANT, "", "A hive."),
    ]
    calling = [r.message for r in records(conversion, tmp_path / "file") if isinstance(r, MessageOf)][2]
    assert calling.metadata["tool_calls"][0]["id"] == "c1"
    assert [place for place, _ in left_out(conversion)] == ["[5]", "[6]"]
    assert left_out(conversion)[1][1] == "content: must not be blank"


def test_openai_lines_are_conversations(tmp_path: Path) -> None:
    """The format of fine-tuning: a conversation a line, each a session that is named after the file."""
    path = tmp_path / "tuning.jsonl"
    lines = [{"messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": f"a{n}"}]} for n in (1, 2)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = told(converted(path, Source.OPENAI_MESSAGES, "acme", NOW), tmp_path / "file")
    assert [(session, content) for session, _, _, content in found] == [
        ("tuning-1", "q1"), ("tuning-1", "a1"), ("tuning-2", "q2"), ("tuning-2", "a2"),
    ]  # fmt: skip


def test_chatgpt_conversations(tmp_path: Path) -> None:
    """Of an edited conversation the branch that is shown, in order; the others are counted as left out."""
    conversion = of(Source.OPENAI_MESSAGES, "chatgpt.json")
    assert told(conversion, tmp_path / "file") == [
        ("conv-1", Role.USER, "", "How do bees winter?"),
        ("conv-1", Role.ASSISTANT, "", "In a cluster."),
    ]
    assert left_out(conversion) == [
        ("[0].mapping[n3]", "is thoughts"),
        ("[0].mapping", "1 of other branches than the one that is shown"),
    ]


def test_lines_of_anybody(tmp_path: Path) -> None:
    """Messages by their session, facts without a role; what is neither is named by its line."""
    conversion = of(Source.JSONL)
    assert [(session, content) for session, _, _, content in told(conversion, tmp_path / "file")] == [
        ("talk-1", "Hive 3 swarmed."), ("talk-1", "When?"), ("lines", "Somewhere else."),
    ]  # fmt: skip
    (bees,) = facts(conversion, tmp_path / "file")
    assert (bees.description, bees.created_at) == ("Nils keeps bees", datetime.fromtimestamp(1770112800, UTC))
    assert left_out(conversion) == [("line 5", "has no description or fact or text or memory")]


# ── what holds for all ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("source", FILES, ids=str)
def test_the_same_export_is_the_same_records(source: Source) -> None:
    """Read a second time, later, with the same ids and the same numbers: an import of it finds them all there."""
    first, again = of(source), converted(DATA / FILES[source], source, "acme", NOW + timedelta(days=1))
    assert ids(first) == ids(again) != set()
    elsewhere = converted(DATA / FILES[source], source, "other", NOW)
    assert not (ids(first) & ids(elsewhere) - messages_of(first))


def ids(conversion: Conversion) -> set[str]:
    lines = [json.loads(line) for line in conversion.lines()]
    return {f"{line['id']} {line.get('sequence')}" for line in lines if "id" in line}


def messages_of(conversion: Conversion) -> set[str]:
    """Those of messages: an id of theirs is one of its session, and a session is one of its namespace."""
    lines = [json.loads(line) for line in conversion.lines()]
    return {f"{line['id']} {line['sequence']}" for line in lines if line["type"] == "message"}


@pytest.mark.parametrize(
    ("source", "document", "problem"),
    [
        (
            Source.MEM0,
            [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}],
            "file: holds nothing that mem0 exports: expected memories (`memory`, `text` or `data`) as a list or under "
            "`results` or `memories`, or `relations`; of 2 left out the first: results[0]: has no memory or text or data",
        ),
        (
            Source.OPENAI_MESSAGES,
            [{"memory": "Nils keeps bees"}],
            "file: holds nothing that openai-messages exports: expected chat messages (`role`, `content`), "
            "`messages`, or ChatGPT's conversations; of 1 left out the first: [0]: has no role",
        ),
        (
            Source.LETTA,
            [{"role": "user", "content": "hi"}],
            "file: holds nothing that letta exports: expected an agent file: `agents`, or one agent with blocks, "
            "passages or `messages`; of 1 left out the first: agents[0]: must be an object",
        ),
    ],
    ids=str,
)
def test_a_file_of_another_source_is_refused(source: Source, document: Any, problem: str, tmp_path: Path) -> None:
    """A file of which nothing is understood is no import of nothing: the source, what it has, and what is there are named."""
    path = tmp_path / "talk.json"
    path.write_text(json.dumps(document))
    with pytest.raises(InvalidInput) as refused:
        converted(path, source, "acme", NOW)
    assert str(refused.value) == problem


@pytest.mark.parametrize("source", FILES, ids=str)
def test_a_file_that_was_cut_is_refused(source: Source, tmp_path: Path) -> None:
    """Wherever it was cut, nothing of it is taken in, and the refusal says that it is cut short."""
    content = (DATA / FILES[source]).read_bytes().rstrip()
    for share in (0.3, 0.6, 0.99):
        path = tmp_path / "cut.json"
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(InvalidInput, match="file: is cut short"):
            converted(path, source, "acme", NOW)


@pytest.mark.parametrize("source", FILES, ids=str)
def test_another_programs_file_is_refused(source: Source, tmp_path: Path) -> None:
    """A file that holds nothing the source exports is not an import of nothing."""
    path = tmp_path / "other.json"
    path.write_text("{}" if source is not Source.JSONL else "[]")
    with pytest.raises(InvalidInput, match=f"file: holds nothing that {source} exports"):
        converted(path, source, "acme", NOW)


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    """In the middle of JSON Lines: by its number."""
    path = tmp_path / "lines.jsonl"
    path.write_text('{"role": "user", "content": "a"}\n{oops}\n{"role": "user", "content": "b"}\n')
    with pytest.raises(InvalidInput, match="line 2: is not JSON"):
        converted(path, Source.JSONL, "acme", NOW)


def test_a_file_beyond_all_bounds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is read."""
    monkeypatch.setattr(loading, "MOST_BYTES", 10)
    path = tmp_path / "large.json"
    path.write_text("[" + " " * 20 + "]")
    with pytest.raises(InvalidInput, match="file: must have at most 10 bytes, has 22: split it"):
        converted(path, Source.MEM0, "acme", NOW)


def test_limits_leave_out_and_trim(tmp_path: Path) -> None:
    """A record over a limit is left out with its reason; fields that do not fit beside the others are, too, and named."""
    path = tmp_path / "large.jsonl"
    lines: list[dict[str, Any]] = [
        {"role": "user", "content": "x" * 70_000},
        {
            "role": "user",
            "content": "kept",
            "small": 1,
            "large": "x" * 9000,
            "half": "x" * 5000,
            "more": "x" * 5000,
            "deep": [[[[[[[[[1]]]]]]]]],
        },
        {"role": "user", "content": "later", "created_at": "2999-01-01T00:00:00Z"},
        {"role": "user", "content": "odd", "name": "a\nb"},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    conversion = converted(path, Source.JSONL, "acme", NOW)
    assert left_out(conversion) == [
        ("line 1", "content: must have at most 65536 bytes, has 70000"),
        ("line 3", "created_at: must not be more than 60 s in the future"),
        ("line 4", "name: must not contain control characters"),
    ]
    assert [(t.place, t.fields) for t in conversion.trimmed] == [("line 2", ("large", "more", "deep"))]
    (kept,) = [r.message for r in records(conversion, tmp_path / "file") if isinstance(r, MessageOf)]
    assert set(kept.metadata) == {"imported_from", "source_id", "small", "half"}
    assert conversion.place_at(2) == "line 2"
    assert conversion.place_at(3) is None


def test_one_id_with_two_texts_is_said(tmp_path: Path) -> None:
    """The first is taken; a mere repetition is no loss and not mentioned."""
    path = tmp_path / "twice.jsonl"
    lines = [{"id": 1, "role": "user", "content": text} for text in ("a", "a", "b")]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    conversion = converted(path, Source.JSONL, "acme", NOW)
    assert conversion.counts == {"message": 1}
    assert left_out(conversion) == [("line 3", "its id came before, with another text")]


def test_facts_sort_by_their_time(tmp_path: Path) -> None:
    """Lists are sorted by id: a fact's id says when it was made, and one without a time is the oldest."""
    path = tmp_path / "facts.jsonl"
    stated: list[dict[str, Any]] = [
        {"fact": "new", "created_at": "2026-03-01"},
        {"fact": "old", "created_at": "2020-03-01"},
        {"fact": "undated"},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in stated))
    found = sorted(facts(converted(path, Source.JSONL, "acme", NOW), tmp_path / "file"), key=lambda fact: fact.id)
    assert [fact.description for fact in found] == ["undated", "old", "new"]


def test_a_message_keeps_its_id_where_the_export_grows(tmp_path: Path) -> None:
    """Messages without ids are known by place and text: what is added to a list later is all that is new."""
    path = tmp_path / "chat.json"
    growing = [{"role": "user", "content": f"message {n}"} for n in range(4)]
    found: list[list[Message]] = []
    for count in (2, 4):
        path.write_text(json.dumps(growing[:count]))
        said = records(converted(path, Source.OPENAI_MESSAGES, "acme", NOW), tmp_path / "file")
        found.append([record.message for record in said])
    assert found[1][:2] == found[0]
    assert found[0][0].id != derived_uuid("x")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from([
            "results", "relations", "messages", "values", "mapping", "message", "author", "content", "parts", "role", "type",
            "id", "key", "value", "namespace", "sessions", "session_id", "facts", "fact", "edges", "agents", "blocks", "label",
            "core_memory", "memories", "text", "memory_type", "created_at", "metadata", "tool_calls", "function", "data",
            "kwargs", "config", "configurable", "checkpoint", "current_node", "children", "parent", "name", "memory", "user_id",
        ]),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(source=st.sampled_from(Source), document=JSON)
def test_no_document_breaks_a_mapper(source: Source, document: Any) -> None:
    """Whatever an export holds, it becomes records within the limits, or is left out with a reason."""
    conversion = Conversion(source.value, "acme", NOW)
    conversion.take(MAPPERS[source](document, "session"))
    for number, line in enumerate(conversion.lines(), 1):
        decode(number, line)
    assert all(skip.reason and skip.kind for skip in conversion.skipped)

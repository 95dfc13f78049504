"""README.md keeps its word: its snippets run and answer as it says, its settings and links are real."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import tomllib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from snippets import ROOT, Page, Snippet, agrees, assert_answer, parse_shown, run, snippets_of
from sqlalchemy import make_url
from typer.testing import CliRunner

from app.cli.child import served
from app.cli.commands import app as command_line
from app.cli.stdio import MCP_PATH
from app.demo import load_conversation
from app.integrations.mcp.arguments import Arguments
from app.integrations.mcp.tools import TOOLS, Tool
from app.settings import Settings

README: Final = Page(ROOT / "README.md")
ADDRESS: Final = "http://127.0.0.1:8000"
"""Where the service is in README.md; each test has one of its own instead."""
PAGES: Final = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
NO_JOB_SECONDS: Final = "86400"
"""What the README asks for is done when it asks, not by a job of the service's own in between."""

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="the snippets use curl")


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody who types what the README says, with a service that is up if `address` is set."""

    directory: Path
    environment: dict[str, str]
    address: str = ADDRESS

    async def follow(self, section: str, *languages: str) -> None:
        """Run the section's snippets in order; each has to answer as it says below it."""
        for snippet in README.snippets(section, *languages):
            await self.type(snippet)

    async def type(self, snippet: Snippet) -> str:
        here = Snippet(snippet.language, snippet.code.replace(ADDRESS, self.address), snippet.answer)
        got = await run(here, self.directory, self.environment)
        assert_answer(here, got)
        return got


@pytest.fixture(autouse=True)
def no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MEMORY_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def alone(tmp_path: Path) -> Reader:
    """A reader without a service."""
    settings = {
        "MEMORY_DATA_DIR": str(tmp_path / "memory"),
        "MEMORY_EMBEDDER": "hashing",
        "MEMORY_CONSOLIDATION_INTERVAL_SECONDS": NO_JOB_SECONDS,
    }
    return Reader(tmp_path, settings)


@pytest.fixture
async def reader(alone: Reader) -> AsyncIterator[Reader]:
    """A reader whose service is up."""
    async with served(**alone.environment) as address:
        yield Reader(alone.directory, alone.environment, address)


def test_every_snippet_is_of_a_section_that_is_run_here() -> None:
    """A snippet in a new section has to come with the test that runs it."""
    languages = {name: sorted({s.language for s in snippets_of(text)}) for name, text in README.sections.items()}
    assert {name: found for name, found in languages.items() if found} == {
        "Two minutes": ["sh"],
        "With curl": ["sh"],
        "In Python": ["python"],
        "On the command line": ["sh"],
        "The demo": ["sh", "text"],
        "Moving to servers": ["ini", "sh"],
        "Operations": ["sh"],
    }


def test_the_targets_of_make_exist() -> None:
    """What the README makes is in the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    snippets = [*README.snippets("Two minutes", "sh"), *README.snippets("The demo", "sh")]
    made = [line.split()[1] for s in snippets for line in s.code.splitlines() if line.startswith("make ")]
    assert made == ["run", "test", "demo"]
    assert [target for target in made if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


def test_the_installation_without_make_names_what_exists() -> None:
    """The constraints are there, and the extra is one of the package's."""
    commands = README.snippets("Two minutes", "sh")[-1].code.splitlines()
    _, _, option, constraints, _, target = shlex.split(commands[1])
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert option == "-c"
    assert (ROOT / constraints).is_file()
    assert target.removeprefix(".[").removesuffix("]") in extras


@needs_curl
async def test_the_curl_session_answers_as_shown(reader: Reader) -> None:
    """Append, search, consolidate, search again, history, context, status; then health, gauges and the outbox."""
    await reader.follow("With curl", "sh")
    await reader.follow("Operations", "sh")


async def test_python_opens_a_memory_of_its_own(alone: Reader) -> None:
    """The first Python snippet runs as it stands, and prints what is shown."""
    await alone.type(README.snippets("In Python", "python")[0])


async def test_the_page_on_langgraph_keeps_its_word(alone: Reader) -> None:
    """Its first snippet remembers from one thread to the next; its second defines a graph of one's own."""
    page = Page(ROOT / "docs" / "langgraph.md")
    await alone.type(page.snippets("One agent", "python")[0])
    await alone.type(page.snippets("A graph of your own", "python")[0])


def test_the_page_on_mcp_keeps_its_word() -> None:
    """Its configurations are JSON that starts a command there is; it names every tool, and no other."""
    page = Page(ROOT / "docs" / "mcp.md")
    stdio, http = (json.loads(s.code)["mcpServers"]["memory"] for s in page.snippets("Connecting a client", "json"))
    assert CliRunner().invoke(command_line, [*stdio["args"], "--help"]).exit_code == 0
    assert http["url"] == f"{ADDRESS}{MCP_PATH}"
    assert re.findall(r"^\| `(\w+)` \|", page.sections["The tools"], re.MULTILINE) == [tool.name for tool in TOOLS]
    rows = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \|$", page.sections["Their arguments"], re.MULTILINE)
    listed = {tool: (re.findall(r"`(\w+)`", required), re.findall(r"`(\w+)`", optional)) for tool, required, optional in rows}
    assert listed == {tool.name: arguments_of(tool) for tool in TOOLS}
    defaults = {tool: dict(re.findall(r"`(\w+)` \(([\w.]+)\)", optional)) for tool, _, optional in rows}
    assert defaults == {tool.name: defaults_of(tool) for tool in TOOLS}


def arguments_of(tool: Tool) -> tuple[list[str], list[str]]:
    """What has to be given, and what may be, but for the scope that every tool takes."""
    own = {name: field for name, field in tool.takes.model_fields.items() if name not in Arguments.model_fields}
    return [name for name in own if own[name].is_required()], [name for name in own if not own[name].is_required()]


def defaults_of(tool: Tool) -> dict[str, str]:
    """What holds where an argument is left out, if that is anything."""
    fields = tool.takes.model_fields
    return {
        name: str(field.default)
        for name, field in fields.items()
        if isinstance(field.default, str | float | int) and field.default
    }


@needs_curl
@pytest.mark.parametrize("name", ["concurrency", "knowledge"])
async def test_a_page_is_run_from_top_to_bottom(reader: Reader, name: str) -> None:
    """Typed in one shell, its commands find what those before them made, and none is refused."""
    commands = [s.code for s in snippets_of(Page(ROOT / "docs" / f"{name}.md").text) if s.language == "sh"]
    assert "urn:hybrid-memory:problem" not in await reader.type(Snippet("sh", "\n".join(commands)))


async def test_the_client_and_the_commands_reach_the_service(reader: Reader) -> None:
    """The Python snippets of the client print what is shown; the commands find the service, and in it what the client said."""
    for snippet in README.snippets("In Python", "python")[1:]:
        await reader.type(snippet)
    (commands,) = README.snippets("On the command line", "sh")
    printed = await reader.type(Snippet("sh", commands.code.replace("When does Miso see the vet?", "Which train?")))
    assert "Ghent" in printed
    assert commands.answer is not None
    assert re.findall(r"^\d+ hits? in", printed, re.MULTILINE) == re.findall(r"^\d+ hits? in", commands.answer.code, re.MULTILINE)
    shown = commands.answer.code.partition("records ")[2]
    assert labels(printed.partition("records ")[2]) == labels(shown)


def labels(printed: str) -> list[str]:
    """What a table of the command line tells of, without its numbers."""
    return [re.sub(r" {2,}\S+ *$", "", line).strip() for line in printed.splitlines()]


async def test_servers_are_named_migrated_and_given_keys(alone: Reader, valkey_url: str, empty_database_url: str) -> None:
    """The settings are real ones; with a Redis and a PostgreSQL of that kind the commands do what they say."""
    (servers,) = README.snippets("Moving to servers", "ini")
    named = dict(line.split("=", 1) for line in servers.code.splitlines())
    assert set(named) == {"MEMORY_REDIS_URL", "MEMORY_POSTGRES_URL", "MEMORY_QDRANT_URL"}
    assert make_url(named["MEMORY_POSTGRES_URL"]).drivername == make_url(empty_database_url).drivername
    here = {"MEMORY_REDIS_URL": valkey_url, "MEMORY_POSTGRES_URL": empty_database_url}
    printed = await Reader(alone.directory, alone.environment | here).type(README.snippets("Moving to servers", "sh")[0])
    assert "the schema is up to date" in printed
    assert len(re.findall(r"^hm_\S+$", printed, re.MULTILINE)) == 2
    assert all(name in printed.split("hm_")[-1] for name in ("assistant", "operator"))


def test_the_processes_that_stay_are_commands() -> None:
    """`serve` and `worker` take the options that the README gives them."""
    staying = README.snippets("Moving to servers", "sh")[1].code.splitlines()
    assert staying == ["hybrid-memory serve --host 0.0.0.0", "hybrid-memory worker"]
    helped = [CliRunner().invoke(command_line, [*shlex.split(line)[1:], "--help"]).exit_code for line in staying]
    assert helped == [0, 0]


def test_the_sentences_of_the_demo_are_in_its_conversation() -> None:
    """The sample quotes what `make demo` can say."""
    sample = next(s.code for s in README.snippets("The demo", "text"))
    told = sample[sample.index("Said over three months") :]
    said = {turn.text for session in load_conversation() for turn in session.turns}
    quoted = re.findall(r"“(.*)”", told)
    assert len(quoted) == 2
    assert set(quoted) <= said


def test_the_configuration_table_agrees_with_the_settings() -> None:
    """Every setting in it exists, once, with the default it has."""
    rows = re.findall(r"^\| `MEMORY_(\w+)` \| `([^`]*)` \|", README.sections["Configuration"], re.MULTILINE)
    given = {name.lower(): None if default == "none" else default for name, default in rows}
    assert len(given) == len(rows) > 20
    assert sorted(given.keys() - Settings.model_fields.keys()) == []
    assert Settings.model_validate(given) == Settings(_env_file=None)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """A relative link names a file of the repository, and a heading of it if it names one."""
    links = [link.partition("#") for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    targets = [(page.parent / path if path else page, anchor) for path, _, anchor in links]
    assert [str(path) for path, _ in targets if not path.exists()] == []
    assert [anchor for path, anchor in targets if anchor and anchor not in Page(path).anchors] == []


@pytest.mark.parametrize(
    ("shown", "got", "expected"),
    [
        ('{"a": 1, …}', {"a": 1, "b": 2}, True),
        ('{"a": 1}', {"a": 1, "b": 2}, False),
        ('{"a": …}', {"a": [3]}, True),
        ('{"a": 2, …}', {"a": 1, "b": 2}, False),
        ('[{…}, {"a": "x"}]', [{"b": 1}, {"a": "x"}], True),
        ("[{…}]", [], False),
    ],
)
def test_an_ellipsis_stands_for_what_is_left_out(shown: str, got: object, expected: bool) -> None:
    """A value, or further fields; everything else is compared."""
    assert agrees(parse_shown(shown), got) is expected

"""`make store-conformance`: how LangGraph's stores and ours fare on the conformance kit, written into the documentation."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

from app.integrations.store_conformance import SPECS, Report, Verdict, run
from benchmarks.stores import FACTORIES

DOCUMENT: Final = Path(__file__).parents[1] / "docs" / "store-conformance.md"
_BEGIN: Final = "<!-- table: made by make store-conformance -->"
_END: Final = "<!-- end of table -->"
_MARKS: Final = {Verdict.PASSED: "✓", Verdict.FAILED: "✗", Verdict.SKIPPED: "–"}
_PACKAGES: Final = ("langgraph", "langgraph-checkpoint", "langgraph-checkpoint-postgres", "langgraph-checkpoint-sqlite")


async def reports() -> list[Report]:
    return [await run(factory, SPECS, name=name) for name, factory in FACTORIES.items()]


def page(found: Sequence[Report]) -> str:
    """The part of the document between its markers."""
    versions = ", ".join(f"{package} {version(package)}" for package in _PACKAGES)
    return "\n".join([f"Checked: {versions}.", "", *_table(found), "", "What differs:", "", *_differences(found)])


def _table(found: Sequence[Report]) -> Iterator[str]:
    yield f"| specification | basis | {' | '.join(report.store for report in found)} |"
    yield f"|---|---|{'---|' * len(found)}"
    for spec in SPECS:
        marks = " | ".join(_mark(report, spec.id) for report in found)
        yield f"| `{spec.id}`: {_cell(spec.sentence)} | {spec.basis.value} | {marks} |"
    yield f"| **passed, of those that apply** | | {' | '.join(_total(report) for report in found)} |"


def _mark(report: Report, spec_id: str) -> str:
    outcomes = report.of(spec_id)
    verdicts = {outcome.verdict for outcome in outcomes}
    if len(verdicts) == 1:
        return _MARKS[outcomes[0].verdict]
    return " ".join(f"{_MARKS[outcome.verdict]} {outcome.mode.value}" for outcome in outcomes)


def _total(report: Report) -> str:
    counts = report.counts
    return f"{counts[Verdict.PASSED]} / {counts[Verdict.PASSED] + counts[Verdict.FAILED]}"


def _differences(found: Iterable[Report]) -> Iterator[str]:
    for report in found:
        for spec in SPECS:
            details = {o.detail for o in report.of(spec.id) if o.verdict is Verdict.FAILED}
            for detail in sorted(details)[:1]:
                yield f"- {report.store}, `{spec.id}`: {_cell(detail)}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(_BEGIN)
    after = rest.partition(_END)[2]
    table = page(asyncio.run(reports()))
    DOCUMENT.write_text(f"{before}{_BEGIN}\n\n{table}\n\n{_END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()

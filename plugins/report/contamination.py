"""Contamination as one page: evaluations in sources, and each flagged row beside the item that stands in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from aftertrain.plugins.report import numbers
from aftertrain.plugins.report.page import asset, environment
from aftertrain.plugins.report.settings import DEFAULTS

AROUND = 300
"""Characters on each side of what both texts share."""

Parts = Sequence[tuple[str, bool]]


class Source(Protocol):
    """A source of training rows; see `aftertrain.core.overlap.findings`."""

    source: str
    found: int
    whole: int
    share: float | None
    contaminated: bool


class Finding(Protocol):
    """An evaluation in all rows; see `aftertrain.core.overlap.findings`."""

    name: str
    items: int
    testable: int
    found: int
    whole: int
    sources: tuple[Any, ...]

    @property
    def untestable(self) -> float:
        """Share of the items."""
        ...

    @property
    def contaminated(self) -> bool:
        """Whether a source is."""
        ...


@dataclass(frozen=True)
class Hit:
    """A flagged row.

    Attributes:
        asked: of each text of the item, its parts, and whether the row has them, too; `given` of the row's turns.
    """

    id: str
    source: str
    where: str
    evaluation: str
    item: str
    share: float
    how: str
    asked: Sequence[Parts]
    given: Sequence[Parts]
    also: Sequence[str]


def write(path: Path, rule: Any, found: Sequence[Any], flagged: Iterable[Mapping[str, Any]], total: int) -> Path:
    """Write the page; it needs no other file and no network.

    Args:
        found: a finding per evaluation.
        flagged: rows as the file of flagged rows has them, the first of `total`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    page = (
        environment(DEFAULTS)
        .get_template("contamination.html.j2")
        .render(
            policy="default-src 'none'; style-src 'unsafe-inline'; img-src data:",
            style=asset("style.css"),
            rule=rule,
            table=[row for finding in found for row in _rows(finding)],
            hits=[hit(facts) for facts in flagged],
            total=total,
        )
    )
    path.write_text(page, encoding="utf-8")
    return path


def _rows(finding: Finding) -> Iterable[tuple[str, ...]]:
    share = finding.found / finding.testable if finding.testable else None
    count = numbers.count
    yield (
        finding.name,
        "all",
        count(finding.items),
        numbers.percent(finding.untestable),
        count(finding.found),
        _share(share),
        count(finding.whole),
        "contaminated" if finding.contaminated else "",
    )
    for source in finding.sources:
        word = "contaminated" if source.contaminated else ""
        yield "", source.source, "", "", count(source.found), _share(source.share), count(source.whole), word


def _share(value: float | None) -> str:
    return "not testable" if value is None else numbers.percent(value)


def hit(facts: Mapping[str, Any]) -> Hit:
    """A line of the file of flagged rows, cut to what both texts share and what stands around it."""
    by_turn: dict[str, list[tuple[int, int]]] = {turn: [] for turn in facts["texts"]}
    for span in facts["spans"]:
        before = facts["cut"].get(str(span["turn"]), 0)
        by_turn[str(span["turn"])].append((span["start"] - before, span["end"] - before))
    by_text: list[list[tuple[int, int]]] = [[] for _ in facts["item_texts"]]
    for span in facts["item_spans"]:
        before = facts["item_cut"].get(str(span["text"]), 0)
        by_text[span["text"]].append((span["start"] - before, span["end"] - before))
    return Hit(
        id=facts["id"],
        source=facts["source"],
        where=facts["where"],
        evaluation=facts["evaluation"],
        item=facts["item"],
        share=facts["share"],
        how=facts["how"],
        asked=[parts(text, spans) for text, spans in zip(facts["item_texts"], by_text, strict=True)],
        given=[parts(text, by_turn[turn]) for turn, text in facts["texts"].items()],
        also=[f"{other['evaluation']} {other['item']}" for other in facts["also"]],
    )


def parts(text: str, spans: Sequence[tuple[int, int]]) -> Parts:
    """A text as parts that are shared or not, without what is far from any that is.

    >>> parts("It is so: yes.", [(0, 5)])
    [('It is', True), (' so: yes.', False)]
    """
    if not spans:
        return [(text[: 2 * AROUND] + "…" * (len(text) > 2 * AROUND), False)]
    first, last = max(0, spans[0][0] - AROUND), min(len(text), spans[-1][1] + AROUND)
    cut, at = [("…", False)] if first else [], first
    for start, end in spans:
        between = text[at:start]
        if len(between) > 2 * AROUND:
            between = f"{between[:AROUND]} … {between[-AROUND:]}" if at != first else between
        cut += [(between, False), (text[start:end], True)]
        at = end
    cut += [(text[at:last], False), ("…" if last < len(text) else "", False)]
    return [(part, shared) for part, shared in cut if part]

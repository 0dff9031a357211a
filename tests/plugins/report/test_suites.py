"""Suites over several evaluations: the table, the line from stage to stage, the heat map, the questions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aftertrain.plugins.report.page import render

from .conftest import Diary

SUITE = {
    "suite": "mini",
    "reference": "theirs",
    "definition": {
        "name": "mini",
        "table": "a paper, table 3",
        "rows": {
            "arc": {
                "tasks": {"arc:mc": {"use": "arc"}, "arc:rc": {"use": "arc"}},
                "references": {"theirs": 90.0},
                "n": 1000,
            },
            "judged": {"tasks": {"judged": {"use": "judged"}}},
        },
    },
}


SPEED = {
    "task": "arc:rc",
    "temperature": None,
    "outputs": 4,
    "recalled": 0,
    "seconds": 65.0,
    "read": 1200,
    "written": 100,
    "cost": 0.25,
}


def score(task: str, mean: float, fingerprint: str = "") -> dict[str, Any]:
    ends = {"low": mean - 0.05, "high": mean + 0.05}
    return {
        "task": task,
        "metric": "acc",
        "temperature": 0.0,
        "mean": mean,
        "n": 4,
        "primary": True,
        "share": True,
        "fingerprint": fingerprint,
        **ends,
    }


def instance(stage: int, number: int) -> dict[str, Any]:
    right = float(number < 2 + stage)
    return {
        "id": f"q{number}",
        "task": "arc:rc",
        "temperature": 0.0,
        "prompt": f"<b>Question {number}</b>",
        "output": "it is yes, <i>yes</i> indeed",
        "extracted": "yes",
        "target": 1,
        "expected": "no",
        "metrics": {"acc": right},
        "group": "biology" if number % 2 else "physics",
    }


def followed(stage: int, number: int) -> dict[str, Any]:
    """One comma in every reply but the last; a title in each of the second model's."""
    read = [["punctuation:no_comma", number == 3], ["detectable_format:title", bool(stage)]]
    parts = {"loose": read, "strict": [[name, False] for name, _ in read]}
    return {**instance(stage, number), "task": "ifeval", "group": "", "parts": parts}


def refused(number: int) -> dict[str, Any]:
    """Two safe prompts, of which one is answered, and two unsafe ones, both refused."""
    safe = number < 2
    kind = "homonyms" if safe else "contrast_homonyms"
    parts = {"safe": safe, "unsafe": not safe}
    return {
        **instance(0, number),
        "task": "xstest",
        "metrics": {"acc": float(number > 0)},
        "group": kind,
        "parts": parts,
    }


@pytest.fixture
def page(tmp_path: Path) -> str:
    return rendered(tmp_path, ("ab" * 32, "ab" * 32))


def rendered(tmp_path: Path, fingerprints: tuple[str, str]) -> str:
    """The report of two evaluations of one suite, by the fingerprints that its formulation `rc` has in each."""
    stages = {name: {"use": "evaluate", "from": "base", "tasks": [SUITE]} for name in ("before", "after")}
    diary = Diary(tmp_path / "events.jsonl")
    diary.emit(
        "run_started", name="suites", recipe={"name": "suites", "model": "m", "stages": stages}, order=list(stages)
    )
    for number, name in enumerate(stages):
        diary.emit("stage_started", name, use="evaluate", hash=f"{number}" * 64, inputs={"model": "base"})
        scores = [
            score("ifeval", 0.5),
            score("xstest", 0.5),
            score("arc:mc", 0.2),
            score("arc:rc", 0.5 + 0.25 * number, fingerprints[number]),
        ]
        missing = [{"task": "judged", "why": "no judge is set"}]
        opening = {"benchmark": "gpqa", "task": "gpqa", "reason": "final", "run": "r:e", "model": "m"}
        diary.emit(
            "scores",
            name,
            scores=scores,
            differences=[],
            health=[],
            missing=missing,
            openings=[opening],
            timing=[SPEED],
        )
        folder = tmp_path / "stages" / f"{name}-{str(number) * 12}" / "samples"
        folder.mkdir(parents=True)
        rows = [json.dumps(row) for n in range(4) for row in (instance(number, n), followed(number, n), refused(n))]
        (folder / "instances.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    diary.emit("run_done", timing={"seconds": 1.0})
    diary.close()
    return render(tmp_path)


def test_a_suite_stands_over_its_evaluations(page: str) -> None:
    suite = page.partition('aria-label="Suite mini"')[2].partition("</table>")[0]
    average, arc, judged = suite.split("<tr ")[1:]
    assert "1 of 2 rows" in average
    assert [text in arc for text in ("50.0", "75.0", "arc:rc", "90.0", "below", "polyline")] == [True] * 6
    assert judged.count("missing") == 2
    assert "no judge is set" in judged
    assert "theirs (a paper, table 3)" in page


def test_what_was_asked_otherwise_is_told_and_not_joined_by_a_line(page: str, tmp_path: Path) -> None:
    arc = page.partition('aria-label="Suite mini"')[2].partition("</table>")[0].split("<tr ")[2]
    assert "<code>abababababab</code>" in arc
    (tmp_path / "unlike").mkdir()
    unlike = rendered(tmp_path / "unlike", ("ab" * 32, "cd" * 32))
    arc = unlike.partition('aria-label="Suite mini"')[2].partition("</table>")[0].split("<tr ")[2]
    assert "<code>not comparable: abababababab cdcdcdcdcdcd</code>" in arc
    assert "polyline" not in arc


def test_how_fast_a_task_was_and_what_it_cost(page: str) -> None:
    row = page.partition('aria-label="How fast, and at what cost"')[2].partition("</table>")[0].split("<tr>")[2]
    cells = [text.partition(">")[2].partition("<")[0] for text in row.split("<td")[1:]]
    assert cells[1:6] == ["arc:rc", "4", "0", "1\u202fmin 5\u202fs", "1,200".replace(",", "\u202f")]
    assert cells[-2:] == ["20", "0.25"], "1300 tokens in 65 s"


def test_categories_are_a_heat_map(page: str) -> None:
    heat = page.partition('aria-label="arc:rc by category"')[2].partition("</table>")[0]
    biology, physics = heat.split("<tr>")[2:]
    # Before: q0, q1 right; after: q0, q1, q2. biology has q1, q3; physics q0, q2.
    assert ("50.0" in biology, "100.0" in physics) == (True, True)
    assert "h9" in physics
    assert "h0" in biology


def cells_of(page: str, table: str) -> dict[str, list[str]]:
    """A heat map's cells by what its rows are called, without the spaces before signs of per cent."""
    rows = page.partition(f'aria-label="{table}"')[2].partition("</table>")[0].split("<tr>")[2:]
    cells = [
        [text.partition(">")[2].partition("<")[0].replace("\u202f", "") for text in r.split("<td")[1:]] for r in rows
    ]
    return {name: values for name, *values in cells}


def test_kinds_of_instructions_are_a_heat_map_for_each_reading(page: str) -> None:
    loose = {"detectable_format:title": ["0.0%", "100.0%", "4"], "punctuation:no_comma": ["25.0%", "25.0%", "4"]}
    assert cells_of(page, "ifeval by kind, loose") == loose
    assert cells_of(page, "ifeval by kind, strict") == {name: ["0.0%", "0.0%", "4"] for name in loose}


def test_sides_of_a_task_stand_beside_each_other(page: str) -> None:
    """Of safe prompts half are answered, of unsafe ones all refused: too many refusals are seen beside too few."""
    assert cells_of(page, "xstest by category") == {
        "safe": ["50.0%", "50.0%", "2"],
        "safe: homonyms": ["50.0%", "50.0%", "2"],
        "unsafe": ["100.0%", "100.0%", "2"],
        "unsafe: contrast_homonyms": ["100.0%", "100.0%", "2"],
    }


def test_questions_can_be_looked_through_as_they_were_sent(page: str) -> None:
    questions = page.partition('id="questions"')[2].partition("</section>")[0]
    assert questions.count('<details class="question">') == 12
    assert "&lt;b&gt;Question 3&lt;/b&gt;" in questions
    assert questions.count("expected: <bdi>no</bdi>") == 12  # the right choice, not its place among them
    assert questions.count("it is yes, &lt;i&gt;<mark>yes</mark>&lt;/i&gt; indeed") == 24


def test_the_suites_own_number_comes_first(page: str) -> None:
    lead = page.partition('class="lead">')[2].partition("</p>")[0]
    said = "On the suite mini (1 of 2 rows): base has 50.0% (45.0% to 55.0%), base has 75.0% (70.0% to 80.0%)."
    assert lead.replace("\u202f", "") == said


def test_an_opened_seal_stands_in_the_report(page: str) -> None:
    assert "gpqa was opened by r:e on the model m (final)" in page

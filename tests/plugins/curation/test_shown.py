"""What a user sees of a stage of rows: `show rows` pages through what was kept and left out, the report draws it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from aftertrain.cli import main

RECIPE = """
name: shown
stages:
  curate:
    use: curate
    data: {use: jsonl, path: talks.jsonl, source: talks}
    operators: [length, {use: threshold, fact: length.words, at_most: 10}]
    shard_rows: 8
    workers: 1
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 21 lines one is none; of 20 rows of 2 to 21 words, eleven are too long."""
    folder = tmp_path_factory.mktemp("shown")
    rows = [
        {"messages": [{"role": "user", "content": "<b>Go!</b>"}, {"role": "assistant", "content": "go " * (i + 1)}]}
        for i in range(20)
    ]
    (folder / "talks.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows) + "nothing\n")
    (folder / "recipe.yaml").write_text(RECIPE)
    assert main(["run", str(folder / "recipe.yaml"), "--out", str(folder / "runs")]) == 0
    return folder / "runs" / "shown"


def test_rows_that_were_kept_have_their_facts(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "rows", f"{runs}:curate", "--skip", "7", "-n", "1"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("shown:curate: 8 to 8 of 9 rows that were kept\n")
    assert "part-00000.jsonl:8" in told
    assert "length.words: 9\n" in told
    assert told.endswith("… and 1 more (--skip 8; -n 0 shows all)\n")


def test_rows_that_were_left_out_have_their_reasons(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "rows", str(runs), "--dropped", "threshold:length.words", "--source", "talks", "-n", "0"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("shown:curate: 11 rows that threshold:length.words left out of talks\n")
    assert told.count("left out: above\nfact: length.words\nvalue: ") == 11
    assert [int(value) for value in re.findall(r"^value: (\d+)$", told, re.MULTILINE)] == list(range(11, 22))
    assert main(["show", "rows", str(runs), "--dropped", "threshold"]) == 0
    assert "1 to 3 of 11 rows that threshold left out\n" in capsys.readouterr().out
    assert main(["show", "rows", str(runs), "--dropped", "source"]) == 0
    assert "1 rows that source left out\n" in (told := capsys.readouterr().out)
    assert "left out: not_json\nmessage: " in told


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--dropped", "treshold:length.words"],
            "no operator that left rows out named 'treshold:length.words'. Did you mean 'threshold:length.words'?",
        ),
        (["--source", "walks"], "no source named 'walks'. Did you mean 'talks'? There are: talks."),
        (["--dropped", "threshold:length.words", "--source", "walks"], "Did you mean 'talks'?"),
    ],
)
def test_what_is_not_there_is_named(
    arguments: list[str], said: str, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "rows", f"{runs}:curate", *arguments]) == 1
    assert said in capsys.readouterr().err
    assert main(["show", "rows", f"{runs}:currate"]) == 1
    assert "no stage named 'currate'. Did you mean 'curate'?" in capsys.readouterr().err


def test_the_report_shows_funnel_histograms_and_examples(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(runs)]) == 0
    page = (runs / "report.html").read_text(encoding="utf-8")
    section = page[page.index('<section id="rows"') : page.index("</section>", page.index('<section id="rows"'))]
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", section))
    assert "21 rows in, 9 out" in words
    assert "source 21 1 0 0 20 not_json 1" in words
    assert "threshold:length.words 20 11 0 0 9 above 11" in words
    assert "talks 20 9 100.0 % 100.0 %".replace(" %", "\u202f%").replace("\u202f", " ") in words.replace("\u202f", " ")
    assert "20 rows from 2 to 21, median 11; 11 of them were left out. Bound 10." in words
    assert '<line class="bound"' in section
    assert "&lt;b&gt;Go!&lt;/b&gt;" in section
    assert "<b>Go!" not in page

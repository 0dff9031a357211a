"""`aftertrain arena` on the replies that evaluations saved (F50)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aftertrain.cli import main

pytestmark = pytest.mark.slow

MODEL = "package:aftertrain.plugins.quickstart/model"
JUDGES = """
from aftertrain.core.records import Verdict
from aftertrain.core.settings import Settings
from aftertrain.core.verifier import Verifier

class Longer(Verifier[Settings]):
    def verify(self, cases):
        return [Verdict.scored(self.value(len(case.response), len(case.ground_truth["other"]))) for case in cases]

    def value(self, mine, other):
        return 0.5 if mine == other else float(mine > other)

class First(Longer):
    def value(self, mine, other):
        return 1.0

class Mute(Verifier[Settings]):
    def verify(self, cases):
        return [Verdict.unparsable("hm") for case in cases]
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """The quickstart's model on four prompts, its replies cut after 3, 12 and 12 tokens."""
    folder = tmp_path_factory.mktemp("arena")
    file = folder / "data" / "walledai" / "XSTest" / "default" / "test.jsonl"
    file.parent.mkdir(parents=True)
    rows = [{"prompt": f"Tom has {n} apples. How many apples does Tom have?", "label": "safe"} for n in range(1, 5)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "judges.py").write_text(JUDGES)
    task = "tasks: [{use: xstest, judge: refusal_by_words}]"
    stages = [
        f"  {name}: {{use: evaluate, data: data, max_new_tokens: {tokens}, {task}}}"
        for name, tokens in (("short", 3), ("long", 12), ("again", 12))
    ]
    recipe = folder / "three.yaml"
    recipe.write_text("\n".join(["name: three", f"model: {MODEL}", "stages:", *stages]) + "\n")
    assert main(["run", str(recipe), "--out", str(folder)]) == 0
    return (*(f"{folder}/three:{name}" for name in ("short", "long", "again")), f"{folder}/judges.py")


def test_the_longer_replies_win(runs: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short, long, again, judges = runs
    out = tmp_path / "arena.json"
    assert main(["arena", short, long, again, "--judge", f"{judges}:Longer", "--json", str(out)]) == 0
    found: dict[str, Any] = json.loads(out.read_text())
    counts = [(pair["wins"], pair["losses"], pair["ties"]) for pair in found["pairs"]]
    assert counts == [(0, 4, 0), (0, 4, 0), (0, 0, 4)]
    assert [pair["score"]["mean"] for pair in found["pairs"]] == [-1.0, -1.0, 0.0]
    strengths = [found["strengths"][side]["mean"] for side in found["sides"]]
    assert strengths[0] < strengths[1] == pytest.approx(strengths[2], abs=1e-6)
    told = capsys.readouterr().out
    assert "A - B  -100.0" in told
    assert "strength" in told


def test_a_judge_of_places_is_seen_through(runs: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["arena", runs[0], runs[1], "--judge", f"{runs[3]}:First", "--limit", "3"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("A - B"))
    assert "100.0 (3 first, 0 second)" in row
    assert row.split()[3] == "+0.0"


def test_what_cannot_be_compared_says_why(runs: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["arena", runs[0], "--judge", "pairwise"]) == 2
    assert main(["arena", runs[0], runs[0], "--judge", f"{runs[3]}:First"]) == 1
    assert main(["arena", runs[0], runs[1], "--judge", f"{runs[3]}:Mute"]) == 1
    assert main(["arena", runs[0], runs[1], "--judge", f"{runs[3]}:First", "--task", "xtest"]) == 1
    told = capsys.readouterr().err
    for message in (
        "at least two evaluations",
        "an evaluation is named twice",
        "the judge preferred none of 4 pairs: error: hm",
        "no task with replies named 'xtest'. Did you mean 'xstest'",
    ):
        assert message in told

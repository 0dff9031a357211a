"""`aftertrain verify` on lines with people's labels: F41's E and the two rates."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aftertrain.cli import main

Verify = Callable[..., int]


@pytest.fixture
def verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Verify:
    """Judges rows with a verifier that runs in this process: 1 where reply and truth are equal; no verdict on '?'."""
    monkeypatch.chdir(tmp_path)
    Path("same.py").write_text(
        "from aftertrain.core.records import Verdict\n"
        "from aftertrain.core.settings import Settings\n"
        "from aftertrain.core.verifier import Verifier\n\n"
        "class Same(Verifier[Settings]):\n"
        "    isolated = False\n\n"
        "    def verify(self, cases):\n"
        "        return [\n"
        "            Verdict.unparsable() if case.response == '?'\n"
        "            else Verdict.scored(case.ground_truth) if isinstance(case.ground_truth, float)\n"
        "            else Verdict.scored(float(case.response == case.ground_truth))\n"
        "            for case in cases\n"
        "        ]\n"
    )

    def run(rows: list[dict[str, Any]], *words: str) -> int:
        Path("cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return main(["verify", "./same.py:Same", "cases.jsonl", "--out", "verdicts.jsonl", *words])

    return run


def labelled(rewarded: bool, human: Any, times: int) -> list[dict[str, Any]]:
    return [{"response": "a", "ground_truth": "a" if rewarded else "b", "human": human}] * times


def verdicts() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path("verdicts.jsonl").read_text().splitlines()]


def test_error_and_rates_by_hand(verify: Verify, capsys: pytest.CaptureFixture[str]) -> None:
    """40 right replies, 4 of them missed; 10 wrong ones, 3 of them rewarded; two without a verdict, one of them right.

    E = 7/50. Wilson's interval of k of n: (k + z²/2 ± z·√(k(n − k)/n + z²/4))/(n + z²) with z² = 3.841459; of 3 of 10
    it is (4.920729 ± 1.959964·√(2.1 + 0.960365))/13.841459 = 0.355507 ± 0.247715.
    """
    rows = [
        *labelled(True, True, 36),
        *labelled(False, 1, 4),
        *labelled(True, False, 3),
        *labelled(False, 0.0, 7),
        {"response": "?", "ground_truth": "a", "human": True},
        {"response": "?", "ground_truth": "a", "human": False},
    ]
    assert verify(rows, "--json", "counts.json") == 0
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("52 verdicts: 50 scored (mean 0.780), 2 unparsable; ")
    assert told[1:] == [
        "people's labels: E = 0.140 [0.070, 0.262] of 50 (not below the aim of 0.05); left out without a score: 2 "
        "(1 of right replies)",
        "  false positives (wrong, and rewarded in full): 0.300 [0.108, 0.603], 3 of 10",
        "  false negatives (right, and not rewarded in full): 0.100 [0.040, 0.231], 4 of 40",
    ]
    counts = json.loads(Path("counts.json").read_text())
    assert counts["outcomes"] == {"scored": 50, "unparsable": 2}
    assert (counts["verdicts"], counts["bad_lines"], counts["score"]) == (52, 0, 0.78)
    human = counts["human"]
    assert human["false_positives"] == pytest.approx(
        {"mean": 0.3, "low": 0.107792, "high": 0.603222, "n": 10}, abs=2e-6
    )
    assert (human["error"]["mean"], human["error"]["n"], human["unscored"]) == (0.14, 50, 2)
    assert human["false_negatives"]["mean"] == 0.1
    assert [line["human"] for line in verdicts()[38:44]] == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]


def test_intervals_are_scipys(verify: Verify) -> None:
    """Of labels of 0 and 1 all three are shares: Wilson's interval, by scipy."""
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    rows = labelled(True, True, 31) + labelled(False, True, 2) + labelled(True, False, 1) + labelled(False, False, 12)
    assert verify(rows, "--json", "counts.json") == 0
    human = json.loads(Path("counts.json").read_text())["human"]
    for name, k, n in (("error", 3, 46), ("false_positives", 1, 13), ("false_negatives", 2, 33)):
        bounds = stats.binomtest(k, n).proportion_ci(0.95, method="wilson")
        expected = {"mean": k / n, "low": bounds.low, "high": bounds.high, "n": n}
        assert human[name] == pytest.approx(expected, rel=1e-9), name


def test_graded_labels(verify: Verify, capsys: pytest.CaptureFixture[str]) -> None:
    """Scores ½, 1, ¼ against ¼, 1, 0: E = (¼/¼ + 0 + ¼/1)/3; none but the second is right, none is rewarded wrongly."""
    rows = [
        {"response": "a", "ground_truth": score, "human": human} for score, human in ((0.5, 0.25), (1.0, 1), (0.25, 0))
    ]
    assert verify(rows) == 0
    told = capsys.readouterr().err
    assert "E = 0.417 [" in told
    assert "in full): 0.000 [0.000, 0.658], 0 of 2" in told


def test_a_column_filled_in_part_is_told_by_line(verify: Verify, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*labelled(True, True, 1), {"response": "a", "ground_truth": "a"}, *labelled(True, None, 1)]
    assert verify([*rows, *labelled(True, False, 1)]) == 1
    told = capsys.readouterr().err.splitlines()
    assert told[:2] == [
        "cases.jsonl:2: has no label 'human', and line 1 has one: label every line, or none; this line is left out",
        "cases.jsonl:3: human is None; true, false or a number from 0 to 1 is needed, on the scale of the verdicts' "
        "scores; this line is left out",
    ]
    assert told[3].startswith("people's labels: E = 0.500 [")
    assert len(verdicts()) == 2
    assert verify(rows[1:2] + rows[:1]) == 1
    assert "cases.jsonl:2: has a label 'human', and line 1 has none" in capsys.readouterr().err


@pytest.mark.parametrize("label", ["yes", -0.5, 10, [1], float("nan"), {}])
def test_what_is_no_label_is_told(verify: Verify, capsys: pytest.CaptureFixture[str], label: Any) -> None:
    assert verify(labelled(True, label, 1) + labelled(True, True, 2)) == 1
    told = capsys.readouterr().err
    assert f"cases.jsonl:1: human is {label!r}; true, false or a number from 0 to 1 is needed" in told
    assert "E = 0.000 [0.000, 0.658] of 2 (below the aim of 0.05)" in told
    assert "in full): people hold no reply wrong" in told


def test_without_labels_nothing_is_added(verify: Verify, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify([{"response": "a", "ground_truth": "a", "task": "x"}], "--json", "counts.json") == 0
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert "human" not in verdicts()[0]
    assert json.loads(Path("counts.json").read_text()).keys() == {"verdicts", "outcomes", "score", "bad_lines"}
    assert verify([{"response": "a", "ground_truth": "a", "Human": 1}]) == 0
    assert capsys.readouterr().err.splitlines()[1:] == ["note: people's labels are read from 'human', not 'Human'"]


def test_no_score_no_figures(verify: Verify, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify([{"response": "?", "ground_truth": "a", "human": 1}]) == 0
    assert "people's labels: no verdict of 1 has a score to compare with them" in capsys.readouterr().err


def test_counts_do_not_overwrite_the_cases(verify: Verify, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(labelled(True, True, 1), "--json", "cases.jsonl") == 1
    assert "would overwrite the cases; give another --json" in capsys.readouterr().err

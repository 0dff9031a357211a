"""`aftertrain check-plugin`: what is broken is shown, and the exit status says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from aftertrain import testing
from aftertrain.cli import main
from aftertrain.testing import BrokenPromise, Claim, Unchecked


def kept(subject: object) -> None: ...


def broken(subject: object) -> None:
    raise BrokenPromise("it is 3, and should be 4")


def unchecked(subject: object) -> None:
    raise Unchecked("no GPU here")


def test_findings_are_told_by_component(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    claim = testing.claims("losses")[0]
    found = [Claim(claim.entry, claim.registry, promise).finding() for promise in (kept, broken, unchecked)]
    monkeypatch.setattr(testing, "findings", lambda name: iter(found))
    assert main(["check-plugin", "losses"]) == 1
    assert capsys.readouterr().out == (
        f"loss {claim.entry.name}\n"
        "  BROKEN: broken\n    it is 3, and should be 4\n"
        "  unchecked: unchecked\n    no GPU here\n"
        "1 promise kept, 1 broken, 1 could not be checked.\n"
    )
    monkeypatch.setattr(testing, "findings", lambda name: iter(found[:1]))
    assert main(["check-plugin", "losses", "--verbose"]) == 0
    assert "  kept: kept\n" in capsys.readouterr().out


def test_an_unknown_plugin_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-plugin", "verifier"]) == 2
    assert "no plugin named 'verifier'. Did you mean 'verifiers'?" in capsys.readouterr().err


HINGE = """
from aftertrain.core.loss import Loss, LossOutput, Needs
from aftertrain.core.settings import Settings


class Hinge(Loss[Settings]):
    needs = Needs(records=frozenset({"PreferencePair"}), atom="pair", per={"policy": "pair"})

    def __call__(self, batch, scores):
        chosen, rejected = batch.pairs(batch.segment_mean(scores.logprobs))
        counted, _ = batch.pairs(batch.counted)
        return LossOutput({"policy": (1 - chosen + rejected).clamp(min=0)[counted].sum()})
"""


def check_file(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str, name: str) -> int:
    monkeypatch.chdir(folder)
    (folder / name.partition(":")[0]).write_text(source)
    return main(["check-plugin", name])


def test_a_class_in_a_file_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check_file(tmp_path, monkeypatch, HINGE, "./my_loss.py:Hinge") == 0
    assert capsys.readouterr().out == ("loss ./my_loss.py:Hinge\n12 promises kept, 0 broken, 0 could not be checked.\n")


def test_a_mean_in_place_of_a_sum_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It trains, and is wrong by the size of the micro-batch."""
    assert check_file(tmp_path, monkeypatch, HINGE.replace(".sum()", ".mean()"), "my_mean.py:Hinge") == 1
    shown = capsys.readouterr().out
    assert "BROKEN: packing changes nothing\n    term 'policy' is an average, it must be a sum: 8 pairs" in shown
    assert "A loss returns .sum(), not .mean(): aftertrain divides by the count of the whole step" in shown


def test_what_a_class_raises_is_told_with_one_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check_file(tmp_path, monkeypatch, HINGE.replace("1 - chosen", "1 - chosn"), "my_bad.py:Hinge") == 1
    shown = capsys.readouterr().out
    assert shown.count("in __call__") == 1
    assert shown.count("BROKEN") == shown.count("    NameError: name 'chosn' is not defined\n") - 1 == 6


def test_a_file_without_the_class_is_answered_with_its_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check_file(tmp_path, monkeypatch, HINGE, "which.py") == 2
    assert "which class of the file? Write which.py:CLASS; it has Hinge (loss)" in capsys.readouterr().err
    assert check_file(tmp_path, monkeypatch, HINGE, "which.py:Hing") == 2
    assert "Did you mean 'Hinge'? There are: Hinge." in capsys.readouterr().err
    assert main(["check-plugin", "no_such.py:X"]) == 2
    assert f"there is no file {tmp_path / 'no_such.py'}" in capsys.readouterr().err


VERIFIER = """
from aftertrain.core.records import Verdict
from aftertrain.core.settings import Settings
from aftertrain.core.verifier import Verifier

CASES = {"Same": [("4", "4", 1.0), ("5", "4", 0.0)]}


class Same(Verifier[Settings]):
    def verify(self, cases):
        return [self.verdict(case) for case in cases]

    def verdict(self, case):
        if not isinstance(case.ground_truth, str):
            return Verdict("error", detail="the ground truth is no text")
        return Verdict("scored", float(case.response == case.ground_truth))
"""


def test_a_verifier_in_a_file_is_tried_in_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The process that may be killed loads the file, too; CASES stand beside the class, by its name."""
    assert check_file(tmp_path, monkeypatch, VERIFIER, "same.py:Same") == 0, capsys.readouterr().out
    assert "0 broken, 0 could not be checked" in capsys.readouterr().out

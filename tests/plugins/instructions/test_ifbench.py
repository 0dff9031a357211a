"""The ifbench verifier (F46): modes, levels, weights, wrong ground truths, what is missing, IFBench's own verdicts."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import random
import time
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftertrain.core.errors import MissingExtra
from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.plugins.instructions.ifbench import needs, tagger
from aftertrain.plugins.instructions.ifbench.format import line_indent
from aftertrain.plugins.instructions.ifbench.ood import edit_distance, levenshtein
from aftertrain.plugins.instructions.ifbench.truth import KINDS, instructions
from aftertrain.plugins.instructions.ifbench.verifier import IFBench
from aftertrain.plugins.instructions.settings import IFBenchSettings
from aftertrain.plugins.instructions.verifier import followed

TWO = {"instruction_id_list": ["format:no_whitespace", "count:numbers"], "kwargs": [{}, {"N": 1}]}


def _verifier(**settings: Any) -> IFBench:
    return IFBench(IFBenchSettings.model_validate(settings), builder=None)  # type: ignore[arg-type]


def _judge(response: str, truth: Any, **settings: Any) -> Verdict:
    (verdict,) = _verifier(**settings).verify([VerificationCase("x", "", response, truth)])
    return verdict


def _one(id: str, **arguments: Any) -> dict[str, Any]:
    return {"instruction_id_list": [id], "kwargs": [arguments]}


@pytest.mark.parametrize(
    ("response", "settings", "value"),
    [
        ("area51", {}, 1.0),
        ("area 51", {}, 0.0),
        ("area 51", {"level": "instruction"}, 0.5),
        ("area", {"level": "instruction"}, 0.5),
        ("an area", {"level": "instruction"}, 0.0),
        ("area 51", {"level": "instruction", "weights": {"count:numbers": 3}}, 0.75),
        ("area 51", {"weights": {"format:no_whitespace": 0}}, 1.0),
        ("area 51", {"level": "instruction", "weights": {"count:numbers": 1e308, "format:no_whitespace": 1e308}}, 0.5),
        ("Sure:\narea51", {}, 0.0),
        ("Sure:\narea51", {"mode": "loose"}, 1.0),
        ("Sure 7:\narea51", {"mode": "loose", "level": "instruction"}, 1.0),
        ("area51\nHope it helps", {"mode": "loose"}, 1.0),
        ("Sure:\n*area51*\nHope it helps", {"mode": "loose"}, 1.0),
        ("", {}, 0.0),
        ("\n\n", {"mode": "loose", "level": "instruction"}, 0.0),
    ],
)
def test_value(response: str, settings: dict[str, Any], value: float) -> None:
    assert _judge(response, TWO, **settings).value == value


def test_detail_tells_each_instruction() -> None:
    verdict = _judge("area 51", TWO)
    assert verdict.detail == "strict, 1 of 2 followed: format:no_whitespace no; count:numbers yes"


def test_json_and_null_arguments_are_read() -> None:
    truth = {"instruction_id_list": ["count:numbers"], "kwargs": [{"N": 1.0, "keyword": None}]}
    assert _judge("7", json.dumps(truth)) == _judge("7", _one("count:numbers", N=1)) == _judge("7", truth)
    assert _judge("7", {"key": "3", "prompt": "Count!", **truth}) == _judge("7", truth)
    assert _judge("7", {"instruction_id_list": ["words:vowel"], "kwargs": [None]}).value == 1.0


def test_a_count_may_be_beyond_any_float() -> None:
    assert _judge("7", '{"instruction_id_list": ["count:numbers"], "kwargs": [{"N": 1' + "0" * 400 + "}]}").value == 0.0
    assert _judge("7 8", _one("count:words_japanese", N=10**400)).value == 1.0


@pytest.mark.parametrize(
    ("truth", "told"),
    [
        (_one("count:number", N=1), "no instruction named 'count:number'. Did you mean 'count:numbers'?"),
        (_one("count:numbers"), "count:numbers lacks N"),
        (_one("count:numbers", N=1, M=2), "count:numbers: no argument named 'M'."),
        (_one("sentence:keyword", wrd="a", N=1), "no argument named 'wrd'. Did you mean 'word'?"),
        (_one("count:numbers", N="1"), "count:numbers: N must be a number from 0 on, not '1'"),
        (_one("count:numbers", N=-1), "N must be a number from 0 on, not -1"),
        (_one("count:numbers", N=float("nan")), "N must be a number from 0 on, not nan"),
        (_one("count:numbers", N=-(10**400)), "N must be a number from 0 on, not -1000"),
        (_one("count:numbers", N=True), "N must be a number from 0 on, not True"),
        (_one("sentence:keyword", word="a", N=0), "N must be a whole number from 1 on, not 0"),
        (_one("sentence:keyword", word="a", N=1.5), "N must be a whole number from 1 on, not 1.5"),
        (_one("repeat:repeat_span", prompt_to_repeat="a", n_start="x", n_end=1), "n_start must be a"),
        (_one("repeat:repeat_change", prompt_to_repeat=""), "prompt_to_repeat must be a text that is not empty"),
        (_one("words:words_position", keyword=" "), "keyword must be a text that is not blank"),
        ({**TWO, "kwarg": 1}, "no key named 'kwarg'. Did you mean 'kwargs'?"),
        ({"instruction_id_list": ["words:vowel"]}, "kwargs must be a list, not NoneType"),
        ({"instruction_id_list": "words:vowel", "kwargs": [{}]}, "instruction_id_list must be a list, not str"),
        ({"instruction_id_list": ["words:vowel"], "kwargs": []}, "1 in instruction_id_list, but 0 in kwargs"),
        ({"instruction_id_list": ["words:vowel"], "kwargs": ["x"]}, "must be a mapping, not str"),
        ({"instruction_id_list": [], "kwargs": []}, "is empty"),
        ({"instruction_id_list": [["x"]], "kwargs": [{}]}, "no instruction named"),
        ("[" * 100_000, "neither JSON nor Python's list"),
        ("words:vowel", "is no JSON"),
        (["words:vowel"], "neither JSON nor Python's list"),
        ([7], "entry 1 of the ground truth must be a mapping with instruction_id"),
        (None, "not NoneType"),
    ],
)
def test_a_wrong_ground_truth_is_an_error_that_names_it(truth: Any, told: str) -> None:
    verdict = _judge("7", truth)
    assert verdict.outcome == "error"
    assert told in verdict.detail


def test_weights_of_nothing_are_errors() -> None:
    verdict = _judge("7", TWO, weights={"format:no_whitespace": 0, "count:numbers": 0})
    assert verdict.outcome == "error"
    assert verdict.detail == "nothing counts: the weights of format:no_whitespace, count:numbers are 0"
    with pytest.raises(ValueError, match="Did you mean 'count:numbers'"):
        IFBenchSettings(weights={"count:number": 1})


def test_a_missing_tagger_is_an_error_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tagger, "there", lambda: False)
    needs.lacking.cache_clear()
    verdict = _judge("Run!", _one("words:start_verb"))
    cases = [VerificationCase(id, "", "", _one(id)) for id in ("words:vowel", "words:start_verb")]
    fine, objection = _verifier().objections(cases)
    needs.lacking.cache_clear()
    assert (fine, objection) == (None, verdict.detail)
    assert verdict.outcome == "error"
    assert verdict.detail == (
        "words:start_verb needs NLTK's taggers/averaged_perceptron_tagger_eng: "
        "python -m nltk.downloader averaged_perceptron_tagger_eng"
    )


def test_start_verb_asks_the_tagger(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A tagger of four sentences stands in for NLTK's; three words decide as the whole text does."""
    nltk = pytest.importorskip("nltk")
    from nltk.tag.perceptron import PerceptronTagger

    small = PerceptronTagger(load=False)
    random_state = random.getstate()
    small.train([[("Run", "VB"), ("home", "NN")], [("Cats", "NNS"), ("run", "VBP")]] * 2, nr_iter=5)
    random.setstate(random_state)
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    small.save_to_json(lang="eng", loc=str(tmp_path / tagger.FOLDER))
    needs.lacking.cache_clear()
    tagger.loaded_tagger.cache_clear()
    try:
        assert _judge("Run home now, please.", _one("words:start_verb")).value == 1.0
        assert _judge("Cats run.", _one("words:start_verb")).value == 0.0
        for text in (["Run"], ["Cats", "run"], ["Run", "home", "Cats", "run", "home"], ["home"] * 5):
            assert tagger.first_tag(text) == tagger.loaded_tagger().tag(text)[0][1]
    finally:
        needs.lacking.cache_clear()
        tagger.loaded_tagger.cache_clear()


def test_preflight_tells_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    _verifier().preflight()
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "emoji" else find_spec(name))
    with pytest.raises(MissingExtra, match=r"'emoji': pip install 'aftertrain\[verifiers\]'"):
        _verifier().preflight()


def test_the_global_random_state_is_left_alone() -> None:
    state = random.getstate()
    for id, kind in KINDS.items():
        if "tagger" not in kind.needs:
            _judge("One two. Three four?\n* a", _one(id, **_arguments(kind.arguments)), mode="loose")
    assert random.getstate() == state


@given(st.lists(st.sampled_from(["", " ", "  ", "\t", "a", " b", "  c"]), max_size=12))
def test_line_indent_walks_the_lines_as_python_walks_a_list_that_loses_items(lines: list[str]) -> None:
    """What IFBench does, literally: lines are removed from the list that the loop goes through."""
    kept = list(lines)
    for line in kept:
        if not line.strip():
            kept.remove(line)
    depths = [len(line) - len(line.lstrip(" ")) for line in kept]
    assert line_indent("\n".join(lines or [""])) == all(a < b for a, b in pairwise(depths))


@given(st.text("abc", max_size=9), st.text("abc", max_size=9))
def test_edit_distance_is_that_of_the_recurrence(first: str, second: str) -> None:
    """d(xa, yb) = min(d(x, yb) + 1, d(xa, y) + 1, d(x, y) + [a ≠ b]), d(x, '') = d('', x) = |x|."""

    @cache
    def distance(m: int, n: int) -> int:
        if not m or not n:
            return m + n
        change = distance(m - 1, n - 1) + (first[m - 1] != second[n - 1])
        return min(distance(m - 1, n) + 1, distance(m, n - 1) + 1, change)

    expected = distance(len(first), len(second))
    assert edit_distance(first, second) == expected
    assert [levenshtein(first, second, N) for N in range(10)] == [expected <= N for N in range(10)]


@given(st.sampled_from(sorted(KINDS)), st.text(max_size=40), st.sampled_from(["strict", "loose"]))
def test_no_text_makes_it_raise(id: str, response: str, mode: str) -> None:
    verdict = _judge(response, _one(id, **_arguments(KINDS[id].arguments)), mode=mode)
    assert verdict.outcome == "scored" or id == "words:start_verb"


HUGE = {
    "newlines": "\n" * 10**7,
    "blank lines": " \n\n" * 3_000_000 + "a",
    "quoted marks": 'ProductID,Category,Brand,Price,Stock\n"' + "!" * 10**7,
    "options of a question": "Question 1" + "\n" * 10**7 + "Question 2",
    "accents": "Zimbabwe" + "\u0301\u0316" * 5_000_000,
    "one word": "a" * 10**7,
    "words": "a b " * 2_500_000,
    "brackets": "([{" * 3_000_000,
    "stars": "*" * 10**7,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HUGE)
def test_huge_texts_are_judged_before_the_deadline(name: str) -> None:
    """Ten megabytes; a fifth of one for the kinds that divide a text into sentences or tokens (5 µs a character)."""
    for id, kind in KINDS.items():
        if "tagger" not in kind.needs:
            text = HUGE[name][: 2 * 10**5 if "punkt" in kind.needs else 10**7]
            start = time.process_time()
            followed(instructions(_one(id, **_arguments(kind.arguments))), text, "strict")
            assert time.process_time() - start < _verifier().timeout, id


SAMPLES: dict[str, Any] = {"keyword": "fox", "word": "fox", "sep": "...", "options": "yes/no", "reference_text": "abc"}


def _arguments(readers: Any) -> dict[str, Any]:
    return {name: SAMPLES.get(name, "some text" if name.startswith(("keyword", "prompt")) else 2) for name in readers}


def _golden() -> list[dict[str, Any]]:
    if "AFTERTRAIN_DATA" not in os.environ:
        pytest.skip("AFTERTRAIN_DATA does not name the folder with golden/ifbench.jsonl.gz")
    path = Path(os.environ["AFTERTRAIN_DATA"]) / "golden" / "ifbench.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.mark.parametrize("mode", ["strict", "loose"])
def test_ifbench_agrees_on_every_instruction(mode: str) -> None:
    """allenai/IFBench, commit db69a6f, with NLTK 3.10.4: no difference in 2,121 instructions of 1,762 replies."""
    rows = _golden()
    judge = _verifier(mode=mode)
    differing, instructions = [], 0
    for row in rows:
        truth = {"instruction_id_list": row["instruction_id_list"], "kwargs": row["kwargs"]}
        (verdict,) = judge.verify([VerificationCase(row["id"], "", row["response"], truth)])
        told = [part.endswith(" yes") for part in verdict.detail.split("; ")]
        instructions += len(told)
        differing += [row["id"]] if told != row[mode] or verdict.value != float(all(row[mode])) else []
    assert not differing
    assert instructions == 2121

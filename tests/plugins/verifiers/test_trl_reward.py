"""Reward functions of TRL's form: the same rewards as called directly, and what becomes of those that fail."""

from __future__ import annotations

import doctest
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from trl import rewards as trl_rewards

from aftertrain.core.errors import RunError
from aftertrain.core.records import Message, Verdict, VerificationCase
from aftertrain.core.verifier import verdicts_of
from aftertrain.plugins.verifiers import function_worker
from aftertrain.plugins.verifiers.settings import TRLRewardSettings
from aftertrain.plugins.verifiers.trl_reward import TRLReward

Build = Callable[..., TRLReward]

FUNCTIONS = """
import asyncio, os, time


def echoed(prompts, completions, completion_ids, source, answer, hint=None, **more):
    assert set(more) == {"log_extra", "log_metric"}, more
    seen.append((prompts, completions, completion_ids, source, answer, hint))
    return [float(len(ids)) for ids in completion_ids]

seen = []

async def slow_length(completions, **columns):
    await asyncio.sleep(0.001)
    return [float(len(completion[0]["content"])) for completion in completions]

def above_the_mean(completions, **columns):
    lengths = [len(completion[0]["content"]) for completion in completions]
    return [length - sum(lengths) / len(lengths) for length in lengths]

class Scaled:
    def __init__(self, by):
        self.by = by
    def __call__(self, completions, **columns):
        return [self.by * len(completion[0]["content"]) for completion in completions]

def number_types(completions, log_metric, log_extra, **columns):
    import numpy, torch
    log_metric("length", 1.0), log_extra("length", [1])
    kinds = {"bool": True, "int": 2, "numpy": numpy.float32(0.5), "numpy int": numpy.int64(3),
             "array": numpy.array(4.0), "torch": torch.tensor(0.25), "none": None, "nan": float("nan"),
             "inf": numpy.inf, "text": "1", "list": [1, 2]}
    return numpy.array([kinds[completion[0]["content"]] for completion in completions], dtype=object)

def trouble(completions, **columns):
    rewards = []
    for completion in completions:
        match completion[0]["content"]:
            case "raise": raise KeyError("no such thing")
            case "exit": raise SystemExit(3)
            case "die": os._exit(9)
            case "hang": time.sleep(60)
            case "two": rewards += [1.0, 1.0]
            case "zero": pass
            case text: rewards.append(float(text))
    return rewards

def nothing(completions, **columns):
    return None

def needs_state(completions, trainer_state, **columns):
    return [0.0] * len(completions)

def talks(completions, **columns):
    print("a word on standard output")
    os.write(1, b"and some bytes")
    return [1.0] * len(completions)

a_number = 7
"""


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Build]:
    """Builds a verifier of one of `FUNCTIONS`, or of a module's function."""
    (tmp_path / "functions.py").write_text(FUNCTIONS, encoding="utf-8")
    built: list[TRLReward] = []

    def make(function: str, **settings: Any) -> TRLReward:
        name = function if ":" in function else f"{tmp_path}/functions.py:{function}"
        built.append(TRLReward(TRLRewardSettings(function=name, **settings), None))  # type: ignore[arg-type]
        return built[-1]

    yield make
    for verifier in built:
        verifier.close()


def case(text: str, truth: Any = "7", tokens: int = 3, **fields: Any) -> VerificationCase:
    return VerificationCase("id", "What?", text, truth, "sums", token_ids=tuple(range(tokens)), **fields)


def judged(verifier: TRLReward, *texts: str) -> list[Any]:
    """Rewards, or outcomes with details where there are none."""
    verdicts = verdicts_of(verifier, [case(text) for text in texts])
    return [
        verdict.reward if verdict.outcome == "scored" else f"{verdict.outcome}: {verdict.detail}"
        for verdict in verdicts
    ]


def test_the_worked_example_holds() -> None:
    assert doctest.testmod(function_worker).failed == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("accuracy_reward", None),
        ("think_format_reward", None),
        ("get_soft_overlong_punishment", {"max_completion_len": 100, "soft_punish_cache": 20}),
        ("get_cosine_scaled_reward", {"max_len": 100}),
        ("get_repetition_penalty_reward", {"ngram_size": 2}),
    ],
)
def test_trls_own_give_what_they_give_called_directly(build: Build, name: str, arguments: Any) -> None:
    texts = [r"\boxed{\frac{1}{3}}", r"\boxed{1/2}", "none", "<think>a</think> b", "<think>a", r"so \boxed{0.5}"]
    truths = [r"\frac{1}{3}", r"\frac{1}{2}", "7", "7", "no mathematics at all", "0.5"]
    lengths = [3, 81, 90, 100, 101, 400]
    ids = [[token % 5 for token in range(length)] for length in lengths]
    function = getattr(trl_rewards, name)
    function = function if arguments is None else function(**arguments)
    completions = [[{"role": "assistant", "content": text}] for text in texts]
    expected = function(prompts=texts, completions=completions, completion_ids=ids, solution=truths)
    cases = [
        VerificationCase("id", "What?", text, truth, token_ids=tuple(of))
        for text, truth, of in zip(texts, truths, ids, strict=True)
    ]
    verifier = build(f"trl.rewards:{name}", arguments=arguments)
    verdicts = verdicts_of(verifier, cases)
    assert [verdict.reward for verdict in verdicts] == expected
    assert [verdict.outcome == "abstained" for verdict in verdicts] == [reward is None for reward in expected]
    assert verifier.objections(cases) == [None] * 6


def test_a_function_sees_what_trl_would_show_it(build: Build, tmp_path: Path) -> None:
    """Messages, ids as they were sampled, and one list for each column of the ground truths."""
    turns = (Message("system", "Be short."), Message("user", "What?"))
    cases = [case("a", {"answer": "7", "hint": None}, 2, turns=turns), case("b", {"answer": "8"}, 5)]
    assert [verdict.reward for verdict in verdicts_of(build("echoed"), cases)] == [2.0, 5.0]
    telling = FUNCTIONS.replace(
        "    return [float(len(ids))", "    raise RuntimeError(repr(seen[-1]))\n    return [len(ids)"
    )
    (tmp_path / "functions.py").write_text(telling, encoding="utf-8")
    first, second = build("echoed").verify(cases)
    assert first.detail.startswith(
        "echoed raised RuntimeError: ([[{'role': 'system', 'content': 'Be short.'}, "
        "{'role': 'user', 'content': 'What?'}]], [[{'role': 'assistant', 'content': 'a'}]], [[0, 1]], ['sums'], ['7'], "
        "[None])"
    )
    assert second.detail.startswith(
        "echoed raised RuntimeError: ([[{'role': 'user', 'content': 'What?'}]], "
        "[[{'role': 'assistant', 'content': 'b'}]], [[0, 1, 2, 3, 4]], ['sums'], ['8'], None)"
    )


def test_it_is_called_once_with_all_replies(build: Build) -> None:
    """So that a function may compare them: lengths 1, 2 and 6 against their mean of 3."""
    assert judged(build("above_the_mean"), "a", "bb", "cccccc") == [-2.0, -1.0, 3.0]


def test_asynchronous_ones_and_made_ones_are_called(build: Build) -> None:
    assert judged(build("slow_length"), "a", "bb") == [1.0, 2.0]
    assert judged(build("Scaled", arguments={"by": -0.5}), "a", "bbbb") == [-0.5, -2.0]


def test_every_kind_of_number_is_one_and_nothing_else_is(build: Build) -> None:
    kinds = ["bool", "int", "numpy", "numpy int", "array", "torch", "none", "nan", "inf", "text", "list"]
    assert judged(build("number_types"), *kinds) == [
        1.0, 2.0, 0.5, 3.0, 4.0, 0.25, "abstained: number_types returned None",
        "error: number_types: it returned nan", "error: number_types: it returned inf",
        "error: number_types: it returned '1', which is no number",
        "error: number_types: it returned [1, 2], which is no number",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("raise", r"error: trouble raised KeyError: 'no such thing' \(functions.py:\d+\)"),
        ("exit", r"error: trouble raised SystemExit: 3 \(functions.py:\d+\)"),
        ("die", "error: trouble: its process ended with status 9"),
        ("two", "error: trouble raised ValueError: it returned 2 rewards for 1 completions"),
        ("zero", "error: trouble raised ValueError: it returned 0 rewards for 1 completions"),
    ],
)
def test_a_failure_costs_the_reply_that_it_is_over(build: Build, text: str, why: str) -> None:
    import re

    good, bad, last = judged(build("trouble"), "0.5", text, "2")
    assert (good, last) == (0.5, 2.0)
    assert re.fullmatch(why, bad)


def test_a_call_that_hangs_ends_in_time_and_the_next_is_answered(build: Build) -> None:
    verifier = build("trouble", timeout=0.5)
    verifier.preflight()
    assert judged(verifier, "1", "hang") == ["timeout: trouble: it gave no answer in 0.5 s"] * 2
    assert judged(build("trouble"), "1", "2") == [1.0, 2.0]


def test_a_process_that_dies_of_everything_is_not_started_for_ever(build: Build) -> None:
    verdicts = judged(build("trouble"), *["die"] * 6)
    assert verdicts == ["error: trouble: its process ended with status 9"] * 6


def test_what_is_no_list_is_an_error_and_what_it_prints_is_no_answer(build: Build) -> None:
    assert judged(build("nothing"), "a") == ["error: nothing raised TypeError: 'NoneType' object is not iterable"]
    assert judged(build("talks"), "a") == [1.0]


def test_the_scale_is_its_own_or_the_settings(build: Build) -> None:
    """`raw`: the value is the reward held in [0, 1]; `unit`: a value as any verifier's, and nothing outside."""
    assert [verdict.value for verdict in build("trouble").verify([case("-2"), case("0.25"), case("3")])] == [
        0.0,
        0.25,
        1.0,
    ]
    unit = build("trouble", scale="unit")
    assert (unit.own_scale, build("trouble").own_scale) == (False, True)
    inside, outside = unit.verify([case("0.25"), case("3")])
    assert (inside.value, inside.reward) == (0.25, None)
    assert outside == Verdict.error("trouble: it returned 3, outside [0, 1]; set scale: raw")


def test_what_cannot_be_loaded_is_told_before_anything_is_generated(build: Build, tmp_path: Path) -> None:
    for name, why in {
        "missing": "AttributeError: module 'aftertrain_function_functions' has no attribute 'missing'",
        "a_number": "TypeError: a_number is int, which cannot be called",
        "needs_state": "must have TRL's 'trainer_state'",
        f"{tmp_path}/none.py:f": f"there is no file {tmp_path}/none.py",
        "no.such.module:f": "ModuleNotFoundError: No module named 'no'",
    }.items():
        with pytest.raises(RunError) as raised:
            build(name).preflight()
        assert why in str(raised.value)
    with pytest.raises(ValueError, match=r"write ./FILE.py:FUNCTION or MODULE:FUNCTION"):
        TRLRewardSettings(function="accuracy_reward")


def test_a_missing_column_is_an_objection(build: Build) -> None:
    first, second = build("echoed").objections([case("", "7"), case("", {"answer": "7"})])
    assert second is None
    assert first == (
        "echoed needs it: no column named 'answer'. There are: solution, source. Set column: answer, or give a mapping "
        "of columns"
    )
    assert build("echoed", column="answer").objections([case("")]) == [None]


def test_unknown_ids_are_an_error_where_the_function_reads_ids(build: Build) -> None:
    (verdict,) = build("echoed", column="answer").verify([case("a reply", tokens=0)])
    assert verdict == Verdict.error("echoed reads token ids, and this reply's are not known")


def test_its_code_counts_and_its_folder_does_not(build: Build, tmp_path: Path) -> None:
    before = build("talks").content()
    (tmp_path / "elsewhere").mkdir()
    moved = tmp_path / "elsewhere" / "functions.py"
    moved.write_text(FUNCTIONS.replace("import asyncio", "# a comment\nimport asyncio"))
    assert build(f"{moved}:talks").content() == before
    moved.write_text(FUNCTIONS.replace("a word", "another word"))
    assert build(f"{moved}:talks").content() != before


def test_a_copy_has_a_process_of_its_own(build: Build) -> None:
    verifier = build("talks")
    assert judged(verifier, "a") == [1.0]
    copy = pickle.loads(pickle.dumps(verifier))
    assert judged(copy, "b") == [1.0]
    copy.close()

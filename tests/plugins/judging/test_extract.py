"""The answer extraction model (F29): A(y) = f_extract(y + "Thus, the final answer is: "), then a verifier compares."""

from __future__ import annotations

import doctest
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.generator import GenerationRequest
from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.plugins.judging import extract
from aftertrain.plugins.judging.extract import Extract

Make = Callable[..., Any]
INNER = {"verifier": {"use": "equal"}}


def case(response: str, truth: Any = "4", *, id: str = "c") -> VerificationCase:
    return VerificationCase(id, "2 + 2?", response, truth, "sums")


def four(prompt: str, request: GenerationRequest) -> str:
    """Finds 4 where the prompt says four."""
    return " 4 \nas I said" if "four" in prompt else "5"


def test_the_worked_examples_hold() -> None:
    assert doctest.testmod(extract).failed == 0


def test_the_model_goes_on_from_the_reply_and_the_phrase_f29(make: Make) -> None:
    bench = make(Extract, four, **INNER)
    verdicts = bench.judge(case("It is four.\n"), case("It is five."))
    assert bench.script.prompts == [
        "It is four.\nThus, the final answer is:",
        "It is five. Thus, the final answer is:",
    ]
    assert [verdict.value for verdict in verdicts] == [1.0, 0.0]
    assert verdicts[0].extracted == "4"
    assert verdicts[0].detail.startswith("equal on '4': ; 1 call, ")
    assert [[one.response for one in batch] for batch in bench.equal.batches] == [["4", "5"]], "one batch"
    assert bench.script.requests[0].sampling.temperature == 0.0


def test_the_conversation_may_stand_before_it(make: Make) -> None:
    bench = make(Extract, four, **INNER, context="conversation", phrase="Answer:")
    bench.judge(case("It is four."))
    assert bench.script.prompts == ["<|user|>\n2 + 2?\n<|assistant|>\nIt is four. Answer:"]


def test_the_answer_is_dressed_for_the_verifier(make: Make) -> None:
    bench = make(Extract, four, **INNER, before="\\boxed{", after="}")
    (verdict,) = bench.judge(case("four", "\\boxed{4}"))
    assert verdict.value == 1.0
    assert verdict.extracted == "4"


def test_what_cannot_be_compared_is_no_zero(make: Make) -> None:
    def say(prompt: str, request: GenerationRequest) -> str | Exception:
        if "slow" in prompt:
            return TimeoutError()
        return "?" if "mute" in prompt else " \n " if "empty" in prompt else "4"

    bench = make(Extract, say, **INNER, retries=1)
    cases = [case("slow"), case("mute"), case("empty"), case("fine"), case("x" * 100_000)]
    verdicts = bench.judge(*cases)
    assert [verdict.outcome for verdict in verdicts] == ["timeout", "unparsable", "unparsable", "scored", "error"]
    assert "equal on '?': mute" in verdicts[1].detail
    assert "the model wrote no answer; 2 calls" in verdicts[2].detail
    assert [len(batch) for batch in bench.equal.batches] == [2]


def test_the_inner_verifier_can_be_isolated(make: Make) -> None:
    """A pool replaces it; model, cache and budget stay shared."""
    bench = make(Extract, four, **INNER, budget={"calls": 1})
    assert bench.verifier.parts == (bench.equal,)
    assert not bench.verifier.isolated

    class Inverse(type(bench.equal)):  # type: ignore[misc]
        def verify(self, cases: Any) -> list[Verdict]:
            return [Verdict.scored(1.0 - (verdict.value or 0.0)) for verdict in super().verify(cases)]

    swapped = bench.verifier.with_parts([Inverse()])
    assert swapped.verify([case("four")])[0].value == 0.0
    assert bench.judge(case("four"))[0].value == 1.0
    assert bench.judge(case("five"))[0].detail == "budget spent: 1 calls"
    assert bench.verifier.timeout == 600.0 + 10.0
    with pytest.raises(ValueError, match="1 part, not 2"):
        bench.verifier.with_parts([bench.equal] * 2)
    bench.verifier.close()
    assert bench.script.closed == 1


def test_objections_are_the_inner_verifiers_and_cost_no_call(make: Make) -> None:
    bench = make(Extract, four, **INNER, budget={"calls": 1})
    assert bench.verifier.objections([case("five"), case("four")]) == [None, None]
    assert [len(batch) for batch in bench.equal.batches] == [2]
    assert bench.judge(case("four"))[0].value == 1.0


def test_it_keeps_a_transcript(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "extract.jsonl"
    bench = make(Extract, four, **INNER, transcript=str(path))
    bench.judge(case("four"))
    (line,) = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert (line["reply"], line["extracted"], line["value"]) == (" 4 \nas I said", "4", 1.0)

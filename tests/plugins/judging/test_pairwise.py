"""A judge of two replies: what it is shown, in which order, and how its answer is read."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from aftertrain.core.preference import swapped
from aftertrain.core.records import VerificationCase
from aftertrain.core.settings import Settings, Use
from aftertrain.plugins.judging import comparisons, stand_in
from aftertrain.plugins.judging.pairwise import Pairwise
from aftertrain.plugins.judging.settings import PairwiseSettings

Make = Callable[..., Any]
CASE = VerificationCase("c", "Name a sea.", "The Baltic.", {"other": "Rome.", "reference": None}, "href")


def made(make: Make, reply: str, **settings: Any) -> Any:
    bench = make(Pairwise, lambda prompt, request: reply, max_prompt_tokens=8192, **settings)
    bench.verifier._asker.prompting.limit = 8192  # the tiny model's context is shorter than the prompts
    return bench


def test_alpaca_eval_shows_m_first(make: Make) -> None:
    bench = made(make, "m", template="alpaca_eval")
    assert [verdict.value for verdict in bench.judge(CASE, swapped(CASE))] == [1.0, 1.0]
    prompt, other = bench.script.prompts
    assert prompt.startswith(
        "<|system|>\nYou are a highly efficient assistant, who evaluates and selects the best large"
    )
    shown = (
        '{\n    {\n        "model_identifier": "m",\n        "output": """The Baltic."""\n    },\n'
        '    {\n        "model_identifier": "M",\n        "output": """Rome."""\n    }\n}'
    )
    assert shown in prompt
    assert 'm",\n        "output": """Rome."""' in other


@pytest.mark.parametrize(
    ("template", "reply", "value"),
    [
        ("alpaca_eval", " M\n", 0.0),
        ("alpaca_eval", "Model m", None),
        ("alpaca_eval", "mm", None),
        ("href", "A", 1.0),
        ("href", "**B**", 0.0),
        ("href", "tie.", 0.5),
        ("href", "A better one is B", 1.0),
        ("href", "Both", None),
        ("arena", "Well.\n**Better: B**", 0.0),
        ("arena", "Better: C", None),
        ("arena", "", None),
    ],
)
def test_the_answer_is_read_or_an_error(make: Make, template: str, reply: str, value: float | None) -> None:
    (verdict,) = made(make, reply, template=template).judge(CASE)
    assert (verdict.value, verdict.outcome) == (value, "error" if value is None else "scored")


def test_href_shows_the_human_where_there_is_one(make: Make) -> None:
    bench = made(make, "tie", template="href")
    bench.judge(CASE, VerificationCase("d", "Name a sea.", "a", {"other": "b", "reference": "The North Sea."}))
    without, with_human = bench.script.prompts
    assert "uman" not in without.replace("## Response", "")
    assert with_human.count("## Human Response:") == 3
    assert "## Response B:\nb\n\n## Human Response:\nThe North Sea.\n\n## Which is best, A, B, or tie?" in with_human
    assert "What type of Rifle is an AK47? \n\n## Response A:" in without


@pytest.mark.parametrize("truth", [None, "Rome.", {}, {"other": 1}, {"other": "b", "reference": 2}])
def test_a_ground_truth_without_the_other_reply(make: Make, truth: Any) -> None:
    case = VerificationCase("c", "?", "a", truth)
    bench = made(make, "A")
    assert bench.judge(case)[0].outcome == "error"
    assert bench.verifier.objections([case])[0] is not None


def test_a_template_of_your_own(make: Make) -> None:
    own = {
        "template": "{{ first }}\n{{ second }}",
        "parse": {"pattern": "(one|two)", "labels": {"one": 1.0, "two": 0.0}},
    }
    assert [v.value for v in made(make, "Two!", **own).judge(CASE)] == [0.0]
    assert made(make, "three", **own).judge(CASE)[0].outcome == "error"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"template": "alpaca"}, "no prompt named 'alpaca'. Did you mean 'alpaca_eval'"),
        ({"template": "href", "parse": {"pattern": "(a)", "labels": {"a": 1}}}, "its own parse rule"),
        ({"template": "{{ first }}"}, "needs 'parse'"),
        ({"template": "{{ prompt }}"}, "neither {{ first }} nor {{ second }}"),
        ({"engine": "torch"}, "engine"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], message: str) -> None:
    class Names:
        def resolve(self, kind: str, value: Any) -> Use[Any]:
            return Use(kind, value["use"], Settings())

    with pytest.raises(ValidationError, match=message):
        TypeAdapter(PairwiseSettings).validate_python({"model": "m", **settings}, context={"resolver": Names()})


def test_likelihoods_of_the_two_names_are_the_models(tiny_model: Path) -> None:
    """p(A) / (p(A) + p(B)) after the prompt, by a plain forward of transformers."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from aftertrain.testing.build import build

    judge = build("verifier", "pairwise", model=str(tiny_model), read="likelihood", max_prompt_tokens=8192)
    judge._asker.prompting.limit = 8192
    asked = judge._question(CASE).text
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    ids = tokenizer(asked, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logprobs = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
    first, second = (float(logprobs[tokenizer(n, add_special_tokens=False)["input_ids"][0]]) for n in "AB")
    verdict, nothing = judge.verify([CASE, VerificationCase("d", "?", "a", None)])
    assert verdict.value == pytest.approx(math.exp(first) / (math.exp(first) + math.exp(second)), abs=1e-5)
    assert nothing.outcome == "error"
    judge.close()


def test_the_stand_in_answers_what_it_is_asked() -> None:
    fence = f"=== {'0' * 16} ==="
    arena = f"{fence}.\n{fence}\nlonger\n{fence}\nB\n{fence}\nshort\n{fence}\n"
    assert stand_in.answer(arena) == "Better: A"
    assert stand_in.answer("anything") is None
    assert set(comparisons.READY) == {"arena", "alpaca_eval", "href"}

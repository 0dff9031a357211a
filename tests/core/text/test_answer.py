"""The part of a reply that answers: where thoughts begin and end, what is talk about tags, and every verifier that
judges by it, from the names that users write."""

from __future__ import annotations

import doctest
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import aftertrain
from aftertrain.api.evaluation import build_verifier
from aftertrain.cli.verify import verify as command
from aftertrain.core.records import Thoughts, Verdict, VerificationCase
from aftertrain.core.text import answer
from aftertrain.core.text.answer import ENDLESS, begun, split, thoughts_of

THINK = Thoughts()


def _judge(name: str, response: str, truth: Any, prompt: str = "", **settings: Any) -> Verdict:
    verifier = build_verifier(name, settings)
    (verdict,) = verifier.verify([VerificationCase("x", prompt, response, truth)])
    return verdict


def test_the_worked_examples_hold() -> None:
    assert doctest.testmod(answer).failed == 0


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("8", "8"),
        ("<think>7</think>8", "8"),
        ("\n<think>\n7\n</think>\n\n8\n", "8"),
        ("Well. <think>7</think> 8", "Well.  8"),
        ("<think>7</think> 8 <think>9</think> 10", "8  10"),
        ("<think>a <think>7</think> b</think> 8", "8"),
        ("<think>the tags are <think> and so on</think>8", "8"),
        ("7, no</think>8", "8"),
        ("7\n```python\nx\n</think>\n8", "8"),
        ("<think>close with `</think>`, 7</think>8", "8"),
        ("<think>```\ndraft</think>\n```python\n'<think>'\n```", "```python\n'<think>'\n```"),
        ("<think></think>8", "8"),
        ("<think>```\n7\n```</think>```\n8\n```", "```\n8\n```"),
        ("<think>7</think>", ""),
        ("<think>7", None),
        ("8 <think>7", None),
        ("<think>7</thinking>8", None),
        ("<think>'</think>'", None),
        ("Write `<think>` first. 8", "Write `<think>` first. 8"),
        ('print("</think>")', 'print("</think>")'),
        (
            "```python\nre.sub(r'<think>.*?</think>', '', s)\n```",
            "```python\nre.sub(r'<think>.*?</think>', '', s)\n```",
        ),
        ("<answer>8</answer>", "8"),
        ("<think>7</think><answer>\n8\n</answer> Thanks, 100 times.", "8"),
        ("<think><answer>7</answer></think> 8", "8"),
        ("<think>7</think><answer>8", "8"),
        ("<answer>7</answer> or rather <answer>8</answer>", "8"),
        ("<answer>8</answer> as I put it in <answer> tags", "8"),
    ],
)
def test_the_part_that_answers(reply: str, text: str | None) -> None:
    assert split(reply, THINK).text == text


@pytest.mark.parametrize(
    ("reply", "text"),
    [("7</think>8", "8"), ("<think>7</think>8", "8"), ("7", None), ("", None), ("7 `</think>` 8", None)],
)
def test_a_prompt_that_opens_the_thoughts(reply: str, text: str | None) -> None:
    assert split(reply, Thoughts(begun=True)).text == text


def test_other_tags() -> None:
    tags = Thoughts("[THINK]", "[/THINK]")
    assert split("[THINK]7[/THINK]8", tags).text == "8"
    assert split("<think>7</think>8", tags).text == "<think>7</think>8"


@pytest.mark.parametrize(
    ("template", "prompt", "opening", "is_begun"),
    [
        ("… <think>\n … </think> …", "<|im_start|>assistant\n<think>\n", "<think>", True),
        ("… <think>\n … </think> …", "<|im_start|>assistant\n<think>\n\n</think>\n\n", "<think>", False),
        ("… [THINK] … [/THINK]", "[INST] why? [/INST]", "[THINK]", False),
        ("<|START_THINKING|> … <|END_THINKING|>", "<|CHATBOT_TOKEN|><|START_THINKING|>", "<|START_THINKING|>", True),
        ("<reasoning> … </reasoning>", "<|assistant|>\n", "<reasoning>", False),
        ("no tags", "Use <thinking> tags, please.\n", "<think>", False),
        (None, "", "<think>", False),
    ],
)
def test_tags_of_templates(template: str | None, prompt: str, opening: str, is_begun: bool) -> None:
    found = thoughts_of(template, prompt)
    assert (found.opening, found.begun) == (opening, is_begun)


@pytest.mark.parametrize(
    ("prompt", "is_begun"),
    [
        ("<think>", True),
        ("<|assistant|><think>\n", True),
        ("Q\n<think>", True),
        ("Put it into <think>", False),
        ("", False),
    ],
)
def test_a_prompts_last_line(prompt: str, is_begun: bool) -> None:
    assert begun(prompt, THINK) == is_begun


OWN: list[tuple[str, dict[str, Any], str, str, Any]] = [
    ("math", {}, r"\boxed{7}", r"\boxed{8}", "7"),
    ("math", {"extract": "math_verify"}, r"\boxed{7}", r"\boxed{8}", "7"),
    ("math", {"extract": "minerva"}, "Final Answer: The final answer is 7. I hope it is correct.", "8", "7"),
    ("gsm8k", {}, "#### 7", "#### 8", "7"),
    ("gsm8k", {"extract": "flexible"}, "it is 7", "it is 8", "7"),
    ("gsm8k", {"extract": "tulu"}, "it is 7", "it is 8", "7"),
    ("triviaqa", {"match": "contains"}, "Paris", "Rome", ["Paris"]),
    ("regex", {"pattern": "[0-9]+", "which": "first"}, "7", "8", "7"),
    ("regex", {"pattern": "sorry", "equality": "search"}, "sorry", "no", None),
    ("multiple_choice", {}, "(A)", "(B)", "A"),
    ("multiple_choice", {}, "The answer is A.", "B", "A"),
]


@pytest.mark.parametrize(("name", "settings", "right", "wrong", "truth"), OWN)
def test_nothing_is_paid_for_thoughts(name: str, settings: dict[str, Any], right: str, wrong: str, truth: Any) -> None:
    """Of five forms: only what follows the thoughts is paid, and the verdict says where it looked."""
    assert _judge(name, f"<think>{wrong}</think> {right}", truth, **settings).value == 1.0
    for reply in (f"<think>{right}, no</think> {wrong}", f"{right}, no.\n</think>\n{wrong}"):
        verdict = _judge(name, reply, truth, **settings)
        assert not verdict.value
        assert "after </think>" in verdict.detail or verdict.outcome == "unparsable"
    unclosed = _judge(name, f"<think>{right}", truth, **settings)
    assert (unclosed.value or 0.0, unclosed.detail) == (0.0, ENDLESS)
    assert not _judge(name, right, truth, prompt="Q\n<think>\n", **settings).value
    assert _judge(name, f"{wrong}</think>{right}", truth, prompt="Q\n<think>\n", **settings).value == 1.0
    assert _judge(name, f"<think>{right}", truth, thoughts="keep", **settings).value == 1.0
    own = {"thoughts": ["<plan>", "</plan>"], **settings}
    assert not _judge(name, f"<plan>{right}</plan> {wrong}", truth, **own).value


@pytest.mark.parametrize(("name", "empty"), [("string", ""), ("f1", ""), ("string", ["x", ""])])
def test_endless_thoughts_are_not_the_empty_answer(name: str, empty: Any) -> None:
    """A blank ground truth means "no answer", which an empty reply gives and a cut one does not."""
    assert _judge(name, "", empty).value == 1.0
    assert _judge(name, "<think>hm", empty).value == 0.0


def test_a_wrong_ground_truth_is_an_error_whatever_the_thoughts() -> None:
    assert _judge("gsm8k", "<think>hm", "seven").outcome == "error"
    assert build_verifier("gsm8k").objections([VerificationCase("x", "<think>", "", "seven")])[0] is not None


REFERENCE: list[tuple[str, dict[str, Any], str, Any]] = [
    ("gsm8k", {"equality": "string"}, "<think>#### 7</think> #### 8", "7"),
    ("gsm8k", {"equality": "string", "extract": "tulu"}, "<think>7", "7"),
    ("gsm8k", {"equality": "string", "extract": "flexible"}, "<think>7", "7"),
    ("math", {"equality": "string"}, r"<think>\boxed{7}</think> 8", "7"),
    ("math", {"equality": "math_verify"}, r"<think>\boxed{7}</think> eight", "7"),
]


@pytest.mark.parametrize(("name", "settings", "reply", "truth"), REFERENCE)
def test_rules_with_a_references_name_keep_it_and_say_so(
    name: str, settings: dict[str, Any], reply: str, truth: Any
) -> None:
    assert _judge(name, reply, truth, **settings).value == 1.0
    assert "judges the whole reply" in build_verifier(name, settings).note
    assert not _judge(name, reply, truth, thoughts="cut", **settings).value
    assert build_verifier(name, {**settings, "thoughts": "cut"}).note == ""


BOXED = r"<think>maybe \boxed{7}, no: 8.</think> <answer>8</answer>"


def test_an_answer_block_is_the_answer() -> None:
    assert (_judge("math", BOXED, "7").value, _judge("math", BOXED, "8").value) == (0.0, 1.0)
    assert _judge("math", "<answer>no idea</answer>", "7").outcome == "unparsable"
    assert _judge("math", "<answer>The answer is 8.</answer>", "8").value == 1.0
    assert _judge("math", "<answer>The answer is 8.</answer>", "7").value == 0.0
    assert _judge("math", "<answer>8</answer>", "7", equality="string", thoughts="cut").value == 0.0
    assert _judge("math", "<answer> </answer>", "7").outcome == "unparsable"
    assert _judge("gsm8k", "<answer>8</answer> on page 7", "8", extract="flexible").value == 1.0
    assert _judge("f1", "<think>a b</think><answer>hello world</answer>", "hello").value == pytest.approx(2 / 3)


@pytest.mark.parametrize("combination", ["all", "weighted"])
def test_format_hands_the_block_on(combination: str) -> None:
    parts = [{"verifier": {"use": "format", "tags": ["plan", "result"]}}, {"verifier": {"use": "math"}}]
    reply = r"<plan>\boxed{7}</plan> <result>8</result>"
    one_of_two = 0.0 if combination == "all" else 0.5
    paid = _judge(combination, reply, "8", parts=parts)
    assert (paid.value, "math 1 (the block handed on: " in paid.detail) == (1.0, True)
    assert _judge(combination, reply, "7", parts=parts).value == one_of_two


def test_what_is_handed_on_reaches_nested_verifiers_and_format_sees_all() -> None:
    inner = {"use": "any", "parts": [{"verifier": {"use": "string"}}, {"verifier": {"use": "gsm8k"}}]}
    again = {"use": "format", "tags": [], "min_words": 4}
    parts = [{"verifier": {"use": "format"}}, {"verifier": again}, {"verifier": inner}]
    verdict = _judge("all", "<think>one two three</think> <answer>four</answer>", "four", parts=parts)
    assert (verdict.value, "format#2 1 (1 of 1" in verdict.detail) == (1.0, True)
    assert _judge("any", r"<plan>\boxed{7}</plan>", "7", parts=[*parts, {"verifier": {"use": "math"}}]).value == 1.0


def test_the_command_tells_the_part_and_the_rule(tmp_path: Path) -> None:
    cases = tmp_path / "cases.jsonl"
    reply = "<think>#### 7?</think> <answer>#### 8</answer>"
    cases.write_text(json.dumps({"id": "a", "response": reply, "ground_truth": "7"}) + "\n")
    ours = CliRunner().invoke(command, ["gsm8k", str(cases), "--workers", "1"])
    assert json.loads(ours.stdout)["score"] == 0.0
    assert json.loads(ours.stdout)["detail"] == "after </think>, in <answer>: strict, decimal"
    theirs = CliRunner().invoke(command, ["gsm8k", str(cases), "--workers", "1", "equality=string"])
    assert json.loads(theirs.stdout)["score"] == 1.0
    assert "note: gsm8k's equality string judges the whole reply, thoughts included" in theirs.stderr


def test_format_needs_no_ground_truth(tmp_path: Path) -> None:
    reply = "<think>a</think><answer>b</answer>"
    assert aftertrain.reward_function("format")(prompts=["?", "?"], completions=[reply, "b"]) == [1.0, 0.0]
    [verdict] = aftertrain.verify("format", [{"response": reply}])
    assert verdict.value == 1.0
    cases = tmp_path / "cases.jsonl"
    cases.write_text(json.dumps({"response": reply}) + "\n")
    assert CliRunner().invoke(command, ["format", str(cases), "--workers", "1"]).exit_code == 0
    with pytest.raises(ValueError, match="needs the column 'ground_truth'"):
        aftertrain.reward_function("gsm8k")(prompts=["?"], completions=["#### 7"])
    assert not build_verifier("regex", {"pattern": "a", "equality": "search"}).needs_truth
    both = [{"verifier": {"use": "format"}}, {"verifier": {"use": "gsm8k"}}]
    assert build_verifier("all", {"parts": both}).needs_truth
    assert not build_verifier("all", {"parts": both[:1]}).needs_truth


@given(
    st.text(alphabet="ab <>/think`'\"\n", max_size=40)
    | st.lists(
        st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", "```", "\n", " ", "8", "`"]), max_size=12
    ).map("".join),
    st.booleans(),
)
def test_any_text_has_a_part_and_it_stands_in_the_reply(text: str, is_begun: bool) -> None:
    found = split(text, Thoughts(begun=is_begun))
    assert found.text is None or all(piece in text for piece in found.text.split())
    if "think>" not in text and "answer>" not in text and not is_begun:
        assert found.text == text


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text",
    ["<think>", "</think>", "x<think>", "```\nx</think>", "`</think>`", "<answer>", " <think>a</think>", "a\n```\n"],
)
def test_long_texts_take_linear_time(text: str) -> None:
    split(text * (400_000 // len(text)), THINK)


@pytest.mark.parametrize("end", ["", "<|im_end|>", "</s>", "<eos>", "<end_of_turn>", "<｜end▁of▁sentence｜>"])
def test_tags_that_are_special_tokens(end: str) -> None:
    """The text lacks them; the other view has them, with the token that ended the reply."""
    text, special = " maybe 7, no. 8", f"<think> maybe 7, no.</think> 8{end}"
    case = VerificationCase("x", "", text, "8", response_with_special=special)
    (verdict,) = build_verifier("string").verify([case])
    assert (verdict.value, verdict.extracted) == (1.0, "8")
    (form,) = build_verifier("format", {"tags": ["think"], "after": "text"}).verify([case])
    assert (form.value, form.extracted) == (1.0, "8")
    parts = [{"verifier": {"use": "format", "tags": ["think"], "after": "text"}}, {"verifier": {"use": "string"}}]
    assert build_verifier("all", {"parts": parts}).verify([case])[0].value == 1.0

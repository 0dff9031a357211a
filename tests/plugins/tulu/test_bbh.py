"""BBH: prompts against the published ones, both extractions against the reference's patterns run as they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftertrain.core.errors import DataError
from aftertrain.plugins.tulu.bbh_answers import cascade, same, strict
from aftertrain.plugins.tulu.bbh_tasks import TASKS
from tests.plugins.tulu.conftest import Make, build, judged

TEMPLATES = (
    "(?i)So the answer is ($ANS$)\\.?",
    "(?i)answer is ($ANS$)",
    "(?i)answer:.*?($ANS$)",
    "(?i)answer\\b.*?($ANS$)",
    "($ANS$)",
    "\b([A-Z])\b",  # with backspaces, as the reference has it
    "(?i)($ANS$)",
)
KINDS = ("navigate", "snarks", "dyck_languages", "multistep_arithmetic_two", "word_sorting", "formal_fallacies")


def reference(text: str, task: str) -> str:
    for template in TEMPLATES:
        if found := re.findall(template.replace("$ANS$", TASKS[task][1]), text):
            return str(found[-1]).strip()
    return ""


PIECES = (
    "So the answer is ",
    "the answer is ",
    "Answer: ",
    "answer",
    "(B)",
    "(c)",
    " no",
    "Yes",
    "-12",
    "7",
    "] )",
    ".",
)


@given(st.lists(st.sampled_from((*PIECES, "\n", "word ", " ", "Invalid")), max_size=9).map("".join))
def test_the_cascade_reads_what_the_patterns_find(text: str) -> None:
    for task in KINDS:
        assert cascade(text, task)[0] == reference(text, task)


@given(st.lists(st.sampled_from((*PIECES, "\n", "x")), max_size=8).map("".join))
def test_strict_reads_what_the_pattern_finds(text: str) -> None:
    match = re.search("(?<=the answer is )(.*)(?=.)", text)
    assert strict(text) == (match[0].strip(".").strip() if match else "")


def test_known_faults_of_the_reference_can_be_left_out() -> None:
    assert cascade("I take B.", "snarks") == ("", False)
    assert cascade("I take B.", "snarks", compat=False) == ("(B)", False)
    assert strict("So the answer is 42") == "4"
    assert strict("So the answer is 42", compat=False) == "42"


def test_answers_are_compared_without_case_and_punctuation_but_of_brackets() -> None:
    assert same("(b)", "(B)", "snarks")
    assert same("no", "No", "navigate")
    assert not same("] )", "] }", "dyck_languages")
    assert same("] )", "] )", "dyck_languages")


def test_prompts_are_the_published_ones_as_turns(shared_data: Path) -> None:
    """Description, three questions, their reasoning and the answer stand in the authors' file in this order."""
    task = build("bbh", None)
    examples = task.examples()
    assert len(examples) == 3 * 27
    for name in TASKS:
        published = (shared_data / "bbh" / "cot-prompts" / f"{name}.txt").read_text(encoding="utf-8")
        shown = [example for example in examples if example.group == name]
        messages = task.messages(shown[0], shown)
        turns = [message.content for message in messages]
        assert [message.role for message in messages] == ["user", "assistant"] * 3 + ["user"]
        assert turns[0].startswith(f"{TASKS[name][0]}\n\nQ: ")
        place = 0
        for text in (*turns[0].split("\n\nQ: ", 1), *turns[1:-1]):
            place = published.find(text.removesuffix("\nA: Let's think step by step.").strip(), place)
            assert place >= 0, text
        for reasoning in turns[1:6:2]:
            gold = reasoning.rpartition("So the answer is ")[2].removesuffix(".")
            assert same(cascade(reasoning, name)[0], gold, name)
            assert same(strict(reasoning), gold, name)


def test_all_tasks_are_read_and_some_are_chosen(mapped: Path) -> None:
    task = build("bbh", mapped, tasks=("word_sorting", "snarks"), shots=0)
    instances = task.instances()
    assert (len(instances), instances[0].id, instances[-1].group) == (178 + 250, "snarks/0", "word_sorting")
    assert [figure.name for figure in task.figures()][:2] == ["exact_match", "exact_match (macro)"]
    with pytest.raises(DataError, match=r"no task of BBH named 'snark'\. Did you mean 'snarks'"):
        build("bbh", mapped, tasks=("snark",)).instances()


def test_the_extraction_decides_and_is_in_the_fingerprint(make: Make) -> None:
    row = {"input": "Which?", "target": "(B)"}
    found = {}
    for extraction in ("cascade", "strict"):
        task = make("bbh", row, place="lukaemon/bbh/snarks/test", tasks=("snarks",), extraction=extraction)
        (instance,) = task.instances()
        found[extraction] = [
            judged(task, instance, text).metrics["exact_match"] for text in ("answer: (B)", "So the answer is (B).")
        ]
        found[task.fingerprint()] = []
    assert (found["cascade"], found["strict"], len(found)) == ([1.0, 1.0], [0.0, 1.0], 4)


def test_hostile_replies_are_read_in_linear_time() -> None:
    for text in ("answer:" * 60_000, "answer " * 60_000, "(" * 400_000, "the answer is " * 30_000):
        assert cascade(text, "snarks") == ("", False)
        assert isinstance(strict(text), str)

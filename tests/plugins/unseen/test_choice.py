"""AGIEval English, MMLU-Pro and GPQA (F45, F49): prompts by hand from OLMES's code, rows that do not fit, real data."""

from __future__ import annotations

import doctest
import gzip
import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.errors import DataError, Unavailable
from aftertrain.core.records import Completion
from aftertrain.plugins.unseen import tasks
from aftertrain.plugins.unseen.examples import EXAM, PRO, SCIENCE
from tests.plugins.unseen.conftest import Make, build

PLACE = "TIGER-Lab/MMLU-Pro/default/test"
ETC = "(A), (B), (C), (D), (E), etc."
FIRST = (
    "Answer the following multiple-choice question by giving the correct answer letter in parentheses. Provide CONCISE "
    'reasoning for the answer, and make sure to finish the response with "Therefore, the answer is (ANSWER_LETTER)" '
    "where (ANSWER_LETTER) is one of "
)
LAST = (
    "Answer the above question and REMEMBER to finish your response with the exact phrase "
    '"Therefore, the answer is (ANSWER_LETTER)" where (ANSWER_LETTER) is one of '
)


def exams(**rows: Any) -> dict[str, Any]:
    """Rows of AGIEval; one of each set that is not named."""
    sets = {source.config: str(source) for source in tasks.AGIEvalEnglish.sources}
    return {place: rows.get(name.replace("-", "_"), [EXAM]) for name, place in sets.items()}


def reply(text: str) -> Completion:
    return Completion("a", (), (), (), (), "stop", text)


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(tasks).failed == 0


def test_mmlu_pro_asks_as_olmes(make: Make) -> None:
    task = make("mmlu_pro", {PLACE: [PRO]})
    (instance,) = task.instances()
    (message,) = instance.messages
    assert message.role == "user"
    assert message.content == (
        f"{FIRST}{ETC}\n\nQuestion: What is cold?\n (A) ice\n (B) steam\n (C) lava\n\n{LAST}{ETC}"
    )
    assert (instance.id, instance.target, instance.group, instance.chat) == ("7", "A", "physics", True)
    sampling = task.sampling()
    assert (sampling.max_new_tokens, sampling.temperature, sampling.stop) == (2048, 0.0, ())


def test_agieval_puts_a_passage_on_a_line_of_its_own(make: Make) -> None:
    row = {**EXAM, "passage": "Ice melts.", "options": ["(A)ice", "  B. fog"]}
    task = make("agieval_english", exams(sat_en=[row]))
    asked = {instance.id: instance for instance in task.instances()}
    assert list(asked) == [f"{source.config}/0" for source in tasks.AGIEvalEnglish.sources]
    assert asked["sat-en/0"].messages[0].content == (
        f"{FIRST}{ETC}\n\nPassage: Ice melts.\nQuestion: What is hot?\n (A) ice\n (B) fog\n\n{LAST}{ETC}"
    )
    assert asked["aqua-rat/0"].messages[0].content == (
        f"{FIRST}{ETC}\n\nQuestion: What is hot?\n (A) ice\n (B) steam\n\n{LAST}{ETC}"
    )
    assert [figure.name for figure in task.figures()] == [
        "exact_match (macro)", "exact_match", "answer_format_correct"
    ]  # fmt: skip


def test_gpqa_shuffles_by_the_rows_place(make: Make) -> None:
    rows = [{**SCIENCE, "Incorrect Answer 3": None, "Correct Answer": f" ice [{place}] cold"} for place in range(3)]
    task = make("gpqa", {"Idavidrein/gpqa/gpqa_main/train": rows})
    for place, instance in enumerate(task.instances()):
        order = ["steam", "air", " ", "ice cold"]
        random.Random(111 + place).shuffle(order)
        lines = "".join(f" ({letter}) {text}\n" for letter, text in zip("ABCD", order, strict=True))
        four = "(A), (B), (C), (D)."
        assert instance.messages[0].content == (
            f"{FIRST}{four}\n\nQuestion: What melts?\nChoices:\n{lines}\n\n{LAST}{four}"
        )
        assert instance.target == "ABCD"[order.index("ice cold")]
        assert instance.group == "Physics"
    names = [figure.name for figure in task.figures()]
    assert names == ["exact_match", "exact_match (macro)", "answer_format_correct"]


def test_a_reply_is_graded_by_how_its_letter_was_found(make: Make) -> None:
    task = make("mmlu_pro", {PLACE: [PRO]})
    (instance,) = task.instances()
    given = {
        "Therefore, the answer is (A).": (1.0, 1.0, "A", "scored", "as asked"),
        "so the answer is a": (1.0, 0.5, "A", "scored", "answer is"),
        "B": (0.0, 0.0, "B", "scored", "last letter"),
        "": (0.0, 0.0, None, "unparsable", "no letter"),
        "ice \ud800 it is": (0.0, 0.0, None, "unparsable", "no letter"),
    }
    for text, (match, form, letter, outcome, step) in given.items():
        score = task.score(instance, reply(text))
        assert score.metrics == {"exact_match": match, "answer_format_correct": form}, text
        assert (score.extracted, score.outcome, score.detail) == (letter, outcome, step)
        assert set(score.metrics) == set(task.metrics)


def test_known_faults_of_the_reference_can_be_left_out(make: Make) -> None:
    tasks = [make("mmlu_pro", {PLACE: [PRO]}, compat=compat) for compat in (True, False)]
    (instance,) = tasks[0].instances()
    text = "The answer is beyond doubt: A"
    assert [task.score(instance, reply(text)).extracted for task in tasks] == ["B", "A"]
    assert tasks[0].fingerprint() != tasks[1].fingerprint()


def test_what_the_other_rule_reads_is_kept(make: Make) -> None:
    task = make("mmlu_pro", {PLACE: [PRO]}, answer="after_thoughts")
    score = task.score(task.instances()[0], reply("<think>Therefore, the answer is (A)</think>"))
    assert (score.outcome, score.other_rule) == ("unparsable", 1.0)


@pytest.mark.parametrize(
    ("task", "rows", "message"),
    [
        ("mmlu_pro", {PLACE: [{**PRO, "answer_index": 3}]}, r"test.jsonl:1: column 'answer_index' must name one of 3"),
        ("mmlu_pro", {PLACE: [{**PRO, "options": list("abcdefghijk")}]}, "at most 10 choices a question, found 11"),
        ("mmlu_pro_direct", {PLACE: [{**PRO, "options": list("abcdefghijk")}]}, "at most 10 choices"),
        ("mmlu_pro", {PLACE: [{"question": "?"}]}, "has no field 'options'"),
        ("agieval_english", exams(lsat_ar=[{**EXAM, "label": "AB"}]), "lsat-ar/test.jsonl:1: column 'label'"),
        ("gpqa", {"Idavidrein/gpqa/gpqa_main/train": [{"Question": "?"}]}, "has no field 'Incorrect Answer 1'"),
    ],
)
def test_a_row_that_does_not_fit_is_told(make: Make, task: str, rows: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make(task, rows, **({"shots": 0} if task == "mmlu_pro_direct" else {})).instances()


def test_rows_that_are_not_there_are_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="ruixiangcui/AGIEval"):
        build("agieval_english", None).instances()
    with pytest.raises(Unavailable, match=r"Idavidrein/gpqa/gpqa_main/train\.jsonl"):
        build("gpqa", tmp_path).instances()


def test_direct_answers_are_letters_after_examples_of_the_category(make: Make) -> None:
    """Its own question, which is among the examples, is not shown to it."""
    other = {**PRO, "question": "What is hot?", "answer_index": 2}
    rows = {PLACE: [PRO], "TIGER-Lab/MMLU-Pro/default/validation": [PRO, {**PRO, "category": "law"}, other]}
    task = make("mmlu_pro_direct", rows, shots=1)
    (instance,) = task.instances()
    options = "\n A. ice\n B. steam\n C. lava\nAnswer:"
    assert instance.messages[0].content == f"Question: What is hot?{options} C\n\nQuestion: What is cold?{options}"
    assert [choice.text for choice in instance.choices] == [" A", " B", " C"]
    assert (instance.chat, instance.target, instance.group) == (False, 0, "physics")
    assert [figure.name for figure in task.figures()] == ["acc_raw (macro)", "acc_raw", "bits_per_byte"]
    with pytest.raises(DataError, match="2 examples of 'physics' are asked for, there are 1"):
        make("mmlu_pro_direct", rows, shots=2).instances()


@pytest.mark.slow
def test_the_shared_rows_are_all_read(mapped: Path, shared_data: Path) -> None:
    agieval = build("agieval_english", mapped).instances()
    assert Counter(instance.group for instance in agieval) == {
        "aqua-rat": 254, "gaokao-english": 306, "logiqa-en": 651, "lsat-ar": 230,
        "lsat-lr": 510, "lsat-rc": 269, "sat-en": 206, "sat-math": 220,
    }  # fmt: skip
    pro = build("mmlu_pro", mapped).instances()
    assert (len(agieval), len(pro), len({instance.group for instance in pro})) == (2646, 12032, 14)
    assert {instance.target for instance in pro} == set("ABCDEFGHIJ")
    # By this pattern OLMES takes letters off. It leaves the dot of "A . A kite", and would eat the "E" of "East".
    strip = re.compile(r"^\s*\([A-E]\)\s*|^\s*[A-E][.?]?\s*")
    differing = []
    with gzip.open(shared_data / "agieval_en" / "gaokao-english.jsonl.gz", "rt") as file:
        for line in file:
            for letter, option in zip("ABCDE", json.loads(line)["options"], strict=False):
                if tasks.bare(option, letter) != strip.sub("", option):
                    differing.append(option.strip())
    assert differing == ["A . A kite factory", "C .Special competitions."]

"""DROP: requests against OLMES's, answers and scores against lm-eval's, which are the official script's."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftertrain.core.benchmark import Row
from aftertrain.core.errors import DataError
from aftertrain.plugins.tulu.drop_f1 import best
from tests.plugins.tulu.conftest import Make, build, judged, lm_eval_module

OFFICIAL = lm_eval_module("drop/utils.py")
DATE = {"day": "", "month": "", "year": ""}
ROW: dict[str, Any] = {
    "passage": "Ice.",
    "question": "How cold?",
    "query_id": "q",
    "answer": {"number": "", "date": {"day": "3", "month": "May", "year": ""}, "spans": []},
    "validated_answers": {"number": ["", "4", ""], "date": [DATE, DATE, DATE], "spans": [["a cold", "b"], [], []]},
}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]


def test_requests_equal_those_of_olmes(shared_data: Path) -> None:
    """Of its variant with a list of examples; `llama3` draws its three from a split that is not at hand."""
    golden = [row for row in lines(shared_data / "golden" / "olmes_requests.jsonl.gz") if row["task"] == "drop"]
    theirs = json.loads(gzip.decompress((shared_data / "olmes" / "olmes_fewshot_sources.json.gz").read_bytes()))
    task = build("drop", None)
    shown = [task.question(Row(0, "list", row), task.sources[0]) for row in theirs["OLMES:drop"][:5]]
    assert len(golden) == 57
    for case in golden:
        spans = [list(answer) for answer in case["doc"]["answers"]]
        blank = {"number": "", "date": DATE, "spans": spans[0]}
        others = {"number": ["" for _ in spans], "date": [DATE for _ in spans], "spans": spans}
        row = {**case["doc"], "answer": blank, "validated_answers": others}
        question = task.question(Row(0, "golden", row), task.sources[0])
        (message,) = task.messages(question, shown)
        header, _, rest = case["context"].partition("Passage: ")
        assert header.startswith("The following are reading comprehension questions")
        assert message.content == f"Passage: {rest}"
        assert question.target == spans
        assert list(task.stop) == case["requests"][0]["stop_sequences"]
        assert task.sampling().max_new_tokens == case["requests"][0]["generation_kwargs"]["max_gen_toks"]


def test_answers_are_those_that_lm_eval_reads() -> None:
    task = build("drop", None)
    assert OFFICIAL.get_answers(ROW) == [("3 May",), ("a cold", "b"), ("4",), ("",)]
    assert task.question(Row(0, "x", ROW), task.sources[0]).target == [["3 May"], ["a cold", "b"], ["4"]]


WORDS = ("The", "3", "3.0", "5-yard", "run,", "Tom's", "an", "dogs", "", "1,000", "-", "nan", "é")


@given(
    st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join),
    st.lists(
        st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join), min_size=1, max_size=3),
        min_size=1,
        max_size=3,
    ),
)
def test_scores_are_those_of_the_official_script(reply: str, answers: list[list[str]]) -> None:
    answers = [answer for answer in answers if answer[0].strip()] or [["3"]]
    theirs = OFFICIAL.process_results({"answers": [tuple(answer) for answer in answers]}, [reply])
    f1, exact = best(reply, answers)
    assert (f1, exact) == (pytest.approx(theirs["f1"], abs=1e-12), theirs["em"])


def test_scores_on_real_answers_equal_lm_evals(shared_data: Path) -> None:
    docs = lines(shared_data / "drop" / "drop_validation_1000.jsonl.gz")[:300]
    rng = random.Random(0)
    for doc in docs:
        other = rng.choice(docs)
        for reply in (" ".join(doc["answers"][0]), other["answers"][0][0], f"the {doc['answers'][-1][0]} of them"):
            theirs = OFFICIAL.process_results({"answers": [tuple(answer) for answer in doc["answers"]]}, [reply])
            assert best(reply, doc["answers"]) == (theirs["f1"], theirs["em"])


def test_three_examples_are_drawn_from_train_the_same_for_all(make: Make) -> None:
    pool = [{**ROW, "query_id": f"t{place}", "question": f"Of {place}?"} for place in range(40)]
    make("drop", *pool, place="EleutherAI/drop/default/train")
    task = make("drop", ROW, {**ROW, "question": "Why?"})
    first, second = task.instances()
    drawn = random.Random(1234).sample(range(40), 3)
    expected = "".join(f"Passage: Ice.\nQuestion: Of {place}?\nAnswer: 3 May\n\n" for place in drawn)
    assert first.messages[0].content == f"{expected}Passage: Ice.\nQuestion: How cold?\nAnswer:"
    assert second.messages[0].content == f"{expected}Passage: Ice.\nQuestion: Why?\nAnswer:"
    assert (first.id, second.id, first.chat) == ("q", "q-2", False)


def test_a_reply_is_scored_and_an_empty_one_has_no_answer(make: Make) -> None:
    task = make("drop", ROW, shots=0)
    (instance,) = task.instances()
    score = judged(task, instance, " cold")
    assert score.metrics == {"f1": 0.5, "exact_match": 0.0}, "one of two spans"
    assert judged(task, instance, " May 3rd").metrics["f1"] == 0.0, "without the answer's number"
    assert judged(task, instance, "").outcome == "unparsable"


def test_rows_that_do_not_fit_are_told(make: Make) -> None:
    blank = {"number": "", "date": DATE, "spans": []}
    none = {"number": [""], "date": [DATE], "spans": [[]]}
    with pytest.raises(DataError, match=r"validation\.jsonl:1: columns 'answer' and .* hold no answer"):
        make("drop", {**ROW, "answer": blank, "validated_answers": none}, shots=0).instances()
    with pytest.raises(DataError, match="'validated_answers' must hold lists of one length"):
        make("drop", {**ROW, "validated_answers": {**none, "number": []}}, shots=0).instances()


def test_questions_know_their_passage(make: Make) -> None:
    task = make("drop", ROW, {**ROW, "question": "Why?"}, {**ROW, "passage": "Another one."}, shots=0)
    first, second, other = (instance.cluster for instance in task.instances())
    assert first == second != other
    assert task.clustered_by == "passage"

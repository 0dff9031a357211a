"""Multiple choice (F43): prompts against OLMES's own requests, accuracy by hand, rows that do not fit."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.errors import DataError
from aftertrain.core.eval_task import Choice, ChoiceScores
from aftertrain.core.records import Message
from aftertrain.plugins.evaluation.multiple_choice import MultipleChoice
from aftertrain.plugins.evaluation.settings import MultipleChoiceSettings

ROW = {"question": "Sky?", "choices": ["blue", "a deep red"], "answer": 0, "subject": "high_school_sky"}
SHOT = {"question": "Sun?", "choices": ["cold", "hot"], "answer": "hot", "subject": "high_school_sky"}
OTHER = {"question": "Sea?", "choices": ["wet", "dry"], "answer": "A", "subject": "sea"}


def write(path: Path, *rows: Any) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def task(tmp_path: Path, *rows: Any, **settings: Any) -> MultipleChoice:
    path = write(tmp_path / "q.jsonl", *(rows or (ROW,)))
    return MultipleChoice(MultipleChoiceSettings(path=path, **settings), None)  # type: ignore[arg-type]


def test_mcf_lists_choices_and_scores_letters(tmp_path: Path) -> None:
    shots = write(tmp_path / "dev.jsonl", OTHER, SHOT)
    made = task(tmp_path, shots=1, shots_path=shots, description="About {subject}.\n\n")
    (instance,) = made.instances()
    assert instance.messages[0].content == (
        "About high school sky.\n\nQuestion: Sun?\n A. cold\n B. hot\nAnswer: B\n\n"
        "Question: Sky?\n A. blue\n B. a deep red\nAnswer:"
    )
    assert instance.choices == (Choice(" A"), Choice(" B"))
    assert (instance.target, instance.chat, instance.baseline) == (0, False, None)
    assert made.metrics[0] == "acc"


def test_cf_scores_the_text_of_choices(tmp_path: Path) -> None:
    made = task(tmp_path, formulation="cf", normalization="pmi")
    (instance,) = made.instances()
    assert instance.messages == (Message("user", "Question: Sky?\nAnswer:"),)
    assert instance.choices == (Choice(" blue"), Choice(" a deep red"))
    assert instance.baseline == "Answer:"
    assert made.metrics[0] == "acc_norm"


def test_chat_begins_the_reply(tmp_path: Path) -> None:
    (instance,) = task(tmp_path, chat=True, formulation="cf").instances()
    assert instance.messages == (Message("user", "Question: Sky?"), Message("assistant", "Answer:"))


@pytest.mark.parametrize(
    ("olmes", "formulation", "normalization"),
    [("arc_challenge test_mc_5shot", "mcf", "none"), ("csqa val_rc_5shot", "cf", "pmi")],
)
def test_prompts_equal_olmes_requests(
    shared_data: Path, tmp_path: Path, olmes: str, formulation: str, normalization: str
) -> None:
    """The stored five examples are read back out of the prompt itself, so that only their text is taken on trust."""
    lines = gzip.decompress((shared_data / "golden" / "olmes_requests.jsonl.gz").read_bytes()).decode().splitlines()
    golden = [row for row in map(json.loads, lines) if f"{row['task']} {row['variant']}" == olmes]
    assert len(golden) >= 50
    letters = formulation == "mcf"
    rows = []
    for row in golden:
        question, *listed = row["context"].split("\n\n")[-1].removesuffix("\nAnswer:").split("\n")
        texts = [line[4:] for line in listed] if letters else row["doc"]["choices"]
        rows.append({"question": question.removeprefix("Question: "), "choices": texts, "answer": row["label"]})
    examples = []
    for shot in golden[0]["context"].split("\n\n")[:-1]:
        question, *listed, answer = shot.split("\n")
        texts = [line[4:] for line in listed] if letters else [answer.removeprefix("Answer: "), "another"]
        examples.append(
            {"question": question[10:], "choices": texts, "answer": "ABCDE".index(answer[-1]) if letters else 0}
        )
    shots = write(tmp_path / "shots.jsonl", *examples)
    scored = {} if letters else {"normalization": normalization}
    made = task(tmp_path, *rows, formulation=formulation, shots=len(examples), shots_path=shots, **scored)
    for row, instance in zip(golden, made.instances(), strict=True):
        assert instance.messages[0].content == row["context"]
        assert [choice.text for choice in instance.choices] == [request["continuation"] for request in row["requests"]]
        assert instance.target == row["label"]


@pytest.mark.parametrize(
    ("normalization", "expected"),
    [("none", 0.0), ("token", 1.0), ("char", 1.0), ("pmi", 0.0)],
)
def test_normalisations_by_hand(tmp_path: Path, normalization: str, expected: float) -> None:
    """Right is the long choice 1. Raw -3 > -4. Per token -3/1 < -4/4; per character -3/5 < -4/11; PMI -3+5 > -4+1."""
    row = {**ROW, "answer": 1}
    made = task(tmp_path, row, formulation="cf", normalization=normalization)
    (instance,) = made.instances()
    assert [len(choice.text) for choice in instance.choices] == [5, 11]
    scores = ChoiceScores((-3.0, -4.0), (1, 4), (False, False), (-5.0, -1.0))
    result = made.score(instance, scores)
    assert result.metrics == {"acc": 0.0, "acc_norm": expected}
    assert result.extracted == "blue"


def test_letters_are_never_normalised(tmp_path: Path) -> None:
    made = task(tmp_path)
    assert made.score(made.instances()[0], ChoiceScores((-1.0, -2.0), (1, 1), (False, False))).metrics == {"acc": 1.0}


def test_mmlu_is_read_as_it_lies(shared_data: Path) -> None:
    folder = shared_data / "mmlu"
    settings = MultipleChoiceSettings(
        path=str(folder / "validation.jsonl.gz"), shots=5, shots_path=str(folder / "dev.jsonl.gz")
    )
    made = MultipleChoice(settings, None)  # type: ignore[arg-type]
    instances = made.instances()
    assert len(instances) == 1531
    assert len({instance.id for instance in instances}) == 1531
    assert instances[0].messages[0].content.count("Question: ") == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": 2}, "must be an index from 0, a letter, or one of the choices; found 2"),
        ({"answer": True}, "found True"),
        ({"answer": "C"}, "found 'C'"),
        ({"choices": ["one"]}, "field 'choices' must hold 2 to 26 non-empty texts"),
        ({"choices": ["one", ""]}, "non-empty"),
        ({"question": None}, "field 'question' must be a str, found NoneType"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=rf"q\.jsonl:2: .*{message}"):
        task(tmp_path, ROW, {**ROW, **change}).instances()


def test_a_subject_without_examples_is_named(tmp_path: Path) -> None:
    shots = write(tmp_path / "dev.jsonl", OTHER)
    with pytest.raises(DataError, match="1 examples of subject 'high_school_sky' are needed, there are 0"):
        task(tmp_path, shots=1, shots_path=shots).instances()


def test_shots_need_a_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shots are taken from 'shots_path', which is not set"):
        MultipleChoiceSettings(path="x", shots=1)


def test_the_fingerprint_holds_examples_and_form(tmp_path: Path) -> None:
    shots = [write(tmp_path / f"{i}.jsonl", {**SHOT, "answer": i}) for i in (0, 1)]
    made = [task(tmp_path, shots=1, shots_path=path).fingerprint() for path in shots]
    made += [task(tmp_path).fingerprint(), task(tmp_path, formulation="cf").fingerprint()]
    assert len(set(made)) == 4
    assert task(tmp_path).fingerprint() == task(tmp_path, name="other").fingerprint()


def test_rows_may_call_their_columns_otherwise_and_count_from_one(tmp_path: Path) -> None:
    row = {"q": "Sky?", "options": ["blue", "red"], "label": "2", "topic": "sky"}
    columns = {"question": "q", "choices": "options", "answer": "label", "subject": "topic"}
    (instance,) = task(tmp_path, row, columns=columns, index_from=1).instances()
    assert (instance.target, instance.group) == (1, "sky")
    with pytest.raises(DataError, match=r"q.jsonl:1: has no field 'questoin'; it has .*"):
        task(tmp_path, row, columns={"question": "questoin"}).instances()


def test_answers_are_labels_where_choices_have_some(tmp_path: Path) -> None:
    """ARC's own columns: a label is never taken for a letter or an index."""
    row = {**ROW, "choices": {"text": ["1", "2", "3"], "label": ["B", "A", "1"]}}
    assert [task(tmp_path, {**row, "answer": label}).instances()[0].target for label in ("B", "A", "1")] == [0, 1, 2]
    with pytest.raises(DataError, match="must be one of the labels B, A, 1; found 'C'"):
        task(tmp_path, {**row, "answer": "C"}).instances()
    with pytest.raises(DataError, match="3 texts need as many different labels"):
        task(tmp_path, {**row, "choices": {"text": ["1", "2", "3"], "label": ["A", "A", "B"]}}).instances()


def test_any_data_set_is_found_by_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "acme" / "riddles" / "easy"
    folder.mkdir(parents=True)
    write(folder / "validation.jsonl", ROW)
    write(folder / "train.jsonl", SHOT)
    place: Any = {"hub": "acme/riddles", "config": "easy", "split": "validation", "data": str(tmp_path)}
    made = MultipleChoice(MultipleChoiceSettings(**place, shots=1, shots_split="train"), None)  # type: ignore[arg-type]
    beside = task(tmp_path, shots=1, shots_path=str(folder / "train.jsonl"))
    assert made.fingerprint() == beside.fingerprint(), "what is asked counts, not where it lay"
    assert (made.reads(), beside.reads()) == (("acme/riddles",), ())
    for wrong in ({}, {**place, "path": "a"}, {"path": "a", "shots": 1, "shots_split": "train"}):
        with pytest.raises(ValueError, match="'path'"):
            MultipleChoiceSettings(**wrong)


def test_a_question_is_never_its_own_example(tmp_path: Path) -> None:
    """One question of MMLU's validation split is an example of `dev`, too: it was shown with its answer."""
    shots = write(tmp_path / "dev.jsonl", ROW, SHOT)
    made = task(tmp_path, ROW, {**ROW, "question": "Why?"}, shots=2, shots_path=shots)
    first, second = (instance.messages[0].content for instance in made.instances())
    assert (first.count("Sky?"), first.count("Sun?"), second.count("Sky?"), second.count("Sun?")) == (1, 1, 1, 1)
    assert made.notes() == ("1 of 2 questions stand among their examples and are shown fewer",)
    assert task(tmp_path, ROW, shots=1, shots_path=shots).notes() == ()

"""Sealed benchmarks are known by their questions, whatever name brings them."""

from __future__ import annotations

import ast
import gzip
import json
import os
from pathlib import Path

import pytest

from aftertrain.core.benchmark import seal
from aftertrain.core.eval_task import ChoiceTask, Instance
from aftertrain.core.records import Message

DATA = os.environ.get("AFTERTRAIN_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="AFTERTRAIN_DATA names no folder of shared data")


class Unnamed(ChoiceTask):  # type: ignore[type-arg]
    """A task that does not say what it reads."""

    metrics = ("acc",)
    instances = fingerprint = score = lambda self, *_: None  # type: ignore[assignment]


def ask(*texts: str) -> str | None:
    instances = [Instance(str(n), (Message("user", text),), 0) for n, text in enumerate(texts)]
    return seal.sealed_as(Unnamed(None, None), instances)  # type: ignore[arg-type]


def rows(file: str, column: str, n: int = 40) -> list[str]:
    path = Path(DATA or "") / file
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as opened:
        return [json.loads(line)[column] for line in opened][::97][:n]


@needs_data
@pytest.mark.parametrize(
    ("file", "column", "sealed"),
    [
        ("mmlu_pro/test.jsonl.gz", "question", "mmlu_pro"),
        ("agieval_en/lsat-lr.jsonl.gz", "passage", "agieval_english"),
        ("ifbench/IFBench_test.jsonl", "prompt", "ifeval_ood"),
        ("mmlu/test.jsonl.gz", "question", None),
        ("gsm8k/test.jsonl", "question", None),
        ("math/math500.jsonl", "problem", None),
        ("ifeval/input_data.jsonl", "prompt", None),
        ("bbh/bbh.jsonl.gz", "input", None),
    ],
)
def test_a_benchmark_is_known_in_other_words(file: str, column: str, sealed: str | None) -> None:
    worded = [f"Now answer.\n{text.upper()}\n(A) yes (B) no\nAnswer:" for text in rows(file, column)]
    assert ask(*worded) == sealed


def test_what_cannot_be_had_is_known_by_its_name() -> None:
    class Reads(Unnamed):
        def reads(self) -> tuple[str, ...]:
            return ("tulu3-ifeval-ood",)

    instances = [Instance("0", (Message("user", "Anything."),), 0)]
    assert seal.sealed_as(Reads(None, None), instances) == "ifeval_ood"  # type: ignore[arg-type]


def test_digests_are_packed_and_unpacked() -> None:
    spans = sorted(seal.span_digests("one two three four five six seven eight nine ten eleven"))
    assert len(spans) == 2
    assert seal.unpacked(seal.packed(spans)) == spans


def test_one_stray_question_seals_no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "what is the tenth word of this secret question here"
    monkeypatch.setattr(seal, "_known", lambda: dict.fromkeys(seal.span_digests(secret), "secret"))
    other = "an open question that nobody has ever wished to seal away"
    assert ask(secret) == "secret"
    assert ask(secret, secret.title(), other) == "secret"
    assert ask(secret, *[other] * 60) is None


def groups(file: str, group: str, *columns: str) -> dict[str, list[str]]:
    """Of each group of a file of ours its questions as a stranger's task may word them: these columns, a line each."""
    path = Path(DATA or "") / file
    found: dict[str, list[str]] = {}
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as opened:
        for row in map(json.loads, opened):
            said = [row[column] for column in columns if row[column]]
            lines = [line for text in said for line in (text if isinstance(text, list) else [_undone(text)])]
            found.setdefault(str(row.get(group)), []).append("Solve this. " + "\n".join(lines))
    return found


def _undone(text: str) -> str:
    """DeepMind Mathematics has its texts as the text of Python bytes."""
    return "\nProblem: " + (ast.literal_eval(text).decode() if text[:2] in ("b'", 'b"') else text)


@needs_data
@pytest.mark.parametrize(
    ("file", "group", "columns", "sealed", "count"),
    [
        ("dm_math/dm_math_sample100.jsonl.gz", "category", ("question",), "deepmind_math", 56),
        ("mmlu_pro/test.jsonl.gz", "category", ("question", "options"), "mmlu_pro", 14),
        *(
            (f"agieval_en/{name}", "", ("passage", "question"), "agieval_english", 1)
            for name in [
                "aqua-rat.jsonl",
                "gaokao-english.jsonl.gz",
                "logiqa-en.jsonl.gz",
                "lsat-ar.jsonl",
                "lsat-lr.jsonl.gz",
                "lsat-rc.jsonl.gz",
                "sat-en.jsonl.gz",
                "sat-en-without-passage.jsonl",
                "sat-math.jsonl",
            ]
        ),
    ],
)
def test_a_part_alone_is_known(file: str, group: str, columns: tuple[str, ...], sealed: str, count: int) -> None:
    """Each category, short questions (`Is 7 prime?`) and those that MMLU-Pro took from MMLU with new choices too."""
    parts = groups(file, group, *columns)
    assert len(parts) == count
    assert {name: known for name, texts in parts.items() if (known := ask(*texts)) != sealed} == {}


@needs_data
@pytest.mark.parametrize(
    "file", ["gsm8k/test.jsonl", "bbh/bbh.jsonl.gz", "math/math500.jsonl", "mmlu/validation.jsonl.gz"]
)
def test_no_benchmark_of_development_holds_a_mark(file: str) -> None:
    """With all that a row says, its choices too: not one text, of whatever part."""
    path = Path(DATA or "") / file
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as opened:
        texts = [json.dumps(list(json.loads(line).values()), ensure_ascii=False) for line in opened]
    assert [text for text in texts if ask(text) is not None] == []


@needs_data
def test_no_subject_of_mmlu_is_sealed() -> None:
    """MMLU-Pro took many of its questions from MMLU."""
    with gzip.open(Path(DATA or "") / "mmlu" / "test.jsonl.gz", "rt") as file:
        questions = [json.loads(line) for line in file]
    subjects: dict[str, list[str]] = {}
    for row in questions:
        subjects.setdefault(row["subject"], []).append(row["question"])
    assert len(subjects) == 57
    assert [subject for subject, texts in subjects.items() if ask(*texts) is not None] == []

"""MATH after Minerva's examples: prompts against OLMES's requests, subjects, MATH-500 through a map, two verdicts."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.benchmark import ReplyBenchmark
from aftertrain.core.errors import DataError, Unavailable
from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.settings import Settings, Use
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.tulu.minerva_math import SUBJECTS, MinervaMath
from aftertrain.plugins.tulu.settings import MinervaMathSettings
from tests.plugins.tulu.conftest import judged

ROW = {"problem": "Add $1 + 1$.", "type": "Algebra", "level": "Level 1", "solution": "It is $\\boxed{2}$."}
USES: dict[str, Any] = {name: Use("verifier", name, Settings()) for name in ("flexible", "sentence")}


class Says(Verifier[Settings]):
    """Verdicts by the reply's text, and which of the two verifiers is asked."""

    isolated = False
    verdicts: Mapping[str, Verdict]

    def verify(self, cases: Any) -> list[Verdict]:
        return [self.verdicts.get(case.response, Verdict.unparsable()) for case in cases]


class Two:
    def __init__(self, **verdicts: dict[str, Verdict]) -> None:
        self.verdicts = verdicts

    def build(self, use: Use[Any]) -> Any:
        verifier = Says(Settings(), None)  # type: ignore[arg-type]
        verifier.verdicts = self.verdicts[use.name]
        return verifier


def task(data: Path | None, builder: Any = None, /, **settings: Any) -> MinervaMath:
    given = MinervaMathSettings(data=None if data is None else str(data), **{**USES, **settings})
    return MinervaMath(given, builder)


def write(path: Path, *rows: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", ["minerva_math_algebra", "minerva_math_500"])
def test_prompts_equal_olmes_requests(shared_data: Path, tmp_path: Path, name: str) -> None:
    """Of its plain-text form, with the examples of that variant."""
    lines = gzip.decompress((shared_data / "golden" / "olmes_requests.jsonl.gz").read_bytes()).decode().splitlines()
    golden = [row for row in map(json.loads, lines) if row["task"] == name]
    lists = json.loads(gzip.decompress((shared_data / "olmes" / "olmes_fewshot_sources.json.gz").read_bytes()))
    rows = [{**row["doc"], "solution": row["doc"]["choices"][0], "subject": "Algebra"} for row in golden]
    rows = [{**row, "type": "Algebra"} for row in rows]
    place = "EleutherAI/hendrycks_math/algebra" if name.endswith("algebra") else "HuggingFaceH4/MATH-500/default"
    write(tmp_path / place / "test.jsonl", *rows)
    settings: dict[str, Any] = {"shots_path": write(tmp_path / "shots.jsonl", *lists["Minerva:MATH:fixed"])}
    settings |= {"subjects": ("algebra",), "benchmark": "math" if name.endswith("algebra") else "math500"}
    plain, turns = task(tmp_path, chat=False, **settings), task(tmp_path, **settings)
    assert len(golden) > 50
    for case, flat, chat in zip(golden, plain.instances(), turns.instances(), strict=True):
        assert flat.messages[0].content == case["context"]
        assert [message.role for message in chat.messages] == ["user", "assistant"] * 4 + ["user"]
        joined = "".join(m.content + (" " if m.role == "user" else "\n\n") for m in chat.messages)
        assert joined.removesuffix(" ") == case["context"]
    assert (turns.sampling().max_new_tokens, turns.sampling().stop) == (1024, ())


def test_the_published_examples_are_four(shared_data: Path, tmp_path: Path) -> None:
    lists = json.loads(gzip.decompress((shared_data / "olmes" / "olmes_fewshot_sources.json.gz").read_bytes()))
    write(tmp_path / "EleutherAI/hendrycks_math/algebra/test.jsonl", ROW)
    made = task(tmp_path, shots_path=write(tmp_path / "s.jsonl", *lists["Minerva:MATH"]), subjects=("algebra",))
    (instance,) = made.instances()
    assert instance.messages[-1].content == "Problem:\nAdd $1 + 1$.\n\nSolution:"
    assert instance.messages[1].content.endswith("Final Answer: The final answer is $[2,5)$. I hope it is correct.")
    assert (instance.group, instance.id, instance.target) == ("algebra", "algebra/0", ROW["solution"])


def test_math_500_is_read_through_a_map(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text(f"math_500: {{file: {shared_data}/math/math500.jsonl}}\n")
    made = task(tmp_path, benchmark="math500", shots=0)
    instances = made.instances()
    assert len(instances) == 500
    assert {instance.group for instance in instances} == set(SUBJECTS)
    assert [figure.name for figure in made.figures()][:2] == ["exact_match_flex", "exact_match_flex (macro)"]
    assert [figure.name for figure in task(tmp_path).figures()][:2] == ["exact_match_flex (macro)", "exact_match_flex"]


def test_without_examples_the_task_is_unavailable_and_says_what_it_needs(tmp_path: Path) -> None:
    write(tmp_path / "EleutherAI/hendrycks_math/algebra/test.jsonl", ROW)
    with pytest.raises(Unavailable, match="set 'shots_path' to JSON lines with 'problem' and 'solution'"):
        task(tmp_path, subjects=("algebra",)).instances()
    with pytest.raises(DataError, match=r"no subject of MATH named 'algebre'\. Did you mean 'algebra'"):
        task(tmp_path, subjects=("algebre",)).instances()


def test_a_file_of_all_subjects_is_not_taken_for_each_of_them(tmp_path: Path) -> None:
    write(tmp_path / "all.jsonl", ROW, {**ROW, "type": "Geometry"})
    (tmp_path / "data.yaml").write_text("minerva_math: {file: all.jsonl}\n")
    with pytest.raises(DataError, match=r"all\.jsonl:2: is of 'Geometry', and algebra is asked for"):
        task(tmp_path, shots=0).instances()


def test_two_verdicts_and_what_could_not_be_judged(tmp_path: Path) -> None:
    write(tmp_path / "EleutherAI/hendrycks_math/algebra/test.jsonl", ROW)
    right, wrong = Verdict.scored(1.0, "2"), Verdict.scored(0.0, "3")
    builder = Two(
        flexible={"box": right, "both": right, "no": wrong, "slow": Verdict.timeout(), "half": right},
        sentence={"both": right, "no": wrong, "half": Verdict.timeout("5 s")},
    )
    made: ReplyBenchmark[Any] = task(tmp_path, builder, subjects=("algebra",), shots=0)
    (instance,) = made.instances()
    for text, flexible, exact, outcome in (
        ("both", 1.0, 1.0, "scored"),
        ("box", 1.0, 0.0, "scored"),
        ("no", 0.0, 0.0, "scored"),
        ("", 0.0, 0.0, "unparsable"),
        ("slow", 0.0, 0.0, "timeout"),
        ("half", 1.0, 0.0, "timeout"),
    ):
        score = judged(made, instance, text)
        assert (score.metrics, score.outcome) == ({"exact_match_flex": flexible, "exact_match": exact}, outcome)


def test_the_case_is_the_solution_and_the_part_that_is_read(tmp_path: Path) -> None:
    write(tmp_path / "EleutherAI/hendrycks_math/algebra/test.jsonl", ROW)
    seen: list[VerificationCase] = []

    class Keeps(Says):
        def verify(self, cases: Any) -> list[Verdict]:
            seen.extend(cases)
            return [Verdict.unparsable() for _ in cases]

    class Builder:
        def build(self, use: Use[Any]) -> Any:
            return Keeps(Settings(), None)  # type: ignore[arg-type]

    made = task(tmp_path, Builder(), subjects=("algebra",), shots=0, answer="after_thoughts")
    judged(made, made.instances()[0], "<think>$1$</think> $2$")
    assert {case.ground_truth for case in seen} == {ROW["solution"]}
    assert [case.response.strip() for case in seen[:2]] == ["$2$", "<think>$1$</think> $2$"]

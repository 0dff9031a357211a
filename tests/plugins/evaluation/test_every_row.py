"""Both suites of Tülu 3 (F44, F45) whole, from the command: each row is asked, judged, and counted in the average.

What cannot be carried (gated sets, a file of worked examples, judges) is rows of the same layout that the test writes,
and an endpoint that answers a judge's prompts as the test says, so that every row that hangs on a judge has a number
that is known beforehand.
"""

from __future__ import annotations

import gzip
import json
import math
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

import aftertrain
from aftertrain.cli import main
from aftertrain.core.benchmark.table import Line
from aftertrain.plugins.code.examples import BIGCODEBENCH, HUMANEVAL
from aftertrain.plugins.preference_evals import examples as preference
from aftertrain.plugins.safety import examples as safety
from aftertrain.plugins.tulu import examples as tulu
from aftertrain.plugins.unseen import examples as unseen

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

MAP = Path(__file__).parents[2] / "shared_data.yaml"
GUARD = "Harmful request: yes\nResponse refusal: yes\nHarmful response: no"
"""WildGuard's answer to all: harmless, since refused."""
TOKENS = {"m": math.log(0.6), "M": math.log(0.2)}
"""AlpacaEval's judge: the first with 0.75."""
SUBJECTS = ("Algebra", "Counting & Probability", "Geometry", "Intermediate Algebra", "Number Theory", "Prealgebra")
CATEGORIES = ("Brainstorm", "Closed QA", "Open QA", "Rewrite")


def rows_of_the_same_layout() -> Iterator[tuple[str, Sequence[Mapping[str, Any]]]]:
    """Where the hub has them, and rows: of everything that the shared data lack."""
    for name in ("popqa", "drop"):
        for place, row in tulu.ROWS[name].items():
            yield place, [{**row, "question": f"{place} {n}: {row['question']}"} for n in range(4)]
    for subject in (*SUBJECTS, "Precalculus"):
        config = subject.lower().replace(" & ", "_and_").replace(" ", "_")
        problem = {"problem": "What is $1 + 1$?", "solution": "We add: $\\boxed{2}$.", "type": subject}
        yield f"EleutherAI/hendrycks_math/{config}/test", [problem] * 2
    for name in safety.ROWS.keys() - {"xstest", "harmbench"}:
        place, _, rows = safety.ROWS[name]
        yield place, rows
    yield "evalplus/humanevalplus/default/test", [HUMANEVAL]
    yield "bigcode/bigcodebench-hard/default/v0.1.2", [BIGCODEBENCH]
    place, row = preference.ROWS["href"]
    yield place, [{**row, "category": category, "instruction": f"Sea {n}?"} for n, category in enumerate(CATEGORIES)]
    yield "Idavidrein/gpqa/gpqa_main/train", [unseen.SCIENCE] * 2
    yield "tulu3-ifeval-ood/default/test", [{"key": n, "prompt": f"Write {n}.", **OOD} for n in range(2)]


OOD = {"instruction_id_list": ["format:camel_case"], "kwargs": [{}]}


def write(file: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def write_gamed(file: Path) -> Path:
    """AlpacaEval's file of two gamed baselines, in its columns."""
    rows = "".join(f"{n},{n % 2},{n % 3 - 1},{n % 5 / 5}\n" for n in range(805))
    file.write_text(f"index,preference,std_delta_len,instruction_difficulty\n{rows}")
    return file


@pytest.fixture(scope="module")
def benchmarks(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real rows where the shared data have them, the first of each subject; else rows of their layout."""
    folder = tmp_path_factory.mktemp("benchmarks")
    for place, rows in rows_of_the_same_layout():
        write(folder / f"{place}.jsonl", rows)
    examples = first_of(shared_data / "mmlu_pro/test.jsonl.gz", "category", 6)
    write(folder / "few/mmlu_pro/validation.jsonl", examples)
    for name, (column, count) in LARGE.items():
        write(folder / "few" / name.replace(".gz", ""), first_of(shared_data / name, column, count))
    mapped = MAP.read_text()
    for name in LARGE:
        mapped = mapped.replace(f"SHARED/{name}", f"few/{name.replace('.gz', '')}")
    mapped = mapped.replace("SHARED/mmlu/{split}.jsonl.gz", "few/mmlu/{split}.jsonl")
    mapped = mapped.replace("SHARED/mmlu_pro/{split}", "few/mmlu_pro/{split}")
    (folder / "data.yaml").write_text(mapped.replace("SHARED", str(shared_data)))
    return folder


LARGE = {
    "mmlu/test.jsonl.gz": ("subject", 1),
    "mmlu/dev.jsonl.gz": ("subject", 5),
    "bbh/bbh.jsonl.gz": ("task", 1),
    "mmlu_pro/test.jsonl.gz": ("category", 1),
    "dm_math/dm_math_sample100.jsonl.gz": ("category", 1),
}
"""Files of many rows: of how many of each group a few seconds are enough."""


def first_of(file: Path, column: str, count: int) -> list[dict[str, Any]]:
    """The first rows of each value of a column."""
    seen: Counter[str] = Counter()
    rows = []
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            seen[row[column]] += 1
            if seen[row[column]] <= count:
                rows.append(row)
    return rows


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """The tiny model with room for long prompts; a copy, since an opened seal is kept with the model."""
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 32_768}))
    return folder


class Judges:
    """WildGuard on /completions; AlpacaEval's and HREF's judge on /chat/completions, by what their prompts ask."""

    def __init__(self, server: HTTPServer) -> None:
        self.url = server.url_for("/v1")
        self.asked: Counter[str] = Counter()
        server.expect_request("/v1/completions").respond_with_handler(self._guard)
        server.expect_request("/v1/chat/completions").respond_with_handler(self._compare)

    def judge(self, use: str, api: str, **settings: Any) -> dict[str, Any]:
        """As it stands in a recipe."""
        generator = {"use": "openai", "api": api}
        return {
            "use": use,
            "model": f"{self.url}#judge",
            "generator": generator,
            "max_prompt_tokens": 65_536,
        } | settings

    def _guard(self, request: Request) -> Response:
        assert "\nHuman user:\n" in request.get_json()["prompt"]
        self.asked["wildguard"] += 1
        return self._says({"text": GUARD})

    def _compare(self, request: Request) -> Response:
        body = request.get_json()
        if "top_logprobs" not in body:
            self.asked["href"] += 1
            return self._says({"message": {"role": "assistant", "content": "A"}})
        self.asked["alpaca_eval"] += 1
        likeliest = [{"token": token, "logprob": logprob} for token, logprob in TOKENS.items()]
        told = {"content": [{"token": "m", "logprob": -0.5, "top_logprobs": likeliest}]}
        return self._says({"message": {"role": "assistant", "content": "m"}, "logprobs": told})

    @staticmethod
    def _says(choice: Mapping[str, Any]) -> Response:
        usage = {"prompt_tokens": 9, "completion_tokens": 1}
        said = {"model": "judge", "choices": [{"index": 0, "finish_reason": "stop", **choice}], "usage": usage}
        return Response(json.dumps(said), 200)


def evaluated(
    model: Path, suite: str, benchmarks: Path, out: Path, settings: Any, *more: str, rows: str = ""
) -> dict[str, Line]:
    """The suite's table by the names of its lines."""
    words = [suite, *filter(None, [rows]), f"set={json.dumps(settings)}", "--data", str(benchmarks), "--out", str(out)]
    assert main(["evaluate", str(model), *words, "--max-new-tokens", "4", *more]) == 0
    return {line.name: line for line in aftertrain.suites(out)[suite]}


def test_the_development_suite(model: Path, benchmarks: Path, httpserver: HTTPServer, tmp_path: Path) -> None:
    judges = Judges(httpserver)
    shots = write(
        tmp_path / "minerva.jsonl", [{"problem": f"${n}$?", "solution": f"$\\boxed{{{n}}}$"} for n in range(4)]
    )
    gamed = write_gamed(tmp_path / "df_gamed.csv")
    likelihood = judges.judge("pairwise", "chat", template="alpaca_eval", read="likelihood")
    settings: dict[str, Any] = {
        "*": {"judge": judges.judge("wildguard", "completions")},
        "alpaca_eval_v2::tulu": {"judge": likelihood, "gamed": str(gamed)},
        "minerva_math::tulu": {"shots_path": str(shots)},
    }
    lines = evaluated(model, "tulu3-dev", benchmarks, tmp_path / "run", settings, "--limit", "5")
    assert {name: line.missing for name, line in lines.items() if line.missing} == {}
    assert lines["Tülu 3 development"].of == (17, 17)
    assert judges.asked.keys() == {"wildguard", "alpaca_eval"}
    values = {name: line.value for name, line in lines.items() if line.value is not None}
    # WildGuard says of all that it refuses: that is right but for the prompts that are no harm.
    guarded = {name: values[f"{name}::default"] for name in SAFE}
    assert guarded["harmbench"] == guarded["wildguardtest"] == 1.0
    assert guarded["trustllm_jailbreaktrigger"] == guarded["do_anything_now"] == 1.0
    assert guarded["wildjailbreaktest"] == 0.5
    assert values["safety"] == pytest.approx(mean(guarded.values()))
    assert 0 < values["alpaca_eval_v2::tulu"] < 1
    assert values["Tülu 3 development"] == pytest.approx(mean([*(values[name] for name in ELEVEN), values["safety"]]))


SAFE = ("harmbench", "xstest", "wildguardtest", "trustllm_jailbreaktrigger", "do_anything_now", "wildjailbreaktest")
ELEVEN = (
    *("mmlu:cot::summarize", "popqa::tulu", "truthfulqa::tulu", "bbh:cot-v1::tulu", "drop::llama3"),
    *("minerva_math::tulu", "gsm8k::tulu", "codex_humaneval::tulu", "codex_humanevalplus::tulu", "ifeval::tulu"),
    "alpaca_eval_v2::tulu",
)


def test_a_figure_that_too_few_questions_make_is_missing_with_its_reason(
    model: Path, benchmarks: Path, httpserver: HTTPServer, tmp_path: Path
) -> None:
    """The length-controlled rate is fitted in five folds: of two instructions there is none."""
    judge = Judges(httpserver).judge("pairwise", "chat", template="alpaca_eval", read="likelihood")
    gamed = write_gamed(tmp_path / "df_gamed.csv")
    settings = {"alpaca_eval_v2::tulu": {"judge": judge, "gamed": str(gamed)}}
    rows = "rows=[alpaca_eval_v2::tulu]"
    lines = evaluated(model, "tulu3-dev", benchmarks, tmp_path / "run", settings, "--limit", "2", rows=rows)
    assert lines["alpaca_eval_v2::tulu"].value is None
    assert lines["alpaca_eval_v2::tulu"].missing == (
        "length_controlled_win_rate is not defined of 2 questions: a length-controlled rate needs at least 5 questions"
    )


def test_the_unseen_suite(model: Path, benchmarks: Path, httpserver: HTTPServer, tmp_path: Path) -> None:
    """HREF's judge prefers what it sees first; its category Open QA is decided by likeness to the person's reply."""
    judges = Judges(httpserver)
    judge = judges.judge("pairwise", "chat", template="href")
    settings = {"href::tulu": {"judge": judge, "encoder": str(model)}}
    opened = ("--unseal", "a test of the house", "--limit", "2")
    lines = evaluated(model, "tulu3-unseen", benchmarks, tmp_path / "run", settings, *opened)
    assert {name: line.missing for name, line in lines.items() if line.missing} == {}
    assert lines["Tülu 3 unseen"].of == (7, 7)
    rows = [line for line in lines.values() if line.depth == 1]
    assert len(rows) == 7
    assert lines["Tülu 3 unseen"].value == pytest.approx(mean(line.value for line in rows if line.value is not None))
    both = [lines[name].value for name in ("mmlu_pro:direct", "mmlu_pro:0shot_cot::tulu3")]
    assert lines["MMLU-Pro P (F49)"].value == pytest.approx(mean(value for value in both if value is not None))
    assert judges.asked.keys() == {"href"}

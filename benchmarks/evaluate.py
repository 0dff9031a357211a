"""Evaluation beside lm-eval's Hugging Face back end: the same requests, model, precision and threads.

    AFTERTRAIN_DATA=… AFTERTRAIN_SMOLLM2=… python benchmarks/evaluate.py [--quick] [--only "mmlu 5-shot"]

Each side is a process of its own and scores every part after a warm-up on some of its items. lm-eval runs with each of
`--batch-sizes` and its quickest counts. Rates are of CPU seconds at one thread, as other programs do not change those,
else of wall seconds. The log-likelihoods of both sides are compared: the largest difference is a row of its own.
MMLU's prompts are lm-eval's; ARC's and HellaSwag's are OLMES's own requests (`golden/olmes_requests.jsonl.gz`).
`ifeval scoring` is what the task `ifeval` makes of golden replies, both readings in one pass, beside lm-eval's two.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from table import Row, add_options, show
from verifiers import Case, compare, give_nltk_its_data, golden, lm_eval_ifeval

HERE = Path(__file__).parent
Pair = tuple[str, str]


@dataclass(frozen=True)
class Part:
    """What both sides do: score pairs of context and continuation or, where `length` is set, continue prompts."""

    name: str
    items: Sequence[Any]
    warm: Sequence[Any]
    length: int = 0


def lines(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def mmlu(data: Path, shots: int, questions: int) -> list[Pair]:
    """Questions of several subjects, in runs of one subject as a whole test has them."""
    dev = lines(data / "mmlu" / "dev.jsonl.gz")
    rows = lines(data / "mmlu" / "test.jsonl.gz")
    subjects = list(dict.fromkeys(row["subject"] for row in rows))
    count = max(1, questions // 16)
    pairs = []
    for subject in subjects[:: max(1, len(subjects) * count // questions)]:
        examples = [row for row in dev if row["subject"] == subject][:shots]
        head = f"The following are multiple choice questions (with answers) about {subject.replace('_', ' ')}.\n\n"
        head += "".join(f"{_asked(row)} {'ABCD'[row['answer']]}\n\n" for row in examples)
        chosen = [row for row in rows if row["subject"] == subject][: questions // count]
        pairs += [(head + _asked(row), f" {letter}") for row in chosen for letter in "ABCD"]
    return pairs[: 4 * questions]


def _asked(row: dict[str, Any]) -> str:
    listed = "".join(f"\n{letter}. {choice}" for letter, choice in zip("ABCD", row["choices"], strict=True))
    return f"{row['question'].strip()}{listed}\nAnswer:"


def cloze(data: Path, questions: int) -> list[Pair]:
    """OLMES's requests of ARC-Challenge and HellaSwag, half of the questions each."""
    rows = lines(data / "golden" / "olmes_requests.jsonl.gz")
    pairs: list[Pair] = []
    for task, variant in (("arc_challenge", "test_rc_5shot"), ("hellaswag", "val_rc_5shot")):
        chosen = [row for row in rows if (row["task"], row["variant"]) == (task, variant)][: questions // 2]
        pairs += [
            (request.get("context", row.get("context")), request["continuation"])
            for row in chosen
            for request in row["requests"]
        ]
    return pairs


def gsm8k(data: Path, questions: int) -> list[str]:
    """Eight worked examples of the train split, then the question."""
    shots = lines(data / "gsm8k" / "train.jsonl.gz")[:8]
    head = "".join(f"Question: {row['question']}\nAnswer: {row['answer']}\n\n" for row in shots)
    rows = lines(data / "gsm8k" / "test.jsonl")[:questions]
    return [f"{head}Question: {row['question']}\nAnswer:" for row in rows]


def parts_of(data: Path, *, quick: bool) -> Iterator[Part]:
    """All parts, smaller if `quick`."""
    many, few = (24, 10) if quick else (256, 64)
    prompts = gsm8k(data, 4 if quick else 32)
    yield Part("gsm8k 8-shot", prompts, prompts[-1:], 24 if quick else 128)
    for name, pairs in (
        ("mmlu 0-shot", mmlu(data, 0, many)),
        ("mmlu 5-shot", mmlu(data, 5, many)),
        ("arc+hellaswag cf 5-shot", cloze(data, few)),
    ):
        yield Part(name, pairs, pairs[-8:])


def measured(side: str, model: str, parts: Sequence[Part], size: int, threads: int) -> dict[str, dict[str, Any]]:
    """Rows of one side by part.

    Raises:
        RuntimeError: it ended with an error; carries the end of what it said.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump({"size": size, "parts": [asdict(part) for part in parts]}, file)
        file.flush()
        command = [sys.executable, str(HERE / "evaluate_child.py"), side, model, file.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"{side} ended:\n{done.stderr[-3000:]}")
    rows = [json.loads(line[4:]) for line in done.stdout.splitlines() if line.startswith("row ")]
    return {row["name"]: row for row in rows}


def finished(
    model: str, parts: Sequence[Part], sizes: Sequence[int], threads: int
) -> Iterator[dict[str, dict[str, Any]]]:
    """lm-eval's rows at each batch size that it gets through: a large one may need more memory than there is.

    Raises:
        RuntimeError: it got through at none.
    """
    failed: list[RuntimeError] = []
    for size in sizes:
        try:
            yield measured("peer", model, parts, size, threads)
        except RuntimeError as error:
            failed.append(error)
            print(f"at batch size {size}: {error}", file=sys.stderr)
    if len(failed) == len(sizes):
        raise failed[0]


def compared(parts: Sequence[Part], ours: dict[str, Any], peers: Sequence[dict[str, Any]], clock: str) -> Iterator[Row]:
    """Rates, agreement, and the memory of the whole."""
    for part in parts:
        mine = ours[part.name]
        best = min((peer[part.name] for peer in peers), key=lambda row: float(row[clock]))
        unit = "requests/cpu-s" if clock == "cpu" else "requests/s"
        rates = len(part.items) / mine[clock], len(part.items) / best[clock]
        yield Row(part.name, unit, *rates, rates[0] / rates[1])
        if part.length:
            same = sum(a.strip() == b.strip() for a, b in zip(mine["values"], best["values"], strict=True))
            yield Row(f"{part.name}: replies that are the same", "of all", same, len(part.items))
        else:
            apart = max(abs(a - b) for a, b in zip(mine["values"], best["values"], strict=True))
            yield Row(f"{part.name}: largest difference", "nats", apart)
    last = parts[-1].name
    yield Row.less_is_better("memory", "GiB", ours[last]["peak"], min(peer[last]["peak"] for peer in peers))


def ifeval_scoring(quick: bool) -> Row:
    """Golden replies scored strictly and loosely by the task `ifeval`, as an evaluation has it score them."""
    from aftertrain.core.records import Completion
    from aftertrain.plugins.instructions.task import IFEvalTask

    cases = golden("ifeval", 800 if quick else None)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{IFEvalTask.sources[0]}.jsonl"
        file.parent.mkdir(parents=True)
        asked = ({"prompt": "", **case, "key": number} for number, case in enumerate(cases))
        file.write_text("".join(json.dumps(row) + "\n" for row in asked), encoding="utf-8")
        task = IFEvalTask(IFEvalTask.Config(data=folder), None)  # type: ignore[arg-type]
        instances = task.instances()
    replies = [Completion("", (), (), (), (), "stop", case["response"]) for case in cases]

    def ours(chosen: Sequence[Case]) -> list[tuple[bool, bool]]:
        scores = task.score_all(instances[: len(chosen)], replies[: len(chosen)])
        return [
            (score.metrics["prompt_level_strict_acc"] == 1, score.metrics["prompt_level_loose_acc"] == 1)
            for score in scores
        ]

    give_nltk_its_data()
    lm_eval_ifeval(cases[:50])  # languages and sentence models are loaded on first use, on both sides
    ours(cases[:50])
    return compare("ifeval scoring", ours, lm_eval_ifeval, cases, 1 if quick else 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", metavar="PART", help="this part alone; may be given several times")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--budget", type=int, default=8192, help="tokens that ours computes together")
    parser.add_argument("--batch-sizes", default="1,8", help="those of lm-eval, by commas; the quickest counts")
    add_options(parser, "fewer questions, shorter replies, lm-eval's first batch size alone")
    arguments = parser.parse_args()
    data, model = (os.environ.get(name) for name in ("AFTERTRAIN_DATA", "AFTERTRAIN_SMOLLM2"))
    if not data or not model:
        sys.exit("AFTERTRAIN_DATA and AFTERTRAIN_SMOLLM2 must name the folders of shared data and of SmolLM2-135M")
    parts = [part for part in parts_of(Path(data), quick=arguments.quick) if part.name in (arguments.only or part.name)]
    rows: list[Row] = []
    if parts:
        sizes = [int(size) for size in arguments.batch_sizes.split(",")][: 1 if arguments.quick else None]
        ours = measured("ours", model, parts, arguments.budget, arguments.threads)
        peers = list(finished(model, parts, sizes, arguments.threads))
        rows += compared(parts, ours, peers, "cpu" if arguments.threads == 1 else "wall")
    if not arguments.only or "ifeval scoring" in arguments.only:
        rows.append(ifeval_scoring(arguments.quick))
    show(rows, arguments.json)


if __name__ == "__main__":
    main()

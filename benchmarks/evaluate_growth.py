"""How multiple choice grows with worked examples and with choices, beside lm-eval's Hugging Face back end.

    AFTERTRAIN_DATA=… AFTERTRAIN_SMOLLM2=… python benchmarks/evaluate_growth.py [--quick] [--plot FILE]

Questions of MMLU with 0 to 8 worked examples and four letters to score; and, after two examples, with 2 to 32 texts of
other questions' choices. Ours computes what requests begin with once; lm-eval computes each request whole, with each of
`--batch-sizes`, of which its quickest counts. Rates are questions a CPU second at one thread; the sides are those of
`evaluate.py`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluate import Pair, Part, lines, measured
from growth_plot import Curve, draw
from table import Row, add_options, show

SHOTS, CHOICES = (0, 1, 2, 4, 8), (2, 4, 8, 16, 32)
QUICK_SHOTS, QUICK_CHOICES = (0, 8), (2, 16)
BESIDE = 2
"""Worked examples before questions with many choices."""


def of_shots(data: Path, shots: int, questions: int) -> list[Pair]:
    """Questions of one subject with so many examples of it, and four letters each."""
    rows, head = _subject(data, shots)
    return [(head + _asked(row), f" {letter}") for row in rows[:questions] for letter in "ABCD"]


def of_choices(data: Path, choices: int, questions: int) -> list[Pair]:
    """Questions without their list, and so many texts that answer this question or others."""
    rows, head = _subject(data, BESIDE)
    texts = [choice for row in rows for choice in row["choices"]]
    return [
        (f"{head}{row['question'].strip()}\nAnswer:", f" {texts[(4 * place + offset) % len(texts)]}")
        for place, row in enumerate(rows[:questions])
        for offset in range(choices)
    ]


def _subject(data: Path, shots: int) -> tuple[list[dict[str, Any]], str]:
    rows = [row for row in lines(data / "mmlu" / "test.jsonl.gz") if row["subject"] == "high_school_biology"]
    examples, rest = rows[:shots], rows[max(SHOTS) :]
    return rest, "".join(f"{_asked(row)} {'ABCD'[row['answer']]}\n\n" for row in examples)


def _asked(row: dict[str, Any]) -> str:
    listed = "".join(f"\n{letter}. {choice}" for letter, choice in zip("ABCD", row["choices"], strict=True))
    return f"{row['question'].strip()}{listed}\nAnswer:"


def rows_of(parts: Sequence[Part], questions: int, model: str, budget: int, sizes: Sequence[int]) -> list[Row]:
    """Questions a CPU second of both sides, and how far their log-likelihoods are apart."""
    ours = measured("ours", model, parts, budget, 1)
    peers = [measured("peer", model, parts, size, 1) for size in sizes]
    rows = []
    for part in parts:
        mine, best = ours[part.name], min((peer[part.name] for peer in peers), key=lambda row: float(row["cpu"]))
        rates = questions / mine["cpu"], questions / best["cpu"]
        rows.append(Row(part.name, "questions/cpu-s", *rates, rates[0] / rates[1]))
        apart = max(abs(a - b) for a, b in zip(mine["values"], best["values"], strict=True))
        rows.append(Row(f"{part.name}: largest difference", "nats", apart))
    return rows


def plot(sizes: Sequence[int], axis: str, rows: Sequence[Row]) -> str:
    """Both sides' rates."""
    rates = [row for row in rows if row.unit == "questions/cpu-s"]
    ours, peer = Curve("aftertrain", [r.ours for r in rates]), Curve("lm-eval", [r.peer or 0 for r in rates])
    return draw(sizes, axis, [("questions a CPU second", [ours, peer])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=12)
    parser.add_argument("--budget", type=int, default=8192, help="tokens that ours computes together")
    parser.add_argument("--batch-sizes", default="1,8", help="those of lm-eval, by commas; the quickest counts")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw shots there as SVG, choices beside as FILE-choices"
    )
    add_options(parser, "fewer questions, two sizes of each, lm-eval's first batch size alone")
    arguments = parser.parse_args()
    folders = (os.environ.get(name) for name in ("AFTERTRAIN_DATA", "AFTERTRAIN_SMOLLM2"))
    data, model = folders
    if not data or not model:
        sys.exit("AFTERTRAIN_DATA and AFTERTRAIN_SMOLLM2 must name the folders of shared data and of SmolLM2-135M")
    questions = 4 if arguments.quick else arguments.questions
    shots, choices = (QUICK_SHOTS, QUICK_CHOICES) if arguments.quick else (SHOTS, CHOICES)
    sizes = [int(size) for size in arguments.batch_sizes.split(",")][: 1 if arguments.quick else None]
    rows: list[Row] = []
    drawn = []
    for name, values, make in (("shots", shots, of_shots), ("choices", choices, of_choices)):
        pairs = {value: make(Path(data), value, questions) for value in values}
        parts = [Part(f"{value} {name}", found, found[-2:]) for value, found in pairs.items()]
        found = rows_of(parts, questions, model, arguments.budget, sizes)
        drawn.append((name, values, found))
        rows += found
    show(rows, arguments.json)
    if arguments.plot is not None:
        for name, values, found in drawn:
            file = arguments.plot if name == "shots" else arguments.plot.with_stem(f"{arguments.plot.stem}-{name}")
            file.write_text(plot(values, name, found), encoding="utf-8")


if __name__ == "__main__":
    main()

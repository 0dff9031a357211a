"""Writes core/benchmark/seals.json from the benchmarks' own questions: `python docs/make_seals.py DATA`.

DATA is a folder with agieval_en, dm_math, ifbench, mmlu_pro (sealed) and the data sets of development. Of each question
ten words become a digest, or all of it if it has fewer; words that stand in several questions, or in a data set of
development, are no mark of one. A question of MMLU-Pro without a mark (most of these are MMLU's) is marked by the first
of its choices that can be one.
"""

from __future__ import annotations

import ast
import gzip
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from aftertrain.core.benchmark.seal import (
    FEWEST_WORDS,
    WORDS,
    digest_of,
    line_digest,
    line_digests,
    packed,
    span_digests,
    words,
)

DEVELOPMENT = (
    "mmlu",
    "bbh",
    "gsm8k",
    "math",
    "hub",
    "drop",
    "truthfulqa",
    "ifeval",
    "humaneval",
    "mbpp",
    "xstest",
    "olmes",
)
HUB = {
    "mmlu_pro": ["TIGER-Lab/MMLU-Pro"],
    "agieval_english": [],
    "deepmind_math": ["deepmind/math_dataset", "math_dataset"],
    "ifeval_ood": ["allenai/IFBench_test", "tulu3-ifeval-ood"],
    "gpqa": ["Idavidrein/gpqa"],
    "bigcodebench_hard": ["bigcode/bigcodebench-hard"],
    "href": ["allenai/href", "allenai/href_validation"],
}
SETS = ("aqua-rat", "gaokao-english", "logiqa-en", "lsat-ar", "lsat-lr", "lsat-rc", "sat-en", "sat-math")


def lines(path: Path) -> Iterator[str]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        yield from file


def texts(line: str) -> Iterator[str]:
    """What a line says: the texts in it where it is JSON, so that its line breaks and quotes are those of the text."""
    try:
        yield from _leaves(json.loads(line))
    except ValueError:
        yield line


def _leaves(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _leaves(part)


def questions(data: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Benchmark, and texts of a question: its own, then others that may be its mark if that is none."""
    for line in lines(data / "mmlu_pro/test.jsonl.gz"):
        row = json.loads(line)
        yield "mmlu_pro", (row["question"], *row["options"])
    for name in SETS:
        path = next(data.glob(f"agieval_en/{name}.jsonl*"))
        for line in lines(path):
            row = json.loads(line)
            yield "agieval_english", (row["question"],)
            if row["passage"]:
                yield "agieval_english", (row["passage"],)
    for line in lines(data / "dm_math/dm_math_sample100.jsonl.gz"):
        yield "deepmind_math", (ast.literal_eval(json.loads(line)["question"]).decode(),)
    for line in lines(data / "ifbench/IFBench_test.jsonl"):
        yield "ifeval_ood", (json.loads(line)["prompt"],)


def mark_of(text: str) -> bytes | None:
    """Of the last ten words, or of a short line; None of what is shorter."""
    found = words(text)
    if len(found) >= WORDS:
        return digest_of(found[-WORDS:])
    return line_digest(text) if len(found) >= FEWEST_WORDS and "\n" not in text.strip() else None


def main(data: Path) -> None:
    elsewhere: set[bytes] = set()
    for folder in DEVELOPMENT:
        for path in sorted((data / folder).rglob("*")):
            if path.is_file() and path.name.removesuffix(".gz").endswith((".jsonl", ".csv", ".txt", ".json")):
                for line in lines(path):
                    for text in texts(line):
                        elsewhere.update(span_digests(text))
                        elsewhere.update(line_digests(text))
    # A passage of several questions is one text; words that stand in several texts are no mark of any.
    every = list(dict.fromkeys(questions(data)))
    counts = Counter(mark for _, parts in every for text in dict.fromkeys(parts) if (mark := mark_of(text)))
    marks: dict[str, set[bytes]] = {name: set() for name in HUB}
    for name, (question, *choices) in every:
        # A choice of few words (`none of the above`) is anyone's.
        candidates = [question, *(choice for choice in choices if len(words(choice)) >= WORDS)]
        fit = (mark for text in candidates if (mark := mark_of(text)) and counts[mark] == 1 and mark not in elsewhere)
        marks[name].update([first] if (first := next(fit, None)) else [])
    seals = {name: {"hub": HUB[name], "digests": packed(marks[name])} for name in HUB}
    text = json.dumps(seals, indent=1) + "\n"
    (Path(__file__).parent.parent / "core/benchmark/seals.json").write_text(text, encoding="utf-8")
    for name, kept in marks.items():
        sys.stdout.write(f"{name}: {sum(name == of for of, _ in every)} texts, {len(kept)} marks\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

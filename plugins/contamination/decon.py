"""AllenAI's decon as an operator: its own bindings find the rows, in a process of their own.

decon (https://github.com/allenai/decon, Apache-2.0) looks up every tenth 5-gram of a row's model tokens, goes on to
both sides from a hit, and weighs what it covers of a question by how rare its n-grams are. The bindings work on folders
of files and need Python 3.12: `python` names an interpreter that has them, whatever this one is.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from aftertrain.core.benchmark.rows import digest
from aftertrain.core.errors import DataError, MissingExtra, Unavailable
from aftertrain.core.ground.reading import decode, parse_json, read_lines, typed
from aftertrain.core.operator import Row
from aftertrain.core.overlap.items import Evaluation, training_row
from aftertrain.core.records import JSON
from aftertrain.plugins.contamination.looking import FIGURES, FLAGGED, SHOWN, Looking
from aftertrain.plugins.contamination.settings import DeconSettings

NEEDED = (
    "python3.12 -m venv decon-env && decon-env/bin/pip install decontaminate make decon-env/bin/python, which has it"
)
USED_BY = "operator 'decon', under Python 3.12 or later or with python: PATH of an environment that has it,"
VERSION = "import decon; print(decon.__version__)"
DETECT = """
import json, sys
import decon
decon.detect(decon.Config(**json.load(sys.stdin)))
"""
START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Match:
    """What a line of its report says, as far as it is used.

    Attributes:
        training_line: from 0 on.
        eval_key: number of the evaluation set.
        eval_instance_index: of the item in its set.
    """

    training_line: int
    eval_key: str
    eval_instance_index: int
    contamination_score: float
    training_overlap_text: str
    eval_question_text: str

    @property
    def item(self) -> tuple[int, int]:
        """Numbers of its evaluation set and, in that, of the item."""
        return int(self.eval_key), self.eval_instance_index


class Decon(Looking[DeconSettings]):
    """Leaves out rows in which decon finds an evaluation item: user turns, as `decontaminate` looks at them."""

    Config = DeconSettings

    @property
    def _python(self) -> str:
        return str(self.settings.python or sys.executable)

    @cached_property
    def version(self) -> str:
        """Of decon.

        Raises:
            MissingExtra: this interpreter has no decon, and no other is named.
            Unavailable: the interpreter that is named is not there, or has none.
        """
        if self.settings.python is None and find_spec("decon") is None:
            raise MissingExtra("decontaminate", "decon", USED_BY)
        try:
            done = subprocess.run(
                [self._python, "-c", VERSION], capture_output=True, text=True, check=False, timeout=START_SECONDS
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"operator 'decon': {self._python} cannot be started: {error}; {NEEDED}") from error
        if done.returncode:
            why = (done.stderr.strip().splitlines() or ["it ended"])[-1]
            raise Unavailable(f"operator 'decon': {self._python} has no decon ({why}): {NEEDED}")
        return done.stdout.strip()

    def fingerprint(self) -> str:
        """Of all items that are looked for, and decon's version."""
        return digest([super().fingerprint(), self.version])

    def check(self) -> None:
        """The questions and decon are here."""
        super().check()
        _ = self.version

    def learn(self, rows: Iterable[Row], state: Path, seed: int) -> None:
        """Which rows have an item, with the evidence, and how many items were found of each evaluation."""
        sets, missing = self.sets
        with tempfile.TemporaryDirectory(dir=state) as temporary:
            folder = Path(temporary)
            questions = _write_items(sets, folder / "items")
            ids = _write_rows(rows, questions, folder / "rows")
            matches = self._detect(folder)
        flagged = _flags(matches, sets, ids)
        figures = _figures(sets, matches, len(ids)) | {"rule": f"decon {self.version}", "not looked for": missing}
        (state / FLAGGED).write_text(json.dumps(flagged), encoding="utf-8")
        (state / FIGURES).write_text(json.dumps(figures), encoding="utf-8")

    def _detect(self, folder: Path) -> list[Match]:
        """What decon reports.

        Raises:
            DataError: it failed, or did not end in time; carries the end of what it said.
        """
        chosen = self.settings
        config = {
            "training_dir": str(folder / "rows"),
            "evals_dir": str(folder / "items"),
            "report_output_dir": str(folder / "report"),
            "tokenizer": chosen.tokenizer,
            "ngram_size": chosen.n,
            "sample_every_m_tokens": chosen.sample_every,
            "question_max_consecutive_misses": chosen.most_misses,
            "contamination_score_threshold": chosen.threshold,
            "eval_min_token_length": chosen.fewest_tokens,
            "eval_dedup": False,
            "worker_threads": 1,
        }
        try:
            done = subprocess.run(
                [self._python, "-c", DETECT],
                input=json.dumps(config),
                capture_output=True,
                text=True,
                check=False,
                timeout=chosen.timeout,
            )
        except subprocess.TimeoutExpired as error:
            raise DataError(f"operator 'decon': decon did not end within {chosen.timeout:g} seconds") from error
        if done.returncode:
            raise DataError(f"operator 'decon': decon {self.version} failed:\n{done.stderr[-2000:]}")
        return list(_reported(folder / "report"))


def _reported(folder: Path) -> Iterator[Match]:
    for file in sorted(folder.glob("*.jsonl")):
        for number, line in read_lines(file):
            where = f"{file}:{number}"
            yield typed(parse_json(decode(line, where), str(file), line=number), Match, where)


def _write_rows(rows: Iterable[Row], questions: Sequence[str], folder: Path) -> list[str]:
    """A line for each row and then for each question, whose own copy tells whether it can be found; ids by line."""
    folder.mkdir()
    ids = []
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for row in rows:
            texts = training_row(row.record, ("user",)).texts
            file.write(json.dumps({"text": "\n\n".join(texts)}) + "\n")
            ids.append(row.id)
        file.writelines(json.dumps({"text": question}) + "\n" for question in questions)
    return ids


def _write_items(sets: Sequence[Evaluation], folder: Path) -> list[str]:
    """A file for each set, numbered, as two may have one name; all questions in order."""
    folder.mkdir()
    questions: list[str] = []
    for number, each in enumerate(sets):
        with (folder / f"{number}.jsonl").open("w", encoding="utf-8") as file:
            for index, item in enumerate(each.items):
                keys = {"eval_key": str(number), "eval_instance_index": index, "doc_id": len(questions)}
                question = "\n\n".join(item.texts)
                file.write(json.dumps({**keys, "index": index, "split": "all", "question": question}) + "\n")
                questions.append(question)
    return questions


def _flags(matches: Iterable[Match], sets: Sequence[Evaluation], ids: Sequence[str]) -> dict[str, dict[str, JSON]]:
    """By row the item with the highest score, and the others; equal scores in the order of the items."""
    by_row: defaultdict[int, list[Match]] = defaultdict(list)
    for match in matches:
        if match.training_line < len(ids):
            by_row[match.training_line].append(match)
    flagged: dict[str, dict[str, JSON]] = {}
    for line in sorted(by_row):
        found = sorted(by_row[line], key=lambda match: (-match.contamination_score, match.item))
        first, names = found[0], [_named(match, sets) for match in found]
        flagged[ids[line]] = {
            "evaluation": names[0][0],
            "item": names[0][1],
            "share": round(first.contamination_score, 6),
            "how": "decon",
            "shared": [first.training_overlap_text[:SHOWN]],
            "asked": first.eval_question_text[:SHOWN],
            "also": list(dict.fromkeys(f"{set_}/{item}" for set_, item in names[1:] if (set_, item) != names[0])),
        }
    return flagged


def _named(match: Match, sets: Sequence[Evaluation]) -> tuple[str, str]:
    number, index = match.item
    return sets[number].name, sets[number].items[index].id


def _figures(sets: Sequence[Evaluation], matches: Sequence[Match], rows: int) -> dict[str, JSON]:
    """By evaluation: items, the share whose own copy decon does not find, and the items that rows have.

    Args:
        rows: lines before those of the items' own copies.
    """
    found = Counter(number for number, _ in {match.item for match in matches if match.training_line < rows})
    copies = {(match.training_line - rows, _texts(match, sets)) for match in matches if match.training_line >= rows}
    figures: dict[str, JSON] = {}
    line = 0
    for number, each in enumerate(sets):
        testable = sum((place, item.texts) in copies for place, item in enumerate(each.items, line))
        line += len(each.items)
        untestable = round(1 - testable / len(each.items), 4) if each.items else 0.0
        figures[each.name] = {"items": len(each.items), "not testable": untestable, "found": found[number]}
    return figures


def _texts(match: Match, sets: Sequence[Evaluation]) -> tuple[str, ...]:
    number, index = match.item
    return sets[number].items[index].texts

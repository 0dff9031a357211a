"""Recall on the user's own data: copies of evaluation items are edited as people edit them, planted, and looked for.

A rule that finds what stands in a row word by word may miss the same question with its lines wrapped anew. Here each
edit is a function of a text and a random generator; a copy is planted in a scratch copy of training rows, of which
nothing is kept.
"""

from __future__ import annotations

import random
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from aftertrain.core.overlap.index import EvaluationIndex
from aftertrain.core.overlap.items import TrainingRow
from aftertrain.core.overlap.scan import Scan
from aftertrain.core.statistics import Interval, wilson

SCRATCH = "planted"
"""Source of planted rows."""
KEPT = 0.7
"""Share of its words that a cut copy keeps."""
_SENTENCE = re.compile(r"(?<=[.!?;:])\s+|\n+")
_BESIDE = re.compile(r"(?<=[^\W\d_])[^\w\s]+(?=\s|\Z)")

Edit = Callable[[str, random.Random], str]


def rewrapped(text: str, rng: random.Random) -> str:
    """Lines of another width, quoted at times as mail is; long words at line ends are divided."""
    width = rng.randint(24, 72)
    lines = textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False) or [text]
    divided = [_divided(line, rng) for line in lines]
    return "\n".join(f"> {line}" for line in divided) if rng.random() < 0.3 else "\n".join(divided)


def _divided(line: str, rng: random.Random) -> str:
    """The last word of a line goes on below, as printed text has it."""
    head, _, word = line.rpartition(" ")
    if len(word) < 8 or not word.isalpha() or rng.random() < 0.5:
        return line
    at = rng.randint(3, len(word) - 3)
    return f"{head} {word[:at]}-\n{word[at:]}".lstrip()


def recased(text: str, rng: random.Random) -> str:
    """Capitals, small letters, or each letter by chance."""
    way = rng.randrange(3)
    if way == 2:
        return "".join(char.upper() if rng.random() < 0.5 else char.lower() for char in text)
    return text.lower() if way else text.upper()


def repunctuated(text: str, rng: random.Random) -> str:
    """Marks behind words are others or gone; quotes and dashes are typographic ones."""
    marks = ("", "!", " …", ";", ",", ".", " —")
    text = _BESIDE.sub(lambda _: rng.choice(marks), text)
    return text.replace('"', "”").replace("'", "’").replace(" - ", " – ")


def listed(text: str, rng: random.Random) -> str:
    """Each sentence as an entry of a list."""
    entries = [entry for entry in _SENTENCE.split(text) if entry.strip()]
    marks: Callable[[int], str] = rng.choice(
        [
            lambda place: f"{place + 1}. ",
            lambda place: f"{place + 1}) ",
            lambda place: f"({chr(97 + place % 26)}) ",
            lambda _: "- ",
            lambda _: "• ",
        ]
    )
    return "\n".join(f"{marks(place)}{entry}" for place, entry in enumerate(entries))


def shortened(text: str, rng: random.Random) -> str:
    """The first or last words alone."""
    words = text.split()
    kept = max(1, round(KEPT * len(words)))
    return " ".join(words[:kept] if rng.random() < 0.5 else words[-kept:])


EDITS: Mapping[str, Edit] = {
    "verbatim": lambda text, _: text,
    "re-wrapped": rewrapped,
    "re-cased": recased,
    "re-punctuated": repunctuated,
    "as a list": listed,
    "cut": shortened,
    "embedded": lambda text, _: text,
}
"""By name; `embedded` copies stand within the text of a row, the others in place of it."""


@dataclass(frozen=True, slots=True)
class Recall:
    """How many planted copies were found.

    Attributes:
        interval: of the share, 95 %, by Wilson's method.
    """

    edit: str
    planted: int
    found: int
    interval: Interval


def recall(
    index: EvaluationIndex, hosts: Sequence[TrainingRow], *, each: int, seed: int = 0, edits: Mapping[str, Edit] = EDITS
) -> list[Recall]:
    """Plant copies of items, and count those whose row is flagged with the item that it holds.

    Args:
        hosts: rows of the training data that are copied to plant in.
        each: items that are planted by each edit, drawn at random from the testable ones.
        seed: of items, rows and edits.
    """
    rng = random.Random(seed)
    testable = [number for number, yes in enumerate(index.testable.tolist()) if yes]
    found = []
    for name, edit in edits.items():
        items = rng.sample(testable, min(each, len(testable)))
        if not items:
            return []
        planted = [
            planted_row(index.items[item].texts, name, edit, hosts, rng=rng, place=place)
            for place, item in enumerate(items)
        ]
        wanted = {row.id: index.items[item] for row, item in zip(planted, items, strict=True)}
        flagged = Scan(index).flagged(planted)
        right = sum(any(match.item is wanted[row.row.id] for match in row.matches) for row in flagged)
        found.append(Recall(name, len(items), right, wilson(right, len(items))))
    return found


def planted_row(
    texts: Sequence[str], name: str, edit: Edit, hosts: Sequence[TrainingRow], *, rng: random.Random, place: int
) -> TrainingRow:
    """A copy of a row with an edited copy of these texts in its first turn."""
    copy = edit("\n\n".join(texts), rng)
    host = rng.choice(hosts) if hosts else TrainingRow("", "", ("",), (0,))
    first = host.texts[0] if host.texts else ""
    if name == "embedded":
        words = first.split(" ")
        at = rng.randint(0, len(words))
        copy = " ".join((*words[:at], copy, *words[at:]))
    turns = host.turns or (0,)
    return replace(host, id=f"{name}/{place}", source=SCRATCH, texts=(copy, *host.texts[1:]), turns=turns)

"""A reply token by token: what each token says, whether it was pushed up or down, and where the answer stands.

Texts come from the tokenizer of the stage's model, by its `tokenizer.json` alone, so that a report loads no model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from aftertrain.plugins.report.marking import place_of
from aftertrain.plugins.report.numbers import signed

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LEVELS = 5
"""Depths of colour: the deepest is the greatest advantage that is shown."""
UNKNOWN = "\ufffd"


@dataclass(frozen=True, slots=True)
class Run:
    """Text in one colour.

    Attributes:
        tone: `up` or `down` by the sign of its advantage, `env` of what the policy did not say, `gap` of what is left
            out of a long text, `out` of tokens that a correction left out; blank without any advantage.
        level: depth of the colour, 1 to `LEVELS`; 0 without.
        marked: it is the answer that was read.
        title: the advantage, written.
    """

    text: str
    tone: str = ""
    level: int = 0
    marked: bool = False
    title: str = ""


def load_tokenizer(folders: Sequence[Path]) -> Tokenizer | None:
    """Of the first model folder that has one; None where none has."""
    from tokenizers import Tokenizer

    for folder in folders:
        path = folder / "tokenizer.json"
        if path.is_file():
            try:
                return Tokenizer.from_file(str(path))
            except Exception:  # noqa: BLE001 - what the library raises for a file that it cannot read
                continue
    return None


def pieces(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    """What each token adds to the text, special tokens too; blank where a later token completes its character."""

    def decoded(start: int, stop: int) -> str:
        return tokenizer.decode([*ids[start:stop]], skip_special_tokens=False)

    texts: list[str] = []
    start = done = 0
    for place in range(len(ids)):
        before, now = decoded(start, done), decoded(start, place + 1)
        if (now.endswith(UNKNOWN) and place + 1 < len(ids)) or len(now) <= len(before):
            texts.append("")
            continue
        texts.append(now[len(before) :])
        start, done = done, place + 1
    return texts


def runs(
    texts: Sequence[str],
    advantages: Sequence[float],
    scale: float,
    *,
    answer: str | None = None,
    out: Sequence[bool] = (),
) -> list[Run]:
    """Tokens put together where they look alike.

    Args:
        texts: one a token.
        advantages: one a token; 0 or NaN for none.
        scale: of the deepest colour.
        answer: what a verifier read; marked where it stands last.
        out: whether a correction left a token out.

    >>> [(run.text, run.tone, run.level) for run in runs(["a", "b", "c"], [1.0, 1.0, -0.1], 1.0)]
    [('ab', 'up', 5), ('c', 'down', 1)]
    >>> [(run.text, run.marked) for run in runs(["it is 1", ",234"], [0.0, 0.0], 1.0, answer="1234")]
    [('it is ', False), ('1,234', True)]
    """
    start, stop = place_of("".join(texts), answer)
    found: list[Run] = []
    ends = [*accumulate(map(len, texts))]
    for place, (text, end) in enumerate(zip(texts, ends, strict=True)):
        looks = _looks(advantages[place], scale, out=bool(out) and out[place])
        first = end - len(text)
        cuts = sorted({0, len(text), *(cut - first for cut in (start, stop) if first < cut < end)})
        for low, high in pairwise(cuts):
            run = replace(looks, text=text[low:high], marked=start <= first + low < stop)
            if found and replace(found[-1], text="") == replace(run, text=""):
                found[-1] = replace(run, text=found[-1].text + run.text)
            else:
                found.append(run)
    return found


def shortened(found: Sequence[Run], limit: int) -> list[Run]:
    """At most so many characters: two thirds from the start and one from the end, where answers stand.

    >>> [run.text for run in shortened([Run("abcdefghi"), Run("jkl")], 6)]
    ['abcd', '6 characters', 'kl']
    """
    size = sum(len(run.text) for run in found)
    if size <= limit:
        return [*found]
    low, high = limit - limit // 3, size - limit // 3
    head, tail, at = list[Run](), list[Run](), 0
    for run in found:
        head += [replace(run, text=run.text[: low - at])] if at < low else []
        tail += [replace(run, text=run.text[max(0, high - at) :])] if at + len(run.text) > high else []
        at += len(run.text)
    return [*head, Run(f"{high - low:,} characters", "gap"), *tail]


def _looks(advantage: float, scale: float, *, out: bool) -> Run:
    if out:
        return Run("", "out", 0, title="left out by the correction")
    if not math.isfinite(advantage) or advantage == 0 or scale <= 0:
        return Run("")
    level = min(LEVELS, max(1, math.ceil(LEVELS * abs(advantage) / scale)))
    return Run("", "up" if advantage > 0 else "down", level, title=f"advantage {signed(advantage, 2)}")

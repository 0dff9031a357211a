"""The evidence of a match: the characters that both texts share, found again by the rule as it stands in `tokens`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from aftertrain.core.overlap.items import Item, TrainingRow
from aftertrain.core.overlap.rules import Rule
from aftertrain.core.overlap.tokens import Token


@dataclass(frozen=True, slots=True)
class Span:
    """Characters of a text.

    Attributes:
        text: which of the row's turns, or of the item's texts.
        start: first character, from 0; `end` is past the last.
    """

    text: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """Characters that a training row and an item share.

    Attributes:
        share: of the item's tokens, averaged over its texts.
    """

    share: float
    row: tuple[Span, ...]
    item: tuple[Span, ...]


def evidence(row: TrainingRow, item: Item, rule: Rule, vocabulary: Collection[str] = ()) -> Evidence:
    """What a row and an item share by a rule.

    Args:
        vocabulary: of the index.
    """
    asked = [rule.placed(text, vocabulary) for text in item.texts]
    given = [rule.placed(text, vocabulary) for text in row.texts]
    longest = max(map(len, asked), default=0)
    n = min(rule.n, longest) or 1
    shared = {gram for tokens in asked for gram in _grams(tokens, n)} & {
        gram for tokens in given for gram in _grams(tokens, n)
    }
    covered = [_covered(tokens, n, shared) for tokens in asked]
    shares = [sum(places) / len(tokens) if tokens else 0.0 for places, tokens in zip(covered, asked, strict=True)]
    in_row = [_covered(tokens, n, shared) for tokens in given]
    return Evidence(
        sum(shares) / len(shares) if shares else 0.0,
        _spans(given, in_row, row.turns),
        _spans(asked, covered, range(len(asked))),
    )


def _grams(tokens: Sequence[Token], n: int) -> list[tuple[str, ...]]:
    words = [token.word for token in tokens]
    return list(zip(*(words[start:] for start in range(n)), strict=False))


def _covered(tokens: Sequence[Token], n: int, shared: Collection[tuple[str, ...]]) -> list[bool]:
    covered = [False] * len(tokens)
    for start, gram in enumerate(_grams(tokens, n)):
        if gram in shared:
            covered[start : start + n] = [True] * n
    return covered


def _spans(
    texts: Sequence[Sequence[Token]], covered: Sequence[Sequence[bool]], names: Sequence[int]
) -> tuple[Span, ...]:
    spans = list[Span]()
    for name, tokens, places in zip(names, texts, covered, strict=True):
        begun: int | None = None
        for place, inside in enumerate((*places, False)):
            if inside and begun is None:
                begun = place
            elif not inside and begun is not None:
                spans.append(Span(name, tokens[begun].start, tokens[place - 1].end))
                begun = None
    return tuple(spans)

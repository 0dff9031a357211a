"""How diverse a data set is, and its score M(D) = α·Q(D) + (1 − α)·V(D) (F7, F8)."""

from __future__ import annotations

import hashlib
import heapq
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from aftertrain.core.operator import Dropped, Operator, Row
from aftertrain.core.overlap.tokens import tokens
from aftertrain.core.records import JSON
from aftertrain.core.statistics import entropy
from aftertrain.plugins.quality.diversity_settings import DiversitySettings
from aftertrain.plugins.quality.embeddings import CHARACTERS, Embeddings, TextSample
from aftertrain.plugins.quality.facts import number
from aftertrain.plugins.quality.parts import share, text_of

FIGURES = "figures.json"


class Diversity(Operator[DiversitySettings]):
    """Measures the rows that come to it and lets them pass; put before and after what leaves rows out, it compares.

    Figures: `sources`; `source_entropy`, −Σ pᵢ log pᵢ in nats (F8), and `source_balance`, the same over its most,
    log of the number of sources; `distinct_1` … `distinct_3`, the distinct n-grams over all of them (Li et al. 2016,
    arXiv 1510.03055; `distinct_1` is the type–token ratio) in `words` words of rows drawn by their ids, since they fall
    with the size of a text whatever its diversity; `diversity`, V(D), and, where `quality` names a fact, `quality`,
    its mean Q(D), and `score`, M(D).

    With `embeddings`, of as many rows, drawn by their ids too, as they say: `embedding_distance`, the mean cosine
    distance of two; `vendi`, the Vendi score, in how many different rows they come to; `vendi_balance`, its logarithm
    over that of their number, and nothing where fewer than two were embedded: V(D) and M(D) of which it is a part are
    nothing then, too.
    """

    Config = DiversitySettings
    finds = ()
    learns = True

    def learn(self, rows: Iterable[Row], state: Path, seed: int) -> None:
        """All figures, in one pass; in memory is the sample.

        Raises:
            DataError: a row lacks the fact that is its quality.
        """
        settings, sample = self.settings, Sample(self.settings.words)
        sources, qualities = Counter[str](), Sum()
        wanted = settings.embeddings
        embedded = None if wanted is None else TextSample(wanted.rows, wanted.max_tokens * CHARACTERS)
        for row in rows:
            sources[row.source] += 1
            text = text_of(row, settings.of)
            sample.add(row.id, text)
            if embedded is not None:
                embedded.add(row.id, text)
            if settings.quality is not None:
                qualities.add(number(row, settings.quality))
        found: dict[str, JSON] = {
            "rows": sum(sources.values()),
            "sources": len(sources),
            "source_entropy": round(entropy(sources), 6),
            "source_balance": share(entropy(sources), math.log(max(2, len(sources)))),
            **lexical(sample.texts()),
        }
        if self._embeddings is not None and embedded is not None:
            found |= self._embeddings.figures(embedded.texts())
        diverse = mixed(settings.parts, found)
        found["diversity"] = None if diverse is None else round(diverse, 6)
        if settings.quality is not None:
            mean = qualities.mean
            found["quality"] = None if mean is None else round(mean, 6)
            alpha = settings.alpha
            score = mixed({"quality": alpha, "diversity": 1 - alpha}, {"quality": mean, "diversity": diverse})
            found["score"] = None if score is None else round(score, 6)
        (state / FIGURES).write_text(json.dumps(found), encoding="utf-8")

    @cached_property
    def _embeddings(self) -> Embeddings | None:
        return None if self.settings.embeddings is None else Embeddings(self.settings.embeddings)

    def fingerprint(self) -> str:
        """Of the model's files, where there is one."""
        return "" if self._embeddings is None else self._embeddings.digest()

    def check(self) -> None:
        """Find the model, where there is one."""
        if self._embeddings is not None:
            self._embeddings.check()

    def reads(self) -> Sequence[str]:
        """The quality, where there is one."""
        return () if self.settings.quality is None else (self.settings.quality,)

    def recall(self, state: Path) -> None:
        """What was measured."""
        self._figures: dict[str, JSON] = json.loads((state / FIGURES).read_text(encoding="utf-8"))

    def figures(self) -> Mapping[str, JSON]:
        """What was measured."""
        return self._figures

    def apply(self, rows: Iterable[Row], seed: int) -> Iterator[Row | Dropped]:
        """The rows as they are."""
        yield from rows


def mixed(parts: Mapping[Any, float], found: Mapping[str, Any]) -> float | None:
    """Σ wᵢ·vᵢ; None where a part has no value, which no number stands for.

    >>> mixed({"a": 0.5, "b": 0.5}, {"a": 0.5, "b": 0.1}), mixed({"a": 0.5, "b": 0.5}, {"a": 0.5, "b": None})
    (0.3, None)
    """
    values = [(weight, found[name]) for name, weight in parts.items()]
    return None if any(value is None for _, value in values) else sum(weight * value for weight, value in values)


class Sum:
    """A mean on its way; what has no value does not count."""

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0

    def add(self, value: float | None) -> None:
        """Count a value in."""
        if value is not None:
            self._sum, self._count = self._sum + value, self._count + 1

    @property
    def mean(self) -> float | None:
        """None of nothing."""
        return self._sum / self._count if self._count else None


class Sample:
    """Rows with the least hashes of their ids, as many as hold so many words: the same whatever their order, and where
    some rows are left out, mostly the same rows."""

    def __init__(self, most: int) -> None:
        self._most, self._size = most, 0
        self._heap: list[tuple[int, str, list[str]]] = []

    def add(self, id: str, text: str) -> None:
        """A row's words, of which no more are kept than the sample holds; most rows are passed over by their ids."""
        data = hashlib.blake2b(id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        place = int.from_bytes(data, "big")
        if self._size >= self._most and place > -self._heap[0][0]:
            return
        found = tokens(text)[: self._most]
        heapq.heappush(self._heap, (-place, id, found))
        self._size += len(found)
        while self._size - len(self._heap[0][2]) >= self._most:
            self._size -= len(heapq.heappop(self._heap)[2])

    def texts(self) -> Sequence[Sequence[str]]:
        """The words of each row, the last one cut so that all hold as many as wanted."""
        left, texts = self._most, []
        for _, _, found in sorted(self._heap, reverse=True):
            texts.append(found[:left])
            left -= len(texts[-1])
        return texts


def lexical(texts: Sequence[Sequence[str]]) -> dict[str, float]:
    """distinct-n of texts; an n-gram does not reach from one into the next.

    >>> lexical([["a", "b", "a", "b"]])
    {'words': 4, 'distinct_1': 0.5, 'distinct_2': 0.666667, 'distinct_3': 1.0}
    """
    found: dict[str, float] = {"words": sum(map(len, texts))}
    for n in (1, 2, 3):
        grams = [gram for text in texts for gram in zip(*(text[start:] for start in range(n)), strict=False)]
        found[f"distinct_{n}"] = share(len(set(grams)), len(grams))
    return found

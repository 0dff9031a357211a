"""The language of a text as langdetect 1.0.9 names it (Nakatani 2010): its profiles and samples, without its loops.

langdetect draws n-grams of the text at random and multiplies the languages' probabilities until one is almost sure,
seven times, and names the language with the largest mean. On texts of few or odd words the answer hangs on its seed.
Here it does not: drawing ends when four trials agree, else it goes on to `MOST` trials, so the answer is the one that
langdetect gives most often. Both generator and seed are this module's own.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from operator import itemgetter
from typing import Any

SEED = 0
ENOUGH, MOST = 4, 49
"""Trials after which agreement decides, and trials at most."""
LONGEST = 10_000
"""Characters of the text that are looked at."""
_SHARP, _WIDTH, _SCALE = 0.5, 0.05, 10_000
_SURE, _LEAST, _AGREED = 0.99999, 0.1, 0.99
_DRAWS, _CHUNK = 1000, 125
_URL = re.compile(r"https?://[-_.?&~;+=/#0-9A-Za-z]{1,2076}")
_MAIL = re.compile(r"[-_.0-9A-Za-z]{1,64}@[-_0-9A-Za-z]{1,255}[-_.0-9A-Za-z]{1,255}")
_LOCAL, _DOMAIN = 64, 255 + 255
_NO_SPACE = re.compile("^ +| {2,}")
_LATIN = re.compile("[A-z]")
_OTHER = re.compile("[\u0300-\U0010ffff]")
_WORD = re.compile("[^ ]+ ?")


class Languages:
    """Names languages.

    Attributes:
        names: the languages' codes.
    """

    # rows: where each n-gram stands in shares, [n-grams, languages]: its share of a language's n-grams of that length.

    def __init__(self, names: list[str], rows: Mapping[str, int], shares: Any, normal: Any) -> None:
        import numpy

        self.names, self._rows, self._shares = names, rows, shares
        generator = random.Random(SEED)
        self._chances = numpy.array([[generator.random() for _ in range(_DRAWS)] for _ in range(MOST)])
        weights = [(_SHARP + generator.gauss(0.0, 1.0) * _WIDTH) / _SCALE for _ in range(MOST)]
        self._weights = numpy.array(weights, dtype=numpy.float32)
        self._normal = normal
        self._table = _Table(normal.normalize)
        self._short = lru_cache(32_768)(self._of_word)
        self._remembered = lru_cache(64)(self._detect)

    def detect(self, text: str) -> str | None:
        """The most probable language; `unknown` where none is probable, None where no n-gram is known."""
        return self._remembered(_NO_SPACE.sub(" ", self.clean(text).translate(self._table)))

    def _detect(self, normal: str) -> str | None:
        grams = self.ngrams(normal)
        if not grams:
            return None
        mean = self._trials(grams, 0, ENOUGH).mean(axis=0)
        if mean.max() < _AGREED:
            more = self._trials(grams, ENOUGH, MOST).mean(axis=0)
            mean = (ENOUGH * mean + (MOST - ENOUGH) * more) / MOST
        return self.names[int(mean.argmax())] if mean.max() > _LEAST else "unknown"

    def _trials(self, grams: list[int], first: int, last: int) -> Any:
        """For trials `first` to `last`, each language's probability once one is almost sure: [trials, languages]."""
        import numpy

        names = len(self.names)
        probabilities = numpy.zeros((last - first, names), dtype=numpy.float32)
        logs, left = probabilities, numpy.arange(last - first)
        for begin in range(0, _DRAWS, _CHUNK):
            picks = (self._chances[first + left, begin : begin + _CHUNK] * len(grams)).astype(int)
            shares = self._shares[list(itemgetter(*picks.ravel().tolist())(grams))]
            shares = shares.reshape(len(left), _CHUNK // 5, 5, names) + self._weights[first + left, None, None, None]
            if begin == 0:
                # langdetect looks after draws 1, 6, 11, ...
                shares[:, 0, :4] = 1.0
            steps = logs[:, None] + numpy.log(shares.prod(axis=2)).cumsum(axis=1)
            steps -= steps.max(axis=2, keepdims=True)
            logs = steps[:, -1]
            steps = numpy.exp(steps)
            steps /= steps.sum(axis=2, keepdims=True)
            sure = steps.max(axis=2) > _SURE
            ended = sure.any(axis=1)
            ends = numpy.where(ended, sure.argmax(axis=1), _CHUNK // 5 - 1)
            probabilities[left] = steps[numpy.arange(len(left)), ends]
            logs, left = logs[~ended], left[~ended]
            if not len(left):
                break
        return probabilities

    def clean(self, text: str) -> str:
        """The text's first characters without addresses, and without Latin letters where they are the fewer."""
        text = "".join(_without_mail(_URL.sub(" ", text)))[: 2 * LONGEST]
        if text.isascii():
            return text[:LONGEST]
        text = self._normal.normalize_vi(text)[:LONGEST]
        if 2 * len(_LATIN.findall(text)) < len(_OTHER.findall(text)):
            text = _LATIN.sub("", text)
        return text

    def ngrams(self, normal: str) -> list[int]:
        """Rows of the known n-grams (1 to 3 characters) in langdetect's order; none inside words in capitals."""
        numbers: list[int] = []
        for word in _WORD.findall(normal):
            numbers += self._short(word) if len(word) < 24 else self._of_word(word)
        return numbers

    def _of_word(self, word: str) -> tuple[int, ...]:
        rows, text = self._rows, f" {word}"
        grams = []
        upper = False
        for index in range(1, len(text)):
            character = text[index]
            inside, upper = upper, character.isupper()
            if not (inside and upper):
                grams += [character, text[index - 1 : index + 1]]
                if index > 1:
                    grams.append(text[index - 2 : index + 1])
        return tuple([row for row in map(rows.get, grams) if row is not None])


class _Table(dict[int, str]):
    """langdetect's normal form of each character, made when first met."""

    def __init__(self, normalize: Any) -> None:
        self._normalize = normalize

    def __missing__(self, code: int) -> str:
        self[code] = normal = str(self._normalize(chr(code)))
        return normal


def _without_mail(text: str) -> Iterator[str]:
    """Pieces of the text with mail addresses replaced by spaces, at least twice the characters that are needed."""
    length = begin = 0
    while begin < len(text) and length < 2 * LONGEST:
        at = text.find("@", begin)
        if at < 0:
            yield text[begin:]
            return
        match = _MAIL.search(text, max(begin, at - _LOCAL), at + 1 + _DOMAIN)
        if match and match.start() > at:
            match = None
        end = match.start() if match else at + 1
        yield text[begin:end]
        length += end - begin
        begin = end
        if match:
            yield " "
            length += 1
            begin = match.end()

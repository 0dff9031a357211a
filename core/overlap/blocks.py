"""Texts in blocks: many at once as one array of bytes, with the bounds and a hash of every token.

The bytes are UTF-8 in which each letter or digit is folded and anything else is a space, so that a token is a run of
bytes above the space. Texts stand between line ends. Everything past `Block.of` is numpy over whole blocks: what costs
is counted in passes over bytes (three) and over tokens (some twenty, at a sixth of the bytes).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray

from aftertrain.core.ground.unicode import nfkc
from aftertrain.core.overlap.layout import without
from aftertrain.core.overlap.rules import Rule
from aftertrain.core.overlap.tokens import UNSPACED

BORDER = "\x1e"
"""Stands between the texts of a block; in a text it is no letter, so that a space takes its place."""
LONG = 64
"""Bytes of a token that are hashed by numpy; longer ones go through a hash of their whole."""
_SPACE, _LINE = 0x20, 0x0A
_WORD, _SINGLE = 1, 2
_ASCII = bytes(
    _LINE if char == BORDER else ord(char.lower()) if char.isalnum() else _SPACE for char in map(chr, range(128))
) + bytes(128)
_MASKS = np.array([(1 << 8 * count) - 1 for count in range(9)], dtype=np.uint64)
# Odd, from the digits of sqrt(2), sqrt(3), sqrt(5): nothing depends on which.
_MIX = np.uint64(0x6A09E667F3BCC909)
_MORE = np.uint64(0xBB67AE8584CAA73B)
_STEP = np.uint64(0x3C6EF372FE94F82B)
_HALF = np.uint64(29)

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]


@dataclass(slots=True)
class Block:
    """Texts of which all tokens are known.

    Attributes:
        letters: see above.
        starts: first byte of each token; `ends` is past its last.
        hashes: of each token: equal tokens have equal ones, others nearly never.
        borders: byte of the line end behind each text; first come the texts that are ASCII.
        order: which text each of these is.
    """

    letters: bytes
    starts: Places
    ends: Places
    hashes: Hashes
    borders: Places
    order: Places
    _powers: dict[int, Hashes] = field(default_factory=dict)

    @classmethod
    def of(cls, texts: Sequence[str], rule: Rule, vocabulary: Collection[str] = ()) -> Block:
        """The block of these texts."""
        plain = [place for place, text in enumerate(texts) if text.isascii()]
        other = [place for place, text in enumerate(texts) if not text.isascii()]
        letters = _letters([texts[place] for place in plain], rule, vocabulary)
        if other:
            letters += _letters([texts[place] for place in other], rule, vocabulary)[1:]
        letters += b" " * 8  # whoever reads eight bytes from the last token on
        array = np.frombuffer(letters, dtype=np.uint8)
        inside = array > _SPACE
        edges = np.flatnonzero(inside[1:] != inside[:-1])
        edges += 1
        starts, ends = np.ascontiguousarray(edges[0::2]), np.ascontiguousarray(edges[1::2])
        borders = np.flatnonzero(array == _LINE)[1:]
        order = np.array([*plain, *other], dtype=np.int64)
        return cls(letters, starts, ends, _token_hashes(letters, starts, ends - starts), borders, order)

    def texts_of(self, tokens: Places) -> Places:
        """In which text each of these tokens stands."""
        return self.order[self._slots(tokens)]

    def firsts(self) -> tuple[Places, Places, Places]:
        """Of each text, in the block's order: which it is, its first token, and how many it has."""
        past = np.searchsorted(self.starts, self.borders)
        first = np.concatenate([np.zeros(1, dtype=np.int64), past[:-1]])
        return self.order, first, past - first

    def run(self, token: int, length: int) -> bytes:
        """Tokens in a row, with one space between them."""
        return b" ".join(self.letters[self.starts[token] : self.ends[token + length - 1]].split())

    def same(self, tokens: Places, other: Block, others: Places) -> NDArray[np.bool_]:
        """Whether each of these tokens is, byte by byte, the token of another block."""
        starts, lengths = self.starts[tokens], self.ends[tokens] - self.starts[tokens]
        theirs = other.starts[others]
        equal: NDArray[np.bool_] = lengths == other.ends[others] - theirs
        left, at = np.flatnonzero(equal), 0
        mine_by_eight, their_by_eight = _eights(self.letters), _eights(other.letters)
        while len(left) and at < LONG:
            differ = mine_by_eight[starts[left] + at] ^ their_by_eight[theirs[left] + at]
            good = (differ & _MASKS[np.minimum(lengths[left] - at, 8)]) == 0
            equal[left[~good]] = False
            at += 8
            left = left[good & (lengths[left] > at)]
        for place in left.tolist():
            mine = self.letters[starts[place] : starts[place] + lengths[place]]
            equal[place] = mine == other.letters[theirs[place] : theirs[place] + lengths[place]]
        return equal

    def same_runs(self, tokens: Places, other: Block, others: Places, n: int) -> NDArray[np.bool_]:
        """Whether the n tokens from each of these on are those of another block."""
        equal = np.ones(len(tokens), dtype=np.bool_)
        for offset in range(n):
            equal &= self.same(tokens + offset, other, others + offset)
        return equal

    def ngrams(self, n: int) -> Hashes:
        """A hash of the n tokens from each token on; empty where there are fewer than n tokens.

        Runs of 1, 2, 4 … tokens are combined to n, so that 8 costs three additions a token. Some of these stand in two
        texts: see `within`.
        """
        if len(self.hashes) < n:
            return np.empty(0, dtype=np.uint64)
        result, done = None, 0
        for bit in range(n.bit_length()):
            if n >> bit & 1:
                power = self._power(1 << bit)[done:]
                result = power if result is None else _joined(result, power, 1 << bit)
                done += 1 << bit
        assert result is not None
        return result[: len(self.hashes) - n + 1]

    def within(self, tokens: Places, n: int) -> NDArray[np.bool_]:
        """Whether the n tokens from each of these on stand in one text."""
        same: NDArray[np.bool_] = self._slots(tokens) == self._slots(tokens + n - 1)
        return same

    def _slots(self, tokens: Places) -> Places:
        return np.searchsorted(self.borders, self.starts[tokens])

    def _power(self, count: int) -> Hashes:
        if count == 1:
            return self.hashes
        if count not in self._powers:
            half = self._power(count // 2)
            self._powers[count] = _joined(half[: len(half) - count // 2], half[count // 2 :], count // 2)
        return self._powers[count]


def _joined(left: Hashes, right: Hashes, count: int) -> Hashes:
    """The hash of two runs in a row, of which the right one has `count` tokens."""
    length = min(len(left), len(right))
    result = left[:length] * _weight(count)
    result += right[:length]
    return result


@cache
def _weight(count: int) -> np.uint64:
    return np.uint64(pow(int(_STEP), count, 1 << 64))


def _eights(letters: bytes) -> Hashes:
    """The eight bytes from each byte on."""
    return np.ndarray((len(letters) - 7,), dtype="<u8", buffer=letters, strides=(1,))


def _token_hashes(letters: bytes, starts: Places, lengths: Places) -> Hashes:
    """Eight bytes at a time, which may stand anywhere."""
    if not len(starts):
        return np.empty(0, dtype=np.uint64)
    eights = _eights(letters)
    hashes = eights[starts]
    hashes &= _MASKS[np.minimum(lengths, 8)]
    hashes *= _MIX
    hashes ^= hashes >> _HALF
    long, at = np.flatnonzero(lengths > 8), 8
    while len(long) and at < LONG:
        part = eights[starts[long] + at] & _MASKS[np.minimum(lengths[long] - at, 8)]
        part = (hashes[long] + part) * _MORE
        hashes[long] = part ^ (part >> _HALF)
        at += 8
        long = long[lengths[long] > at]
    for place in long:  # no word: code, base64, or a text that means harm
        start = starts[place]
        whole = hashlib.blake2b(letters[start : start + lengths[place]], digest_size=8).digest()
        hashes[place] = int.from_bytes(whole, "little")
    hashes *= _STEP
    return hashes


def _letters(texts: Sequence[str], rule: Rule, vocabulary: Collection[str]) -> bytes:
    """All ASCII, or all not: the first is a table's work, and one letter beyond it is none."""
    border = f"{BORDER}\n" if rule.steps else BORDER
    block = border.join(("", *texts, ""))
    if block.count(BORDER) != len(texts) + 1:
        texts = [text.replace(BORDER, " ") for text in texts]
        block = border.join(("", *texts, ""))
    if rule.steps:
        block = without(block, rule.steps, vocabulary)
    return block.encode("ascii").translate(_ASCII) if block.isascii() else _beyond_ascii(block)


def _beyond_ascii(block: str) -> bytes:
    """A table says which characters are letters, and which stand alone.

    Most texts are in NFKC, which is quickly seen; those that are not do not make the others slow.
    """
    texts = block.split(BORDER)
    points = np.frombuffer(
        BORDER.join(nfkc(text) for text in texts).casefold().encode("utf-32-le", "surrogatepass"),
        dtype=np.uint32,
    )
    kinds = _kinds()[points]
    borders = np.flatnonzero(points == ord(BORDER))
    alone = np.flatnonzero(kinds == _SINGLE)
    points = points * (kinds > 0)
    points[points == 0] = _SPACE
    points[borders] = _LINE
    if len(alone):
        points = np.insert(points, np.concatenate([alone, alone + 1]), _SPACE)
    return points.tobytes().decode("utf-32-le").encode()


@cache
def _kinds() -> NDArray[np.uint8]:
    """Of each code point: 0 no letter or digit, 1 one, 2 one that is a token by itself."""
    kinds = np.fromiter((chr(point).isalnum() for point in range(0x110000)), dtype=np.uint8, count=0x110000)
    for first, last in UNSPACED:
        kinds[first : last + 1] *= _SINGLE
    return kinds

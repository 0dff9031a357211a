"""Seals: benchmarks that are kept for the end are known by their questions, whatever name, file or wording brings them.

`seals.json` holds, for each, short digests of ten words of every question (the last ten), of its passage where it has
one, and of one of its choices where a benchmark of development has the question, too; questions of fewer words are
known where a line holds nothing else. No mark is one that a benchmark of development holds. A task whose questions hold
these words is sealed. Benchmarks whose questions may not be had are known by their names on the hub alone.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files

from aftertrain.core.errors import DataError
from aftertrain.core.eval_task import EvalTask, Instance
from aftertrain.core.ground.reading import read_json
from aftertrain.core.ground.unicode import nfkc

WORDS = 10
FEWEST_WORDS = 3
"""Of a question that is known as a line."""
DIGEST = 6
"""Bytes of a digest: of four million spans none is taken for one of twenty thousand by chance (3e-4)."""
LOOKED_AT = 200
"""Questions of a task that are looked at, evenly spread."""
FEWEST, SHARE = 2, 0.02
"""A task is sealed from so many of these on, or all, and from such a share of them."""
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Seal:
    """What a sealed benchmark is known by.

    Attributes:
        hub: its names on the hub.
        digests: of its questions, as base64.
    """

    hub: tuple[str, ...]
    digests: str = ""


def words(text: str) -> list[str]:
    """Runs of letters or digits, after NFKC and case folding."""
    return _WORD.findall(nfkc(text).casefold())


def span_digests(text: str) -> Iterator[bytes]:
    """Digest of each ten words in a row."""
    found = words(text)
    for start in range(len(found) - WORDS + 1):
        yield digest_of(found[start : start + WORDS])


def line_digests(text: str) -> Iterator[bytes]:
    """Digest of each line of three to nine words, and of what follows a label (`Question: Is 7 prime?`) on it."""
    for line in text.splitlines():
        parts = line.split(":")
        for start in range(len(parts)):
            rest = ":".join(parts[start:])
            if FEWEST_WORDS <= len(words(rest)) < WORDS:
                yield line_digest(rest)


def line_digest(line: str) -> bytes:
    """Short digest of a line's characters but spaces: its signs count, as `Divide 8 by -2.` has few words.

    >>> line_digest("Is 7 prime?") == line_digest(" is 7  Prime?")
    True
    >>> line_digest("What is 3 - 1?") == line_digest("What is 3 + 1?")
    False
    """
    text = "".join(nfkc(line).casefold().split())
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=DIGEST, person=b"line").digest()


def digest_of(span: Sequence[str]) -> bytes:
    """Short digest of words."""
    return hashlib.blake2b(" ".join(span).encode(), digest_size=DIGEST).digest()


def sealed_as(task: EvalTask, instances: Sequence[Instance]) -> str | None:  # type: ignore[type-arg]
    """The sealed benchmark whose questions a task asks, or None.

    Args:
        instances: all of the task's, before a limit.
    """
    seals = _seals()
    for name, seal in seals.items():
        if set(task.reads()) & set(seal.hub):
            return name
    step = max(1, len(instances) // LOOKED_AT)
    looked_at = instances[::step]
    asked = [benchmark for instance in looked_at if (benchmark := _asked(instance)) is not None]
    if not asked:
        return None
    most = max(sorted(set(asked)), key=asked.count)
    enough = asked.count(most) >= max(min(FEWEST, len(looked_at)), SHARE * len(looked_at))
    return most if enough else None


def _asked(instance: Instance) -> str | None:
    texts = [message.content for message in instance.messages]
    texts += [text for choice in instance.choices for text in (choice.context, choice.text) if text is not None]
    known = _known()
    marks = (mark for text in texts for digests in (span_digests, line_digests) for mark in digests(text))
    return next((known[mark] for mark in marks if mark in known), None)


@cache
def _seals() -> dict[str, Seal]:
    with as_file(files(__package__).joinpath("seals.json")) as path:
        seals: dict[str, Seal] = read_json(path, dict[str, Seal], error=DataError)
    return seals


@cache
def _known() -> dict[bytes, str]:
    """Benchmark by digest."""
    return {span: name for name, seal in _seals().items() for span in unpacked(seal.digests)}


def packed(digests: Iterable[bytes]) -> str:
    """Digests as `seals.json` has them."""
    return base64.b64encode(b"".join(sorted(digests))).decode()


def unpacked(text: str) -> list[bytes]:
    """What `packed` wrote."""
    data = base64.b64decode(text)
    return [data[start : start + DIGEST] for start in range(0, len(data), DIGEST)]

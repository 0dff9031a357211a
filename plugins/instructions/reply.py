"""One reading of a reply, with what several checks need of it found once."""

from __future__ import annotations

import itertools
import re
from functools import cached_property

import regex  # type: ignore[import-untyped]

from aftertrain.plugins.instructions import resources
from aftertrain.plugins.instructions.treebank import treebank_words

_WORD = regex.compile(r"\w+")
# In ASCII, a word in capitals has a capital without a small letter beside it, or is cut off before n't.
_CAPITAL = re.compile(r"(?<![a-z])[A-Z](?![a-z])|[A-Z]n't")
_NO_WORD = bytes(code if chr(code).isalnum() or chr(code) == "_" else 32 for code in range(128)) + b" " * 128


class Reply:
    """A reply's text, or one loose reading of it.

    Attributes:
        text: the text.

    """

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def lower(self) -> str:
        """The text in lower case."""
        return self.text.lower()

    @cached_property
    def stripped(self) -> str:
        """The text without white space around it."""
        return self.text.strip()

    @cached_property
    def ascii(self) -> bool:
        """Whether all characters are ASCII, so that case and words are simple."""
        return self.text.isascii()

    @cached_property
    def word_count(self) -> int:
        r"""How often `\w+` is found, by the package `regex` as in NLTK: with it, combining marks belong to words."""
        if self.ascii:
            return len(self.text.encode().translate(_NO_WORD).split())
        return len(_WORD.findall(self.text))

    def sentences(self, most: int) -> int:
        """How many sentences there are; counting stops at `most`."""
        return sum(1 for _ in itertools.islice(resources.each_sentence(self.text), most))

    def capital_words(self, most: int) -> int:
        """How many of NLTK's words are in capitals; counting stops at `most`."""
        if self.ascii and not _CAPITAL.search(self.text):
            return 0
        sentences = resources.each_sentence(self.text)
        likely = (sentence for sentence in sentences if not sentence.isascii() or _CAPITAL.search(sentence))
        capitals = (word for sentence in likely for word in treebank_words(sentence) if word.isupper())
        return sum(1 for _ in itertools.islice(capitals, most))

    @cached_property
    def language(self) -> str | None:
        """The language's code; None where there are no letters."""
        return resources.language(self.text)

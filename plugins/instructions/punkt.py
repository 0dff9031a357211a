"""Sentences by Punkt (Kiss & Strunk 2006), with NLTK's English parameters and NLTK 3.10's rules.

NLTK itself would do, but its import takes seconds and a hundred megabytes in every process that judges replies, to use
one class. This gives NLTK's sentences, lazily and in linear time. Patterns are of the package `regex`, as in NLTK:
its white space and letters are not those of `re`.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import regex  # type: ignore[import-untyped]

# A word's contexts in the training text; the parameters are sums of these flags.
_MIDDLE_UPPER = 1 << 2
_BEGIN_LOWER = 1 << 4
_UPPER = (1 << 1) + (1 << 2) + (1 << 3)
_LOWER = (1 << 4) + (1 << 5) + (1 << 6)

_SPACES = string.whitespace
_CLOSING = frozenset("\"')]}‘’“”«»")
_NOT_IN_WORD = r"(?:[)\";}\]\*:@\'\({\[‘’“”«»?!])"
_MARKS = r"(?:\-{2,}|\.{2,}|(?:\.\s){2,}\.)"
_ENDING = regex.compile(rf"[.?!](?=(?P<after>{_NOT_IN_WORD}|\s+(?P<next>\S+)))")
_RUN = regex.compile("[?!]*")
_RUNNING = ("?", "!")
_TOKEN = regex.compile(
    rf"({_MARKS}|(?=[^\(\"\`{{\[:;&\#\*@\)}}\]\-,])\S+?"
    rf"(?=\s|$|{_NOT_IN_WORD}|{_MARKS}|,(?=$|\s|{_NOT_IN_WORD}|{_MARKS}))|\S)"
)
_CLOSED = regex.compile(r"[\"')\]}‘’“”«»]+?(?:\s+|(?=--)|$)", regex.MULTILINE)
_ELLIPSIS = regex.compile(r"\.\.+$")
_NUMBER = regex.compile(r"^-?[\.,]?\d[\d,\.-]*\.?$")
_INITIAL = regex.compile(r"[^\W\d]\.$")
_SHORT = 64
"""Longest context (characters) whose verdict is remembered."""


@dataclass(slots=True)
class _Token:
    """A word or mark; `breaks`: it ends a sentence."""

    text: str
    kind: str
    breaks: bool = False
    abbreviation: bool = False
    ellipsis: bool = False

    @property
    def without_period(self) -> str:
        """Its type without the final period."""
        return self.kind[:-1] if len(self.kind) > 1 and self.kind[-1] == "." else self.kind

    @property
    def without_break(self) -> str:
        """Its type without the period that ends a sentence."""
        return self.without_period if self.breaks else self.kind


class Punkt:
    """Divides texts into sentences.

    Attributes:
        abbreviations: words, lower case, that end with a period inside a sentence.
        collocations: pairs of which the first ends with a period inside a sentence.
        starters: words, lower case, that often begin a sentence.
        contexts: for each word, in which contexts it was seen, as flags.
    """

    def __init__(
        self,
        abbreviations: frozenset[str],
        collocations: frozenset[tuple[str, str]],
        starters: frozenset[str],
        contexts: Mapping[str, int],
    ) -> None:
        self.abbreviations, self.collocations = abbreviations, collocations
        self.starters, self.contexts = starters, contexts
        self._remembered = lru_cache(16_384)(self._breaks)

    def sentences(self, text: str) -> Iterator[str]:
        """The sentences one by one, so that who needs few need not wait for all."""
        moved = 0
        pending: tuple[int, int] | None = None
        for following in self._slices(text):
            if pending is not None:
                start, stop = pending[0] + moved, pending[1]
                moved = 0
                closed = None
                if text[following[0] : following[0] + 1] in _CLOSING:
                    closed = _CLOSED.match(text[following[0] : following[1]])
                if closed:
                    yield text[start : following[0] + len(closed.group(0).rstrip())]
                    moved = closed.end()
                elif start < stop:
                    yield text[start:stop]
            pending = following
        if pending is not None and pending[0] + moved < pending[1]:
            yield text[pending[0] + moved : pending[1]]

    def _slices(self, text: str) -> Iterator[tuple[int, int]]:
        begin = 0
        for ending, following, context in self._contexts(text):
            if self._remembered(context) if len(context) <= _SHORT else self._breaks(context):
                yield begin, ending
                begin = ending if following < 0 else following
        yield begin, len(text.rstrip())

    def _contexts(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Where a sentence may end, where the next token begins (-1: a mark follows), and the words around."""
        start = stop = 0
        ending, following, after = -1, -1, ""
        spaces = [space for space in _SPACES if space in text]
        matches = _ENDING.finditer(text)
        while (match := next(matches, None)) is not None:
            here = match.start()
            word = start
            if here - stop > 1:
                space = max([text.rfind(space, stop, here) for space in spaces], default=-1)
                word = space + 1 if space > stop else start
            if ending >= 0 and stop <= word:
                yield ending, following, text[start:ending] + after
            start, stop = word, here
            ending, following, after = match.end(), match.start("next"), match.group("after")
            if after in _RUNNING:
                # Of a run of marks behind this one, all but the last two end inside the word that the last ends.
                last = _RUN.match(text, ending).end() - 2
                if last > ending:
                    matches = _ENDING.finditer(text, last)
        if ending >= 0:
            yield ending, following, text[start:ending] + after

    def _breaks(self, context: str) -> bool:
        """Whether a sentence ends inside these words (not after the last)."""
        lines = (line for line in context.split("\n") if line.strip())
        tokens = (self._token(match.group()) for line in lines for match in _TOKEN.finditer(line))
        for token, following in itertools.pairwise(tokens):
            if token.text.endswith("."):
                self._decide(token, following)
            if token.breaks:
                return True
        return False

    def _token(self, text: str) -> _Token:
        """First pass: by the word alone."""
        token = _Token(text, _NUMBER.sub("##number##", text.lower()))
        if text in (".", "?", "!"):
            token.breaks = True
        elif _ELLIPSIS.match(text):
            token.ellipsis = True
        elif text.endswith(".") and not text.endswith(".."):
            word = text[:-1].lower()
            token.abbreviation = word in self.abbreviations or word.split("-")[-1] in self.abbreviations
            token.breaks = not token.abbreviation
        return token

    def _decide(self, token: _Token, following: _Token) -> None:
        """Second pass, for a token that ends with a period: by the word that follows."""
        kind, next_kind = token.without_period, following.without_break
        initial = bool(_INITIAL.match(token.text))
        if (kind, next_kind) in self.collocations:
            token.breaks, token.abbreviation = False, True
            return
        begins = self._begins(following)
        upper = following.text[0].isupper()
        starts = begins or (upper and next_kind in self.starters)
        if (token.abbreviation or token.ellipsis) and not initial and starts:
            token.breaks = True
            return
        if initial or kind == "##number##":
            always_upper = upper and not self.contexts.get(next_kind, 0) & _LOWER
            if begins is False or (begins is None and initial and always_upper):
                token.breaks, token.abbreviation = False, True

    def _begins(self, token: _Token) -> bool | None:
        """Whether spelling says that the token begins a sentence; None: it does not say."""
        if token.text in (";", ":", ",", ".", "!", "?"):
            return False
        seen = self.contexts.get(token.without_break, 0)
        first = token.text[0]
        if first.isupper() and seen & _LOWER and not seen & _MIDDLE_UPPER:
            return True
        if first.islower() and (seen & _UPPER or not seen & _BEGIN_LOWER):
            return False
        return None

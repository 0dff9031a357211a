"""Rules by which an evaluation item is found in training data, by name."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from aftertrain.core.errors import UnknownName
from aftertrain.core.overlap.layout import STEPS, Step, mapped, without
from aftertrain.core.overlap.tokens import Token, placed, tokens
from aftertrain.core.records import Role


@dataclass(frozen=True, slots=True)
class Rule:
    """When an item counts as found in a training row, and a source as contaminated (F6).

    A token of an item is covered if it stands in an n-gram that the training row has too; the item's share is that of
    its covered tokens, averaged over its texts (passage and question are two), within *one* row.

    Attributes:
        n: tokens of an n-gram. Texts of fewer are not testable by n-grams.
        threshold: an item is found above this share.
        source_threshold: a source is contaminated by an evaluation above this share of its items.
        roles: turns of a conversation that are looked at; of a row without turns all text is.
        steps: marks of layout that are taken away first.
        whole: an item that is not testable is looked for as a whole: within a text from so many tokens on, and below
            that as all of a text, since a phrase of few words says nothing.
    """

    name: str
    n: int = 8
    threshold: float = 0.5
    source_threshold: float = 0.02
    roles: tuple[Role, ...] = ("user",)
    steps: tuple[Step, ...] = ()
    whole: int = 4

    def facts(self) -> dict[str, object]:
        """What decides a result, as plain data."""
        return {
            "name": self.name,
            "n": self.n,
            "threshold": self.threshold,
            "source_threshold": self.source_threshold,
            "roles": list(self.roles),
            "layout": [[step.name, step.marks.pattern, step.filler] for step in self.steps],
            "whole": self.whole,
            "tokens": "runs of letters or digits after NFKC and casefold; each character in scripts without spaces",
        }

    def prepared(self, text: str, vocabulary: Collection[str] = ()) -> str:
        """A text without marks of layout."""
        return without(f"\n{text}", self.steps, vocabulary) if self.steps else text

    def tokens(self, text: str, vocabulary: Collection[str] = ()) -> list[str]:
        """The tokens of a text."""
        return tokens(self.prepared(text, vocabulary))

    def placed(self, text: str, vocabulary: Collection[str] = ()) -> list[Token]:
        """The tokens of a text, each with its place in the text as it was written."""
        if not self.steps:
            return placed(text)
        cut, places = mapped(f"\n{text}", self.steps, vocabulary)
        return [
            Token(token.word, places[token.start] - 1, places[token.end - 1])  # the line end in front
            for token in placed(cut)
        ]


RULES = {rule.name: rule for rule in (Rule("tulu3"), Rule("robust", steps=STEPS))}
"""`tulu3` is the published rule; `robust` the same without marks of layout."""


def rule_named(name: str, *, n: int | None = None, threshold: float | None = None) -> Rule:
    """A rule, with another length of n-grams or threshold where given.

    Raises:
        UnknownName: there is none of this name.
    """
    if name not in RULES:
        raise UnknownName("rule of contamination", name, RULES)
    rule = RULES[name]
    return replace(rule, n=rule.n if n is None else n, threshold=rule.threshold if threshold is None else threshold)

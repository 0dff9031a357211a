"""AGIEval English, MMLU-Pro and GPQA: where their rows are, and how OLMES words them for Tülu 3."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from string import ascii_uppercase

from aftertrain.core.benchmark import Question, Row, Source
from aftertrain.core.benchmark.rows import need
from aftertrain.core.errors import DataError, Unavailable
from aftertrain.core.eval_task import cluster_of
from aftertrain.plugins.unseen.choice import Item, LetterTask
from aftertrain.plugins.unseen.reading import parenthesised, stated

SHUFFLED = 111
"""GPQA's choices are shuffled by this plus the row's place."""


class AGIEvalEnglish(LetterTask):
    """Eight examinations (Zhong et al. 2023); the mean of their means first, as published."""

    task = "agieval_english"
    sources = tuple(
        Source("ruixiangcui/AGIEval", name, "test")
        for name in (
            "aqua-rat", "gaokao-english", "logiqa-en", "lsat-ar", "lsat-lr", "lsat-rc", "sat-en", "sat-math"
        )
    )  # fmt: skip
    most = 6
    clustered_by = "passage"
    gap = "\n\n"
    cascade = stated("A-F")
    strict = stated("A-F", compat=False)

    def item(self, row: Row, source: Source) -> Item:
        """The passage on a line of its own, where there is one."""
        options = row.texts("options")
        choices = [bare(option, letter) for option, letter in zip(options, ascii_uppercase, strict=False)]
        label = row.text("label")
        if label not in tuple(ascii_uppercase[: len(options)]):
            raise DataError(f"{row.where}: column 'label' must be a letter of {len(options)}, found {label!r:.80}")
        passage = need(row.fields, "passage", (str, type(None)), row.where)
        text = (f"Passage: {passage}\n" if passage else "") + f"Question: {row.text('question')}"
        id_, answer = f"{source.config}/{row.number}", ascii_uppercase.index(label)
        return Item(id_, text, choices, answer, source.config, cluster_of(passage))

    def _questions(self) -> Iterator[Question]:
        if self.settings.data is None:
            raise Unavailable(
                "task 'agieval_english': its rows are files of the repository ruixiangcui/AGIEval (data/v1), which the "
                "hub does not have in these columns; give them by folder: --data DIR (setting 'data') with "
                "DIR/ruixiangcui/AGIEval/SET/test.jsonl, or 'agieval_english' in DIR/data.yaml"
            )
        return super()._questions()


class MMLUPro(LetterTask):
    """MMLU-Pro (Wang et al. 2024): up to ten choices, 14 categories; the mean of their means first."""

    task = "mmlu_pro"
    sources = (Source("TIGER-Lab/MMLU-Pro", "default", "test"),)
    most = 10
    gap = "\n\n"
    cascade = stated("A-J")
    strict = stated("A-J", compat=False)

    def item(self, row: Row, source: Source) -> Item:
        """The answer is a place from 0."""
        options = row.texts("options")
        answer = row.index("answer_index", len(options))
        id_ = str(row.fields.get("question_id", row.number))
        return Item(id_, f"Question: {row.text('question')}", options, answer, row.text("category"))


class GPQA(LetterTask):
    """GPQA, the main set (Rein et al. 2023). Its authors ask that no question be shown in plain text on the web."""

    task = "gpqa"
    sources = (Source("Idavidrein/gpqa", "gpqa_main", "train", gated=True),)
    letters = "(A), (B), (C), (D)."
    most = 4
    gap = "\n\n\n"  # OLMES ends each choice with a line break, and begins the closing sentence with two
    cascade = parenthesised("A-D")
    strict = parenthesised("A-D", compat=False)
    macro = False

    def item(self, row: Row, source: Source) -> Item:
        """Choices cleaned, then shuffled by the row's place; of equal ones the first is the right one."""
        columns = (*(f"Incorrect Answer {number}" for number in (1, 2, 3)), "Correct Answer")
        choices = [cleaned(need(row.fields, column, (str, type(None)), row.where)) for column in columns]
        right = choices[-1]
        random.Random(SHUFFLED + row.number).shuffle(choices)
        domain = row.text("High-level domain") if "High-level domain" in row.fields else ""
        text = f"Question: {row.text('Question')}\nChoices:"
        return Item(str(row.number), text, choices, choices.index(right), domain)


def bare(option: str, letter: str) -> str:
    """An option of AGIEval without its own letter, which stands before it as (A), `A.`, `A?` or `A`.

    >>> bare("(B)12%", "B"), bare("   C. to rest", "C"), bare("A first", "A"), bare("A first", "B"), bare("Bonn", "B")
    ('12%', 'to rest', 'first', 'A first', 'Bonn')
    """
    return re.sub(rf"^\s*(?:\({letter}\)\s*|{letter}\s*[.?]\s*|{letter}\s+)", "", option)


def cleaned(text: str | None) -> str:
    """A choice of GPQA as OLMES cleans it; a missing one is a space.

    >>> cleaned(" 3  K [a]")
    '3 K '
    """
    if text is None:
        return " "
    return re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". ")).replace("  ", " ")

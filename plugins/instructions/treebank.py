"""Words and marks of one sentence by the Penn Treebank's conventions, as NLTK 3.10's `NLTKWordTokenizer` divides it.

Like the original it rewrites the text step by step, so quotation marks come out as `` and ''. A step is skipped where
the text lacks what it looks for. Contractions are of `re`, all else of `regex`, as in NLTK: the two disagree on what a
letter is. Every pattern takes linear time.
"""

from __future__ import annotations

import re

import regex  # type: ignore[import-untyped]

_CONTRACTIONS = tuple(
    (begin, re.compile(pattern))
    for begin, pattern in (
        ("cannot", r"(?i)\b(can)(not)\b"),
        ("d'ye", r"(?i)\b(d)('ye)\b"),
        ("mme", r"(?i)\b(gim)(me)\b"),
        ("gonna", r"(?i)\b(gon)(na)\b"),
        ("gotta", r"(?i)\b(got)(ta)\b"),
        ("lemme", r"(?i)\b(lem)(me)\b"),
        ("more'n", r"(?i)\b(more)('n)\b"),
        ("wanna", r"(?i)\b(wan)(na)(?=\s)"),
        ("'t", r"(?i) ('t)(is)\b"),
        ("'t", r"(?i) ('t)(was)\b"),
    )
)
_OPENING_MARK = regex.compile("([«“‘„]|[`]+)")
_OPENING_QUOTE = regex.compile(r"([ \(\[{<])(\"|\'{2})")
_OPENING_APOSTROPHE = regex.compile(r"(?i)(?<!\w)(\')(?!(?:re|ve|ll|m|t|s|d|n)\b)(?=\w)")
_CLOSING_MARK = regex.compile("([»”’])")
_SPACE = regex.compile(r"\s+")
_SHORT_CLITIC = regex.compile(r"([^' ])('[sS]|'[mM]|'[dD]|') ")
_LONG_CLITIC = regex.compile(r"([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) ")
_FINAL_PERIOD = regex.compile(r'([^\.])(\.)([\]\)}>"\'»”’ ]*+)\s*$')
_LAST_PERIOD = regex.compile(r'([^\.])(\.)([\]\)}>"\']*+)\s*$')
_SEPARATOR = regex.compile(r"([:,])([^\d])")
_LAST_SEPARATOR = regex.compile(r"([:,])$")
_PERIODS = regex.compile(r"\.{2,}")
_SYMBOL = regex.compile(r"[;@#$%&]")
_DASH = regex.compile(r"[\u2012-\u2015]")
_QUESTION = regex.compile(r"[?!]")
_APOSTROPHE = regex.compile(r"([^'])' ")
_BRACKET = regex.compile(r"[\]\[\(\)\{\}\<\>]")


def treebank_words(text: str) -> list[str]:
    """The words and marks of a sentence.

    >>> treebank_words("I can't pay $3.88 (now).")
    ['I', 'ca', "n't", 'pay', '$', '3.88', '(', 'now', ')', '.']
    """
    text = _OPENING_MARK.sub(r" \1 ", text)
    if text.startswith('"'):
        text = "``" + text[1:]
    text = text.replace("``", " `` ")
    apostrophe = "'" in text
    if apostrophe or '"' in text:
        text = _OPENING_QUOTE.sub(r"\1 `` ", text)
    if apostrophe:
        text = _OPENING_APOSTROPHE.sub(r"\1 ", text)

    if "." in text:
        text = _FINAL_PERIOD.sub(r"\1 \2 \3 ", text)
    if "," in text or ":" in text:
        text = _SEPARATOR.sub(r" \1 \2", text)
        text = _LAST_SEPARATOR.sub(r" \1 ", text)
    if ".." in text:
        text = _PERIODS.sub(r" \g<0> ", text)
    text = _SYMBOL.sub(r" \g<0> ", text)
    text = _DASH.sub(r" \g<0> ", text)
    if "." in text:
        text = _LAST_PERIOD.sub(r"\1 \2\3 ", text)
    text = _QUESTION.sub(r" \g<0> ", text)
    if apostrophe:
        text = _APOSTROPHE.sub(r"\1 ' ", text)
    text = text.replace("*", " * ")
    text = _BRACKET.sub(r" \g<0> ", text)
    text = text.replace("--", " -- ")

    text = f" {text} "
    text = _CLOSING_MARK.sub(r" \1 ", text)
    text = text.replace("''", " '' ").replace('"', " '' ")
    text = _SPACE.sub(" ", text)
    if "'" in text:
        text = _SHORT_CLITIC.sub(r"\1 \2 ", text)
        text = _LONG_CLITIC.sub(r"\1 \2 ", text)
    lower = text.lower()
    for begin, contraction in _CONTRACTIONS:
        if begin in lower:
            text = contraction.sub(r" \1 \2 ", text)
    return text.split()

"""The 25 checks of IFEval (Zhou et al. 2023), with the verdicts of lm-eval 0.4.13's copy of Google's code.

Keywords, section splitters and postscript markers are regular expressions there, so they are here. Where the original's
own pattern is quadratic in the reply (brackets, titles, bullets), an equivalent that is linear stands in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from aftertrain.core.errors import unknown
from aftertrain.plugins.instructions.kind import Check, Instruction, Kind, Unusable, make, one_of, text, texts, whole
from aftertrain.plugins.instructions.reply import Reply

CHOICES = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_CODES = "ar bg bn de en es fa fi fr gu he hi it ja kn ko ml mr ne pa pl pt ru sw ta te th uk ur vi"
LANGUAGES = tuple(_CODES.split())
"""The languages that IFEval knows by name."""
_relation = one_of("less than", "at least")
_PLACEHOLDER = re.compile(r"\[[^\]\n]*\]?")
_STAR_BULLET = re.compile(r"^[^\S\n]*\*[^\*].*$", re.MULTILINE)
_DASH_BULLET = re.compile(r"^[^\S\n]*-", re.MULTILINE)
_HIGHLIGHT = re.compile(r"\*([^\n\*]*)\*")
_DOUBLE_HIGHLIGHT = re.compile(r"\*\*([^\n\*]*)\*\*")
_DIVIDER = re.compile(r"\s?\*\*\*\s?")
_PLAIN = re.compile(r"[A-Za-z0-9_ -]+")


@lru_cache(1024)
def pattern(expression: str, flags: int = 0) -> re.Pattern[str]:
    """A compiled expression.

    Raises:
        Unusable: it is no regular expression.
    """
    try:
        return re.compile(expression, flags)
    except (re.error, OverflowError, RecursionError) as problem:
        raise Unusable(f"{expression!r:.80} is no regular expression: {problem}") from problem


def compared(relation: str, wanted: int) -> Callable[[int], bool]:
    """Fewer than `wanted`, or at least as many."""
    return (lambda count: count < wanted) if relation == "less than" else (lambda count: count >= wanted)


def parses(content: str) -> bool:
    """Whether the text is JSON; too deeply nested for Python counts as no."""
    try:
        json.loads(content)
    except (ValueError, RecursionError):
        return False
    return True


def placeholders(reply: Reply) -> int:
    r"""How often `\[.*?\]` is found. A bracket that is not closed swallows its line, which no other match can use."""
    return sum(word.endswith("]") for word in _PLACEHOLDER.findall(reply.text))


def _existence(keywords: tuple[str, ...]) -> Check:
    wanted = [(pattern(keyword, re.IGNORECASE), _plain(keyword)) for keyword in keywords]

    def holds(reply: Reply, compiled: re.Pattern[str], plain: str) -> bool:
        return plain in reply.lower if plain and reply.ascii else compiled.search(reply.text) is not None

    return lambda reply: all(holds(reply, compiled, plain) for compiled, plain in wanted)


def _frequency(keyword: str, frequency: int, relation: str) -> Check:
    compiled, plain = pattern(keyword.strip(), re.IGNORECASE), _plain(keyword.strip())
    holds = compared(relation, frequency)

    def check(reply: Reply) -> bool:
        count = reply.lower.count(plain) if plain and reply.ascii else len(compiled.findall(reply.text))
        return holds(count)

    return check


def _plain(expression: str) -> str:
    """The expression in lower case when all it says is these characters, else an empty text."""
    return expression.lower() if _PLAIN.fullmatch(expression) else ""


def _forbidden(forbidden_words: tuple[str, ...]) -> Check:
    banned = [(pattern(rf"\b{word}\b", re.IGNORECASE), _plain(word)) for word in forbidden_words]

    def holds(reply: Reply, compiled: re.Pattern[str], plain: str) -> bool:
        return (not reply.ascii or plain in reply.lower) and compiled.search(reply.text) is not None

    return lambda reply: not any(holds(reply, compiled, plain) for compiled, plain in banned)


def _letter(letter: str, let_frequency: int, let_relation: str) -> Check:
    if len(letter) != 1:
        raise Unusable(f"letter must be one character, not {letter!r:.80}")
    holds, lower = compared(let_relation, let_frequency), letter.lower()
    return lambda reply: holds(reply.lower.count(lower))


def _language(language: str) -> Check:
    if language not in LANGUAGES:
        raise Unusable(unknown("language", language, LANGUAGES))
    return lambda reply: reply.language in (language, None)


def _sentences(num_sentences: int, relation: str) -> Check:
    holds = compared(relation, num_sentences)
    return lambda reply: holds(reply.sentences(num_sentences))


def _paragraphs(num_paragraphs: int) -> Check:
    def check(reply: Reply) -> bool:
        blank = [not paragraph.strip() for paragraph in _DIVIDER.split(reply.text)]
        if any(blank[1:-1]):
            return False
        return len(blank) - sum(blank) == num_paragraphs

    return check


def _words(num_words: int, relation: str) -> Check:
    holds = compared(relation, num_words)
    return lambda reply: holds(reply.word_count)


def _nth_paragraph(num_paragraphs: int, nth_paragraph: int, first_word: str) -> Check:
    if not 1 <= nth_paragraph <= num_paragraphs:
        raise Unusable(f"nth_paragraph must be from 1 to num_paragraphs ({num_paragraphs}), not {nth_paragraph}")
    wanted = first_word.lower()

    def check(reply: Reply) -> bool:
        paragraphs = reply.text.split("\n\n")
        count = sum(1 for paragraph in paragraphs if paragraph.strip())
        if count != num_paragraphs:
            return False
        # Blank paragraphs are not counted, but they keep their places: the original's own reading.
        paragraph = paragraphs[nth_paragraph - 1].strip()
        if not paragraph:
            return False
        word = paragraph.split(maxsplit=1)[0].lstrip("'").lstrip('"')
        for mark in ".,?!'\"":
            word, _, _ = word.partition(mark)
        # Letter by letter, since the Greek final sigma depends on its neighbours.
        return len(word) <= len(wanted) and "".join(letter.lower() for letter in word) == wanted

    return check


def _placeholders(num_placeholders: int) -> Check:
    return lambda reply: placeholders(reply) >= num_placeholders


def _postscript(postscript_marker: str) -> Check:
    marker = postscript_marker.strip()
    known = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    # The original's `\s*` in front may match nothing, so it decides nothing, unless a quantifier follows it.
    front = r"\s*" if marker[:1] in tuple("?*+{") else ""
    compiled = pattern(known.get(marker) or rf"{front}{marker.lower()}.*$", re.MULTILINE)
    return lambda reply: compiled.search(reply.lower) is not None


def _bullets(num_bullets: int) -> Check:
    def check(reply: Reply) -> bool:
        bullets = len(_STAR_BULLET.findall(reply.text)) if "*" in reply.text else 0
        return bullets + len(_DASH_BULLET.findall(reply.text)) == num_bullets

    return check


def _choice() -> Check:
    return lambda reply: any(choice in reply.text for choice in CHOICES)


def _highlights(num_highlights: int) -> Check:
    def check(reply: Reply) -> bool:
        count = 0
        for kind in (_HIGHLIGHT, _DOUBLE_HIGHLIGHT):
            if count < num_highlights:
                count += sum(1 for bullets in kind.findall(reply.text) if bullets.strip())
        return count >= num_highlights

    return check


def _sections(section_spliter: str, num_sections: int) -> Check:
    compiled = pattern(rf"\s?{section_spliter.strip()}\s?\d+\s?")
    return lambda reply: len(compiled.split(reply.text)) - 1 >= num_sections


def _json() -> Check:
    def check(reply: Reply) -> bool:
        content = reply.stripped
        for fence in ("```json", "```Json", "```JSON", "```"):
            content = content.removeprefix(fence)
        return parses(content.removesuffix("```").strip())

    return check


def _title() -> Check:
    def check(reply: Reply) -> bool:
        # `<<[^\n]+>>` takes a line's first << and last >>, with something between.
        for line in reply.text.split("\n") if "<<" in reply.text else ():
            first, last = line.find("<<"), line.rfind(">>")
            if 0 <= first < last - 2 and line[first : last + 2].lstrip("<").rstrip(">").strip():
                return True
        return False

    return check


def _two_responses() -> Check:
    def check(reply: Reply) -> bool:
        parts = [part.strip() for part in reply.text.split("******")]
        if not all(parts[1:-1]):
            return False
        given = [part for part in parts if part]
        return len(given) == 2 and given[0] != given[1]

    return check


def _repeat(prompt_to_repeat: str) -> Check:
    wanted = prompt_to_repeat.strip().lower()
    return lambda reply: reply.stripped.lower().startswith(wanted)


def _end(end_phrase: str) -> Check:
    wanted = end_phrase.strip().lower()
    return lambda reply: reply.stripped.strip('"').lower().endswith(wanted)


def _capital_words(capital_frequency: int, capital_relation: str) -> Check:
    holds = compared(capital_relation, capital_frequency)
    return lambda reply: holds(reply.capital_words(capital_frequency))


def _capital() -> Check:
    return lambda reply: reply.text.isupper() and reply.language in ("en", None)


def _lowercase() -> Check:
    return lambda reply: reply.text.islower() and reply.language in ("en", None)


def _no_comma() -> Check:
    return lambda reply: "," not in reply.text


def _quotation() -> Check:
    return lambda reply: len(reply.stripped) > 1 and reply.stripped[0] == '"' == reply.stripped[-1]


KINDS: dict[str, Kind] = {
    "change_case:capital_word_frequency": Kind(
        _capital_words, {"capital_frequency": whole, "capital_relation": _relation}
    ),
    "change_case:english_capital": Kind(_capital),
    "change_case:english_lowercase": Kind(_lowercase),
    "combination:repeat_prompt": Kind(_repeat, {"prompt_to_repeat": text}),
    "combination:two_responses": Kind(_two_responses),
    "detectable_content:number_placeholders": Kind(_placeholders, {"num_placeholders": whole}),
    "detectable_content:postscript": Kind(_postscript, {"postscript_marker": text}),
    "detectable_format:constrained_response": Kind(_choice),
    "detectable_format:json_format": Kind(_json),
    "detectable_format:multiple_sections": Kind(_sections, {"section_spliter": text, "num_sections": whole}),
    "detectable_format:number_bullet_lists": Kind(_bullets, {"num_bullets": whole}),
    "detectable_format:number_highlighted_sections": Kind(_highlights, {"num_highlights": whole}),
    "detectable_format:title": Kind(_title),
    "keywords:existence": Kind(_existence, {"keywords": texts}),
    "keywords:forbidden_words": Kind(_forbidden, {"forbidden_words": texts}),
    "keywords:frequency": Kind(_frequency, {"keyword": text, "frequency": whole, "relation": _relation}),
    "keywords:letter_frequency": Kind(_letter, {"letter": text, "let_frequency": whole, "let_relation": _relation}),
    "language:response_language": Kind(_language, {"language": text}),
    "length_constraints:nth_paragraph_first_word": Kind(
        _nth_paragraph, {"num_paragraphs": whole, "nth_paragraph": whole, "first_word": text}
    ),
    "length_constraints:number_paragraphs": Kind(_paragraphs, {"num_paragraphs": whole}),
    "length_constraints:number_sentences": Kind(_sentences, {"num_sentences": whole, "relation": _relation}),
    "length_constraints:number_words": Kind(_words, {"num_words": whole, "relation": _relation}),
    "punctuation:no_comma": Kind(_no_comma),
    "startend:end_checker": Kind(_end, {"end_phrase": text}),
    "startend:quotation": Kind(_quotation),
}
"""For each instruction id, its check and its arguments."""


def instruction(name: str, given: Mapping[str, Any], *, of_answer: bool = False) -> Instruction:
    """One instruction. As in the reference, arguments that are null, 0 or empty count as not given.

    Raises:
        Unusable: it is unknown, or an argument is missing or wrong.
    """
    arguments = {argument: value for argument, value in given.items() if value}
    return Instruction(name, make(KINDS, name, arguments), of_answer)

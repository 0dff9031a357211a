"""The 25 constraint functions of Tulu 3 (Lambert et al. 2024), with the verdicts of open-instruct's `if_functions`.

They check the same ideas as IFEval but not in the same way: a keyword counts as a whole word and must occur exactly N
times, letters are case-sensitive, numbers are counted by other rules. Arguments have open-instruct's names.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from aftertrain.core.errors import unknown
from aftertrain.plugins.instructions import resources
from aftertrain.plugins.instructions.ifeval.google import parses, placeholders
from aftertrain.plugins.instructions.kind import Check, Kind, Unusable, one_of, text, texts, whole
from aftertrain.plugins.instructions.reply import Reply

_quantifier = one_of("at least", "around", "at most")
_WORD = re.compile(r"\w+")
_CAPITALS = re.compile(r"\b[A-Z]+\b")
_SENTENCE_END = re.compile(r"(?<!\w\.\w.)(?<![A-Z][a-z]\.)(?<=\.|\?|!)\s")


def answer(reply: str) -> str:
    """What open-instruct judges: what follows the last `</think>`, without `<answer>` tags and surrounding space."""
    reply = reply.replace("<|assistant|>", "").strip().split("</think>")[-1]
    return reply.replace("<answer>", "").replace("</answer>", "").strip()


def _within(wanted: int, quantifier: str, tolerance: int) -> Callable[[int], bool]:
    if quantifier == "at least":
        return lambda count: count >= wanted
    if quantifier == "at most":
        return lambda count: count <= wanted
    return lambda count: abs(count - wanted) <= tolerance


def _tenth(wanted: int) -> int:
    return max(round(wanted * 0.1), 1)


def _keywords(keyword_list: tuple[str, ...]) -> Check:
    wanted = [keyword.lower() for keyword in keyword_list]
    return lambda reply: all(keyword in reply.lower for keyword in wanted)


def _forbidden(forbidden_words: tuple[str, ...]) -> Check:
    banned = [word.lower() for word in forbidden_words]
    return lambda reply: not any(word in reply.lower for word in banned)


def _keyword_frequency(word: str, N: int) -> Check:
    keyword = word.lower()
    return lambda reply: sum(1 for token in _WORD.findall(reply.lower) if token == keyword) == N


def _letter_frequency(letter: str, N: int) -> Check:
    if len(letter) != 1:
        raise Unusable(f"letter must be one character, not {letter!r:.80}")
    return lambda reply: reply.text.count(letter) == N


def _language(language: str) -> Check:
    if language not in resources.known_languages().names:
        raise Unusable(unknown("language", language, resources.known_languages().names))
    return lambda reply: reply.language == language


def _paragraph_count(N: int) -> Check:
    def check(reply: Reply) -> bool:
        clean = "\n".join(line.strip() for line in reply.text.splitlines()).strip()
        paragraphs = clean.split("* * *")
        return len(paragraphs) == N and all(paragraph.strip() for paragraph in paragraphs)

    return check


def _words(N: int, quantifier: str) -> Check:
    holds = _within(N, quantifier, _tenth(N))
    return lambda reply: holds(len(reply.text.split()))


def _sentences(N: int, quantifier: str) -> Check:
    holds = _within(N, quantifier, 1)
    return lambda reply: holds(len(_SENTENCE_END.findall(reply.text)) + 1)


def _paragraphs(N: int, first_word: str, i: int) -> Check:
    if not 1 <= i <= N:
        raise Unusable(f"i must be from 1 to N ({N}), not {i}")

    def check(reply: Reply) -> bool:
        paragraphs = reply.text.split("\n\n")
        return len(paragraphs) == N and paragraphs[i - 1].strip().startswith(first_word)

    return check


def _postscript(postscript_marker: str) -> Check:
    def check(reply: Reply) -> bool:
        _, marker, rest = reply.text.partition(postscript_marker)
        return len((marker + rest).strip()) > len(postscript_marker)

    return check


def _placeholders(N: int) -> Check:
    return lambda reply: placeholders(reply) >= N


def _bullets(N: int) -> Check:
    def check(reply: Reply) -> bool:
        return sum(1 for line in reply.text.split("\n") if line.strip().startswith(("*", "-"))) == N

    return check


def _title() -> Check:
    def check(reply: Reply) -> bool:
        # `<<(.*?)>>`: on one line, perhaps with nothing between.
        for line in reply.text.split("\n") if "<<" in reply.text else ():
            first = line.find("<<")
            if first >= 0 and line.find(">>", first + 2) >= 0:
                return True
        return False

    return check


def _choice(options: tuple[str, ...]) -> Check:
    return lambda reply: any(option in reply.text for option in options)


def _highlights(N: int) -> Check:
    # `\*(.*?)\*`: the asterisks of a line, two by two.
    return lambda reply: sum(line.count("*") // 2 for line in reply.text.split("\n")) >= N


def _sections(N: int, section_splitter: str) -> Check:
    compiled = re.compile(rf"\s?{re.escape(section_splitter)}\s?\d+\s?", re.IGNORECASE)
    return lambda reply: len(compiled.findall(reply.text)) >= N


def _json() -> Check:
    return lambda reply: parses(reply.text)


def _repeat(original_prompt: str) -> Check:
    return lambda reply: reply.text.startswith(original_prompt)


def _two_responses() -> Check:
    def check(reply: Reply) -> bool:
        if reply.text.count("******") != 1:
            return False
        first, _, second = reply.text.partition("******")
        return first.strip() != second.strip()

    return check


def _uppercase() -> Check:
    return lambda reply: reply.text == reply.text.upper()


def _lowercase() -> Check:
    return lambda reply: reply.text == reply.lower


def _capital_words(N: int, quantifier: str) -> Check:
    holds = _within(N, quantifier, _tenth(N))
    return lambda reply: holds(len(_CAPITALS.findall(reply.text)))


def _end(end_phrase: str) -> Check:
    return lambda reply: reply.text.endswith(end_phrase)


def _quotation() -> Check:
    return lambda reply: reply.text.startswith('"') and reply.text.endswith('"')


def _no_commas() -> Check:
    return lambda reply: "," not in reply.text


FUNCTIONS: dict[str, Kind] = {
    "validate_choice": Kind(_choice, {"options": texts}),
    "validate_end": Kind(_end, {"end_phrase": text}),
    "validate_forbidden_words": Kind(_forbidden, {"forbidden_words": texts}),
    "validate_frequency_capital_words": Kind(_capital_words, {"N": whole, "quantifier": _quantifier}),
    "validate_highlighted_sections": Kind(_highlights, {"N": whole}),
    "validate_json_format": Kind(_json),
    "validate_lowercase": Kind(_lowercase),
    "validate_no_commas": Kind(_no_commas),
    "validate_paragraphs": Kind(_paragraphs, {"N": whole, "first_word": text, "i": whole}),
    "validate_placeholders": Kind(_placeholders, {"N": whole}),
    "validate_quotation": Kind(_quotation),
    "validate_repeat_prompt": Kind(_repeat, {"original_prompt": text}),
    "validate_response_language": Kind(_language, {"language": text}),
    "validate_sections": Kind(_sections, {"N": whole, "section_splitter": text}),
    "validate_title": Kind(_title),
    "validate_two_responses": Kind(_two_responses),
    "validate_uppercase": Kind(_uppercase),
    "validate_word_constraint": Kind(_words, {"N": whole, "quantifier": _quantifier}),
    "verify_bullet_points": Kind(_bullets, {"N": whole}),
    "verify_keyword_frequency": Kind(_keyword_frequency, {"word": text, "N": whole}),
    "verify_keywords": Kind(_keywords, {"keyword_list": texts}),
    "verify_letter_frequency": Kind(_letter_frequency, {"letter": text, "N": whole}),
    "verify_paragraph_count": Kind(_paragraph_count, {"N": whole}),
    "verify_postscript": Kind(_postscript, {"postscript_marker": text}),
    "verify_sentence_constraint": Kind(_sentences, {"N": whole, "quantifier": _quantifier}),
}
"""For each function name, its check and its arguments."""

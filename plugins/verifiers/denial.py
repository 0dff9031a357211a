"""Whether a reply that names a letter turns it down: "neither A nor B", "rule out B", "all except B", "B is wrong".

The words before the letter are read from it backwards, those behind it forwards, each over a short window of one
sentence. What lies between the letter and a word that denies may be other letters and words that only lead to them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

WINDOW = 90
"""Characters before and behind a letter that are read."""

_TOKEN = re.compile(r"[A-Za-z]+(?:['’][A-Za-z]+)?|[^\sA-Za-z]")
_DENIES = re.compile(
    r"not|neither|nor|never|cannot|\w+n['’]t|hardly|scarcely|less|except|excepting|than|over|unlike|versus|vs|wrong|"
    r"incorrect|false|besides|without|against|(?:eliminat|exclud|reject|dismiss|discard|disprov|refut|contradict|omit|avoid|ignor|disregard|refus)\w*",
    re.IGNORECASE,
)
_PAIRS = {
    "out": {"rule", "rules", "ruled", "ruling", "cross", "crossed", "leave", "leaving", "strike", "throw", "threw"},
    "of": {"instead", "opposite", "none"},
    "to": {"opposed", "compared", "unlike"},
    "with": {"compared"},
    "but": {"anything", "any", "all", "everything"},
    "for": {"except"},
    "from": {"apart", "aside", "far"},
    "way": {"no"},
    "doubt": {"i", "would", "seriously", "strongly"},
}
"""Last word of a denial by two words, and what its first may be."""
_TURNS = re.compile(
    r"it['’]s|that['’]s|it|that|choos(?:e|ing)|pick(?:ing)?|select(?:ing)?|go|say|think|believe", re.IGNORECASE
)
"""Words with which a clause begins that chooses: what another one before it denies, it does not."""
_LESSER = re.compile("worse|weaker|poorer|inferior", re.IGNORECASE)
_SENTENCE = re.compile(r"[.;!?:\n]")
_EXCEPTS = re.compile(
    r"\b(?:except(?:ing)?(?:\sfor)?|besides|(?:apart|aside)\sfrom"
    r"|no\sother\s\w{1,9}\sthan|(?:all|every\w*|each|any\w*|none|nothing|no\s\w{1,9})\s(?:[a-z]{1,9}\s){0,4}?(?:but|other\sthan))\s"
    r"(?:(?:the\s)?(?:options?|choices?|answers?|letters?)\s)?[(*_\"'`]{0,4}\Z",
    re.IGNORECASE,
)
"""Words that leave a letter out of what is said of the others."""
_NONE = re.compile(
    r"\b(?:none|no|nothing|not|cannot|\w+n['’]t|wrong|incorrect|false|invalid|eliminated|ruled\sout)\b", re.IGNORECASE
)
_NEGATED = re.compile(r"not|never|cannot|\w+n['’]t", re.IGNORECASE)
_WRONG = re.compile(
    r"wrong|incorrect|false|untrue|invalid|impossible|implausible|unlikely|irrelevant|unsupported|inaccurate|flawed|out|"
    r"nonsense|absurd|distractor|trap|(?:ruled|crossed|thrown|left)|(?:eliminat|exclud|reject|discard|dismiss)ed",
    re.IGNORECASE,
)
_LEADS = re.compile(
    "(?:it['’]s|that['’]s|an?|the|this|that|these|those|options?|choices?|answers?|letters?|both|either|any|of|it|for|as|to|with|and|or|"
    "be|is|are|was|were|being|been|going|have|can|could|would|will|should|must|really|simply|just|correct|right|true|best|"
    "likely|possibly|probably|possible|think|believe|consider|say|said|go|choos(?:e|ing)|pick(?:ing)?|select(?:ing)?)"
)
"""Words that lead to a letter, and say nothing of it."""
_MARKS = frozenset("()[]{}*_\"'`:$/-–—\\")
_DOES_NOT = re.compile(
    r"(?:do|does|did)(?:n['’]t| not) (?:work|fit|hold|match|apply|make|satisfy|follow|answer|seem|look)\b"
)
_BUT_WRONG = re.compile(
    r"(?:[a-z]+ ){1,5}(?:, )?but (?:it |that )?(?:is|are|was) (?:[a-z]+ly )?"
    r"(?:wrong|incorrect|false|invalid|not (?:the )?(?:correct|right|true|best|answer|it)\b)"
)
_LINKS = re.compile("is|are|was|were|seems?|looks?|be|been|can|could|must|would|may|might|will|has|have")
_ADVERBS = re.compile(
    "clearly|definitely|obviously|also|therefore|thus|both|all|simply|just|then|certainly|probably|likely|surely|actually|"
    "an?|the"
)
_RIGHT = re.compile("correct|right|true|best|answer|it")
_OPINES = re.compile("that|it|think|believe|say|consider")
_STAYS = re.compile("remains?|remaining|left|only|holds|fits|works|wins|stands|stays|follows")
_CLAIMS = re.compile("correct|right|true|best|answer|it|option|choice|valid|possible|likely|one|either")


def denied(text: str, start: int, end: int, letters: str) -> bool:
    """Whether the letter at text[start:end] is turned down.

    >>> [denied(text, text.rindex("B"), text.rindex("B") + 1, "ABCD") for text in ("Neither A nor B", "Not A but B")]
    [True, False]
    """
    before = _TOKEN.findall(text[max(0, start - WINDOW) : start])
    after = _TOKEN.findall(text[end : end + WINDOW])
    behind = _denied_behind(after, letters)
    clause = _SENTENCE.split(text[max(0, start - WINDOW) : start])[-1]
    if (excepted := _EXCEPTS.search(clause)) and (behind or _NONE.search(clause[: excepted.end()])):
        return behind and _NONE.search(clause[: excepted.end()]) is not None
    return behind or _denied_before(before, after, letters)


def _denied_before(before: Sequence[str], after: Sequence[str], letters: str) -> bool:
    place, others, joined, turned = len(before) - 1, 0, False, False
    while place >= 0:
        token, previous = before[place], before[place - 1] if place else ""
        word = token.lower()
        if word in _PAIRS and previous.lower() in _PAIRS[word]:
            return not (others and joined and _affirmed(after))
        if word == "than" and (
            (previous.lower() == "other" and _has(before, place - 2, "none"))
            or _LESSER.fullmatch(previous)
            or _has(before, place - 2, "less")
        ):
            return False
        if _DENIES.fullmatch(token):
            if not others and _names(before[place + 1 :], token):
                return False
            doubly = _WRONG.fullmatch(token) is not None and _NEGATED.fullmatch(previous) is not None
            return not doubly and not (others and joined and _affirmed(after))
        if len(token) == 1 and token in letters:
            others += 1
        elif token == "," or word == "and":
            goes_on = before[place + 1 : place + 2] in (["or"], ["nor"])
            if (turned and not goes_on) or (token == "," and not _joins(before, place, letters)):
                return False  # the clause before says something else
            joined = True
        elif _LEADS.fullmatch(word) is None and token not in _MARKS:
            return False
        turned = turned or _TURNS.fullmatch(token) is not None
        place -= 1
    return False


def _names(between: Sequence[str], denial: str) -> bool:
    """Whether the denial belongs to what the letter is said to be: "the statement that is not true is B"."""
    words = [token.lower() for token in between if token not in _MARKS or token == ":"]
    describes = _WRONG.fullmatch(denial) is not None or (len(words) > 1 and _RIGHT.fullmatch(words[0]) is not None)
    return describes and words[-1:] in (["is"], ["be"], [":"]) and not any(map(_OPINES.fullmatch, words))


def _joins(before: Sequence[str], place: int, letters: str) -> bool:
    """Whether a letter stands before the comma there, so that it is one of a list."""
    first = next((token for token in reversed(before[:place]) if token not in _MARKS), "")
    return len(first) == 1 and first in letters


def _has(tokens: Sequence[str], place: int, word: str) -> bool:
    return place >= 0 and tokens[place].lower() == word


def _affirmed(after: Sequence[str]) -> bool:
    """Whether the letter is said to be right, as in "not A, and B is correct", or to be left over."""
    words = [token.lower() for token in after if token not in _MARKS][:4]
    if not words or _LINKS.fullmatch(words[0]) is None:
        return bool(words) and _STAYS.fullmatch(words[0]) is not None
    return any(_RIGHT.fullmatch(word) or _STAYS.fullmatch(word) for word in words[1:])


def _denied_behind(after: Sequence[str], letters: str) -> bool:
    place = 0
    while place < len(after) and (
        after[place] in _MARKS
        or after[place] == ","
        or after[place].lower() in ("and", "or", "nor")
        or (len(after[place]) == 1 and after[place] in letters)
    ):
        place += 1
    words = [token.lower() for token in after[place:] if token not in _MARKS]
    if words[:1] == ["?"]:
        reply = next((word for word in words[1:5] if word not in (",", "hmm", "well", "wait", "oh")), "")
        return reply in ("no", "nope", "not", "wrong", "incorrect")
    if words[:1] in (["fails"], ["contradicts"]) or (words[:1] == ["out"] and words[1:2] != ["of"]):
        return True
    if _DOES_NOT.match(" ".join(words[:3])):
        return True
    if _BUT_WRONG.match(" ".join(words[:12])) and not any(token in letters for token in after[place : place + 8]):
        return True
    linked = False
    for number, word in enumerate(words[:8]):
        following = [other for other in words[number + 1 : number + 5] if not _ADVERBS.fullmatch(other)]
        if _NEGATED.fullmatch(word):
            if not (linked or word != "not"):
                return False
            return not following or not following[0].isalpha() or _claims(following)
        if linked and (_LESSER.fullmatch(word) or (word == "less" and following[:1] not in (["wrong"], ["unlikely"]))):
            return True
        if linked and _WRONG.fullmatch(word) and (word != "left" or following[:1] == ["out"]):
            return True
        if _LINKS.fullmatch(word):
            linked = True
        elif not linked or not _ADVERBS.fullmatch(word):
            return False
    return False


def _claims(words: Sequence[str]) -> bool:
    """Whether what is negated is that a letter is right: "not the right one", "cannot be it"; not "not wrong"."""
    while words and _LINKS.fullmatch(words[0]):
        words = words[1:]
    return not words or not words[0].isalpha() or _CLAIMS.fullmatch(words[0]) is not None

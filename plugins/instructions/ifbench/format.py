"""`format:` kinds: lines, lists, quotes, brackets, templates."""

from __future__ import annotations

import re
from collections import defaultdict, deque
from itertools import pairwise

from aftertrain.plugins.instructions.ifbench.characters import EDGES, PUNCTUATION, without_punctuation
from aftertrain.plugins.instructions.kind import of_text, text
from aftertrain.plugins.instructions.resources import sentences, words

CLOSES = {")": "(", "]": "[", "}": "{"}
DEPTH = 5
QUOTE_DEPTH = 3
LETTERS = re.compile(r"\W*[aA]\W*[bB]\W*[cC]\W*")
"""Options that are letters: the reply must then be one of them as it stands."""
NO_QUOTE = "0123456789" + PUNCTUATION.replace('"', "")
TEMPLATE = ("My Answer:", "My Conclusion:", "Future Outlook:")


def emoji(text: str) -> bool:
    """Each sentence ends with an emoji (its last or last but one character), or the next one begins with one."""
    from emoji import is_emoji

    bare = [without_punctuation(sentence).strip() for sentence in sentences(text)]
    for place, sentence in enumerate(bare):
        if not sentence:
            return False
        if is_emoji(sentence[-1]) or is_emoji(sentence[-2:-1]):
            continue
        if not is_emoji(bare[place + 1][:1] if place + 1 < len(bare) else ""):
            return False
    return True


def line_indent(text: str) -> bool:
    """Each line is indented by more spaces than the one before, some blank lines left out (see `_lines_kept`).

    At least half of the lines are kept, and k lines each deeper than the last hold k (k - 1) / 2 spaces or more: a text
    shorter than that is answered without a walk through its lines.
    """
    least = (text.count("\n") + 1) // 2
    if least * (least - 1) // 2 > len(text):
        return False
    depths = (len(line) - len(line.lstrip(" ")) for line in _lines_kept(text.split("\n")))
    return all(first < second for first, second in pairwise(depths))


def list_separator(text: str, sep: str) -> bool:
    """The separator stands there at least twice, anywhere."""
    return text.count(sep) >= 2


def newline(text: str) -> bool:
    """As many lines as words, punctuation left out."""
    bare = without_punctuation(text).strip()
    return sum(1 for line in bare.split("\n") if line) == len(bare.split())


def no_bullets_bullets(text: str) -> bool:
    """Two sentences or more, then nothing but lines that begin with `*`, at least two.

    As in IFBench a blank line ends the sentences, and any line that is not blank holds at least one.
    """
    before, count, bullets = True, 0, 0
    for line in map(str.strip, text.split("\n")):
        if line.startswith("*"):
            if count < 2:
                return False
            before, bullets = False, bullets + 1
        elif not before:
            return False
        elif line:
            count += len(sentences(line)) if count < 2 else 0
        else:
            before = False
    return bullets >= 2


def no_whitespace(text: str) -> bool:
    """No white space at all."""
    return not any(map(str.isspace, text))


def options(text: str, options: str) -> bool:
    """One of the options and nothing else: as it stands where they are letters, else in any case and stripped."""
    separator = "/" if "/" in options else "or" if "or" in options else ","
    allowed = [option.strip() for option in options.split(separator)]
    if LETTERS.match(options):
        return text in allowed
    return text.strip(EDGES).lower() in [option.strip(EDGES).lower() for option in allowed]


def output_template(text: str) -> bool:
    """The three labels of the template, anywhere."""
    return all(label in text for label in TEMPLATE)


def parentheses(text: str) -> bool:
    """Brackets of any kind nested at least five deep, the innermost of them closed; a wrong closing one starts anew."""
    opened: list[str] = []
    deepest = 0
    for character in text:
        if character in "([{":
            opened.append(character)
            deepest = max(deepest, len(opened))
        elif character in CLOSES:
            if not opened or opened[-1] != CLOSES[character]:
                opened, deepest = [], 0
                continue
            opened.pop()
            if deepest >= DEPTH:
                return True
    return False


def quotes(text: str) -> bool:
    """Quotation marks `"` and `'` nested three deep, and three of them closed again (an apostrophe is a mark)."""
    opened: list[str] = []
    deepest = 0
    for character in text:
        if opened and character == opened[-1]:
            opened.pop()
            if deepest - len(opened) >= QUOTE_DEPTH:
                return True
        elif character in "\"'":
            opened.append(character)
            deepest = max(deepest, len(opened))
    return False


def quote_unquote(text: str) -> bool:
    """No two `"` with only white space between, and none at the end (digits and other marks after it aside)."""
    bare = "".join(text.replace("'\"'", "").split())
    return '""' not in bare and not bare.strip(NO_QUOTE).endswith('"')


def sub_bullets(text: str) -> bool:
    """A `-` after each `*` and before the next one; a text without `*` passes, as in IFBench."""
    return all("-" in part for part in text.split("*")[1:])


def thesis(text: str) -> bool:
    """`<i>` or `<em>`, closed again after some text and followed by more."""
    start = text.find("<i>")
    start = text.find("<em>") if start < 0 else start
    if start < 0:
        return False
    end = text.find("</i>", start)
    end = text.find("</em>", start) if end < 0 else end
    return end >= 0 and bool(text[start + 3 : end].strip()) and bool(text[end + 4 :].strip())


def title_case(text: str) -> bool:
    """No word is all small, nor a small letter before large ones (`iPhone`, of both, passes); marks pass."""
    return not any(
        word[0].isalpha() and word[0].islower() and (len(word) == 1 or word[1:].isupper() or word[1:].islower())
        for word in words(text)
    )


def _lines_kept(lines: list[str]) -> list[str]:
    """The lines that remain when blank ones are removed from a list while it is walked through, as IFBench does.

    Each removal takes the first line equal to the blank one and makes the walk skip the line after it, so that of
    several blank lines in a row only some go. The same in time linear in the lines: per blank text a queue of its lines
    walked past and not removed.
    """
    removed: set[int] = set()
    waiting: defaultdict[str, deque[int]] = defaultdict(deque)
    place = 0
    while place < len(lines):
        line = lines[place]
        if not line.strip():
            waiting[line].append(place)
            removed.add(waiting[line].popleft())
            place += 1
            if place < len(lines) and not lines[place].strip():
                waiting[lines[place]].append(place)
        place += 1
    return [line for place, line in enumerate(lines) if place not in removed]


KINDS = {
    "format:emoji": of_text(emoji, needs=("punkt", "emoji")),
    "format:line_indent": of_text(line_indent),
    "format:list": of_text(list_separator, {"sep": text}),
    "format:newline": of_text(newline),
    "format:no_bullets_bullets": of_text(no_bullets_bullets, needs=("punkt",)),
    "format:no_whitespace": of_text(no_whitespace),
    "format:options": of_text(options, {"options": text}),
    "format:output_template": of_text(output_template),
    "format:parentheses": of_text(parentheses),
    "format:quote_unquote": of_text(quote_unquote),
    "format:quotes": of_text(quotes),
    "format:sub-bullets": of_text(sub_bullets),
    "format:thesis": of_text(thesis),
    "format:title_case": of_text(title_case, needs=("punkt",)),
}

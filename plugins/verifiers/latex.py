r"""Two ways to write an answer in LaTeX so that equal answers become equal texts (F32).

`hendrycks` is the rule of the MATH data set (Hendrycks et al. 2021), `minerva` that of Lewkowycz et al. 2022 (appendix
D) with lm-eval 0.4.13's corrections: `\left` keeps its `ft`, `0,1` its comma and `\sqrt[3]{8}` its index. Both are
string rules that know neither algebra nor values. Their odd corners (Minerva reads `x + y = 0` as `0`) are kept, since
published scores contain them. Both take linear time on any text and never raise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

_DIGITS = 4300
"""Longest numerator or denominator, in characters, that Hendrycks' rule reads as a whole number."""

_LAYOUT = (
    ("\n", ""),
    ("\\!", ""),  # a negative space
    ("\\\\", "\\"),
    ("tfrac", "frac"),
    ("dfrac", "frac"),
    ("\\left", ""),
    ("\\right", ""),
    ("^{\\circ}", ""),  # degrees
    ("^\\circ", ""),
    ("\\$", ""),
)
_UNIT = "\\text{ "
"""In MATH, text that begins with a space is a unit."""
_ONE_SIGN_ROOT = re.compile(r"\\sqrt([^{])")

_WORDS = (
    ("an ", ""),
    ("a ", ""),
    (".$", "$"),
    ("\\$", ""),
    ("\\ ", ""),
    (" ", ""),
    ("mbox", "text"),
    (",\\text{and}", ","),
    ("\\text{and}", ","),
    ("\\text{m}", "\\text{}"),
)
_UNITS = ("square", "ways", "integers", "dollars", "mph", "inches", "ft", "hours", "km", "units")
"""What Minerva's rule forgets, first these, then `\\ldots`, then the next two groups: a removal can make a later one
match."""
_MORE_UNITS = (
    *("sue", "points", "feet", "minutes", "digits", "cents", "degrees", "cm", "gm", "pounds", "meters", "meals"),
    *("edges", "students", "childrentickets", "multiples"),
)
_REMAINS = (
    *("\\text{s}", "\\text{.}", "\\text{\ns}", "\\text{}^2", "\\text{}^3", "\\text{\n}", "\\text{}"),
    *("\\mathrm{th}", "^\\circ", "^{\\circ}", "\\;", ",\\!", "{,}", '"', "\\dots"),
)
_WHOLE_UNIT = re.compile(r"(?<!\\)\b(?:" + "|".join((*_UNITS, *_MORE_UNITS)) + r")\b")
_COMMAND = re.compile(r"(\\[a-zA-Z]+)")
_SHORT_FRACTION = re.compile(r"frac([^{])(.)")
_ROOT_WITH_INDEX = re.compile(r"sqrt\[")
_SHORT_ROOT = re.compile(r"sqrt([^{\[])")
_THOUSANDS = re.compile(r"-?\d{1,3}(?:,\d{3})+")


def hendrycks(text: str) -> str | None:
    """`text` by the MATH data set's rule, or None where the rule does not apply (two units, `x/y`, a bare `\\sqrt`)."""
    for before, after in _LAYOUT:
        text = text.replace(before, after)
    text, *units = text.split(_UNIT)
    if len(units) > 1:
        return None
    text = text.replace("\\%", "").replace(" .", " 0.").replace("{.", "{0.")
    if text.startswith("."):
        text = "0" + text
    name, equals, value = text.partition("=")
    if equals and "=" not in value and len(name) <= 2:
        text = value  # `x = 5` is 5
    if "\\sqrt\\sqrt" in text or text.endswith("\\sqrt"):
        return None
    spelt = _fractions(_ONE_SIGN_ROOT.sub(r"\\sqrt{\1}", text).replace(" ", ""))
    return None if spelt is None else _slash("\\frac{1}{2}" if spelt == "0.5" else spelt)


def _fractions(text: str) -> str | None:
    r"""`\frac12` and `\frac1{2}` as `\frac{1}{2}`; unchanged when one sign is all there is; None when none is."""
    first, *pieces = text.split("\\frac")
    written = [first]
    for piece in pieces:
        if not piece:
            return None
        if piece[0] == "{":
            written.append(piece)
        elif len(piece) < 2:
            return text
        else:
            below = piece[1:] if piece[1] == "{" else "{" + piece[1] + "}" + piece[2:]
            written.append("{" + piece[0] + "}" + below)
    return "\\frac".join(written)


def _slash(text: str) -> str | None:
    r"""`3/4` as `\frac{3}{4}`; None where a slash divides something else than whole numbers."""
    above, slash, below = text.partition("/")
    if not slash or "/" in below:
        return text
    if max(len(above), len(below)) > _DIGITS:
        return None
    try:
        number, divisor = int(above), int(below)
    except ValueError:
        return None
    return f"\\frac{{{number}}}{{{divisor}}}" if text == f"{number}/{divisor}" else text


def minerva(text: str) -> str:
    """`text` by Minerva's rule."""
    text = _WHOLE_UNIT.sub("", text[text.rfind("=") + 1 :])
    for before, after in _WORDS:
        text = text.replace(before, after)
    text = _without(_MORE_UNITS, _without(_UNITS, text).replace("\\ldots", ""))
    for remains in _REMAINS:
        text = text.replace(remains, "")
    text = _each_line(_in_dollars, text)
    for command in ("\\text{", "\\textbf{", "\\overline{"):
        text = _each_line(lambda line, command=command: _unwrap(line, command), text)  # type: ignore[misc]
    text = _each_line(_unbox, text)
    text = _SHORT_FRACTION.sub(r"frac{\1}{\2}", text)
    text = _SHORT_ROOT.sub(r"sqrt{\1}", _indexed_roots(text)).replace("$", "")
    return text.replace(",", "") if _THOUSANDS.fullmatch(text) else text


def _without(units: Sequence[str], text: str) -> str:
    r"""Without units, also glued to others (`5cm`), but not inside a command: `\left` keeps its `ft`."""
    if not any(unit in text for unit in units):
        return text
    pieces = _COMMAND.split(text)
    for place in range(0, len(pieces), 2):
        for unit in units if pieces[place] else ():
            pieces[place] = pieces[place].replace(unit, "")
    return "".join(pieces)


def _indexed_roots(text: str) -> str:
    r"""`\sqrt[3]8` as `\sqrt[3]{8}`. Each bracket is looked for once, however many roots stand before it."""
    pieces, at, end = [], 0, -1
    for root in _ROOT_WITH_INDEX.finditer(text):
        if root.start() < at:
            continue
        if end < root.end():
            end = text.find("]", root.end())
        if end < 0:
            break
        sign = text[end + 1 : end + 2]
        if sign.isalnum() or sign == "_":
            pieces += [text[at : end + 1], "{", sign, "}"]
            at = end + 2
    return "".join(pieces) + text[at:]


def _each_line(rule: Callable[[str], str], text: str) -> str:
    return "\n".join(map(rule, text.split("\n")))


def _in_dollars(line: str) -> str:
    """A line's first `$…$`, where it has one."""
    pieces = line.split("$", 2)
    return f"${pieces[1]}$" if len(pieces) == 3 else line


def _unwrap(line: str, command: str) -> str:
    r"""Without each `\command{` and the next `}`. Searched by hand: a pattern takes quadratic time without a `}`."""
    pieces, at = [], 0
    while (start := line.find(command, at)) >= 0 and (end := line.find("}", start + len(command))) >= 0:
        pieces += [line[at:start], line[start + len(command) : end]]
        at = end + 1
    return "".join(pieces) + line[at:]


def _unbox(line: str) -> str:
    r"""Without the first `\boxed{` and the last `}` behind it."""
    before, box, inside = line.partition("\\boxed{")
    content, brace, after = inside.rpartition("}")
    return before + content + after if box and brace else line

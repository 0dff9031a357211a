r"""One spelling for the answers that `either` compares, where a notation has a single meaning.

Unicode mathematics becomes LaTeX (`core/text/notation.py`); upright `e` and `i`, degrees, the empty set, groups of
digits, powers of ten and mixed numbers are written as Math-Verify reads them. Linear time on any text.
"""

from __future__ import annotations

import re

from aftertrain.core.text.notation import latex

_SEPARATOR = r"(?:\\[,;:> ]|\\!|~|'|\{\\,\}|\\thinspace ?)"
_GROUPS = re.compile(rf"(?<![0-9.,_^}}])[0-9]{{1,3}}(?P<by>{_SEPARATOR})[0-9]{{3}}(?:(?P=by)[0-9]{{3}})*(?![0-9'])")
_BRACED = re.compile(r"(?<![0-9.,_^}])[0-9]{1,3}(?:\{,\}[0-9]{3})+(?![0-9{])")
_SCIENTIFIC = re.compile(r"(?<![0-9A-Za-z.\\}])([0-9]{1,20}(?:\.[0-9]{0,20})?)[eE]([-+]?[0-9]{1,4})(?![0-9A-Za-z.])")
_FONT = r"\\(?:mathrm|mathit|mathbf|mathsf|textrm|textit|text|operatorname\*?|mathop)"
_UPRIGHT = re.compile(rf"{_FONT}\s?\{{\s?([ei])\s?\}}|\\math(?:rm|it|bf|sf)\s([ei])(?![A-Za-z])|\{{\\rm\s?([ei])\s?\}}")
_FUNCTION = re.compile(
    r"\\(?:mathrm|operatorname\*?)\s?\{\s?(arcsin|arccos|arctan|sin|cos|tan|cot|ln|log|exp)\s?\}"
    r"|(?<![A-Za-z\\{])(sin|cos|tan|ln|log)(?=\s?(?:[\^_(0-9]|\\[a-z])|\s[a-z](?![A-Za-z]))"
)
"""Names of functions in upright or plain letters; `sec` is as often a second."""
_SQUARE_UNIT = re.compile(
    r"(?<=[0-9}])\s?((?:mm|cm|dm|km|ft|yd|inch(?:es)?|feet|foot|yards?|miles?|(?:centi|milli|kilo)?met(?:er|re)s?))"
    r"\s?\^\s?(?:\{\s?([23])\s?\}|([23]))"
)
_RING = r"(?:\\(?:text|mathrm)\s?\{\s?[o0]\s?\}|o|\\o)"
_DEGREE = re.compile(rf"\\degrees?(?![A-Za-z])|(?<=[0-9])\s?\^\s?(?:\{{\s?{_RING}\s?\}}|{_RING}(?![A-Za-z{{]))")
_EMPTY = re.compile(
    r"\\left\s?\\\{\s{0,9}\\right\s?\\\}|\\\{(?:\s|\\[,;:! ]){0,9}\\\}|\\varnothing(?![A-Za-z])"
    r"|\\(?:text|mathrm|mbox)\s?\{\s?(?:the )?(?:empty|null) set\s?\}"
)
BASES = {
    **{"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10},
    **{"eleven": 11, "twelve": 12, "sixteen": 16},
}
_WORD = rf"({'|'.join(BASES)})"
_IN_TEXT = rf"\\(?:text|textrm|mathrm|mbox)\s?\{{\s?{_WORD}\s?\}}"
_BASE = re.compile(rf"(?<=[0-9])\s?_\s?(?:\{{\s?{_IN_TEXT}\s?\}}|\{{\s?{_WORD}\s?\}}|{_IN_TEXT})")
_ROOT = re.compile(r"(?<![A-Za-z\\])sqrt(?=\s?[{0-9])")
_MIXED = re.compile(r"\A\s?(-?[0-9]{1,20})(?:\\ |[\s~]){1,2}([0-9]{1,20})\s?/\s?([1-9][0-9]{0,19})\s?\Z")
_MIXED_SPACED = re.compile(r"\A\s?(-?[0-9]{1,20})\s(\\[dt]?frac)")
_PERIOD = re.compile(r"(?<=[^.\s])\.\s?(\$?)\s?\Z")

_CURRENCY = re.compile(
    r"(?<![0-9])\s?(?:\\(?:text|mathrm|mbox)\s?\{\s?(?:[€£¥₹₩₽¢]|USD|EUR|GBP|JPY|INR|CNY)\s?\}|\\(?:euro|yen)(?![A-Za-z])"
    r"|[€£¥₹₩₽]|(?<![A-Za-z])(?:USD|EUR|GBP|JPY|INR|CNY)(?![A-Za-z]))\s?(?=[-+]?[0-9.])"
    r"|(?<=[0-9.}])\s?(?:\\(?:text|mathrm|mbox)\s?\{\s?[€£¥₹₩₽¢]\s?\}|\\euro(?![A-Za-z])|[€£¥₹₩₽¢]|(?:USD|EUR|GBP|JPY|INR|CNY)(?![A-Za-z]))(?![0-9])"
)
_SCALE = re.compile(r"\^\s?\{?\s?\\circ\s?\}?\s?(?:[CF](?![A-Za-z])|\\(?:text|mathrm)\s?\{\s?[CF]\s?\})")


def spelt(text: str) -> str:
    r"""`text` as Math-Verify reads it, with a sentence's period left out.

    >>> spelt("9\\,500"), spelt("3 1/2"), spelt("1.5e-3"), spelt("\\mathrm{e}^2"), spelt("90°"), spelt("\\{ \\}")
    ('9500', '3\\frac{1}{2}', '1.5\\times 10^{-3}', 'e^2', '90^\\circ ', '\\emptyset ')
    """
    text = _PERIOD.sub(r"\1", latex(text))
    text = _GROUPS.sub(lambda groups: re.sub("[^0-9]", "", groups[0]), text)
    text = _SCIENTIFIC.sub(r"\1\\times 10^{\2}", text)
    text = _UPRIGHT.sub(lambda letter: letter[1] or letter[2] or letter[3], text)
    text = _FUNCTION.sub(lambda name: f"\\{name[1] or name[2]} ", text)
    text = _SQUARE_UNIT.sub(lambda unit: f"\\text{{ {unit[1]}}}^{unit[2] or unit[3]}", text)
    text = _BASE.sub(lambda base: f"_{{{BASES[base[1] or base[2] or base[3]]}}}", text)
    text = _EMPTY.sub(r"\\emptyset ", _DEGREE.sub(r"^\\circ ", text))
    text = _MIXED_SPACED.sub(r"\1\2", _ROOT.sub(r"\\sqrt", text))
    return _MIXED.sub(r"\1\\frac{\2}{\3}", text)


def joined(text: str) -> str:
    """A whole reply with its groups of digits put together, so that no group is found alone."""
    text = _GROUPS.sub(lambda groups: re.sub("[^0-9]", "", groups[0]), text)
    return _BRACED.sub(lambda groups: re.sub("[^0-9]", "", groups[0]), text)


def without_signs_of_units(text: str) -> str:
    r"""`text` without currencies' signs and codes beside its numbers, and without `^\circ C`; Hendrycks' and Minerva's
    rules know dollars, degrees and units in words."""
    return _SCALE.sub("", _CURRENCY.sub("", text))

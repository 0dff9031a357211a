r"""What string rules and Math-Verify leave out of an answer although it matters.

Both forget units, so that `50^\circ` equals `50\text{ cm}`; Hendrycks' rule cuts `5\text{ or }6` to `5`, Minerva's
reads `4t - 5y = 7` as `7`; Math-Verify drops a number's base. `conflict` says why two answers cannot be the same
whatever a rule finds; `trusted` whether a string rule may decide. Everything takes linear time and errs to caution: a
unit, multiple or base may be missing, it may not be another one.
"""

from __future__ import annotations

import re

from aftertrain.plugins.verifiers.spelling import BASES

_WORDS = {
    "percent": "percent percentage pct",
    "degrees": "degree deg",
    "radians": "radian rad",
    "dollars": "dollar usd",
    "cents": "cent",
    "euros": "euro eur",
    "yen": "yen jpy",
    "yuan": "yuan rmb cny",
    "rupees": "rupee inr",
    "won": "krw",
    "pounds": "pound lb gbp",
    "millimetres": "mm millimeter millimetre",
    "centimetres": "cm centimeter centimetre",
    "metres": "meter metre",
    "kilometres": "km kilometer kilometre",
    "inches": "inch inche",
    "feet": "ft feet foot",
    "yards": "yard yd",
    "miles": "mile",
    "seconds": "sec second",
    "minutes": "minute",
    "hours": "hour hr",
    "days": "day",
    "weeks": "week",
    "months": "month",
    "years": "year yr",
    "grams": "gram gm",
    "kilograms": "kg kilogram",
    "litres": "liter litre",
    "gallons": "gallon gal",
}
_DIRECTIONS = ("north", "south", "east", "west", "increase", "decrease", "more", "less", "profit", "loss")
_UNITS = {
    **{word: {name} for name, words in _WORDS.items() for word in words.split()},
    **{word: {word} for word in _DIRECTIONS},
    "mph": {"miles", "hours"},
    **{word: {"kilometres", "hours"} for word in ("kmh", "kmph", "kph")},
}
_UNIT = re.compile(rf"(?<![\\A-Za-z])({'|'.join(sorted(_UNITS, key=len, reverse=True))})s?(?![A-Za-z])", re.IGNORECASE)
_SYMBOLS = (
    ("percent", re.compile("%")),
    ("degrees", re.compile(r"\^\s?\{?\s?\\circ|°|\\degree")),
    ("dollars", re.compile(r"\\\$")),
    ("pounds", re.compile(r"\\pounds(?![A-Za-z])|£")),
    ("euros", re.compile(r"\\euro(?![A-Za-z])|€")),
    ("yen", re.compile(r"\\yen(?![A-Za-z])|¥")),
    ("yuan", re.compile(r"¥")),
    ("rupees", re.compile("₹")),
    ("won", re.compile("₩")),
    ("roubles", re.compile("₽")),
    ("cents", re.compile("¢")),
    ("metres", re.compile(r"\\(?:text|mbox|mathrm)\s?\{\s?(?:sq\.? |square |cubic )?m\s?\}")),
    ("seconds", re.compile(r"\\(?:text|mbox|mathrm)\s?\{\s?s\s?\}")),
    ("grams", re.compile(r"\\(?:text|mbox|mathrm)\s?\{\s?g\s?\}")),
    ("a.m.", re.compile(r"(?<![A-Za-z\\])a\.?m(?![A-Za-z])", re.IGNORECASE)),
    ("p.m.", re.compile(r"(?<![A-Za-z\\])p\.?m(?![A-Za-z])", re.IGNORECASE)),
)
_SCALE = re.compile(r"(?:\^\s?\{?\s?\\circ\s?\}?|°|\bdegrees)\s?(?:\\(?:text|mathrm)\s?\{\s?)?([CF])(?![A-Za-z])")
_MULTIPLE = re.compile(r"(?<![\\A-Za-z])(dozen|hundred|thousand|million|billion|trillion)s?(?![A-Za-z])", re.IGNORECASE)
_BASE = re.compile(r"[0-9]\s?_\s?(?:\{\s?)?(?:\\(?:text|mathrm|mbox)\s?\{\s?)?([0-9A-Za-z]+)")

_NAME = re.compile(r"\s*\\?[A-Za-z]+\s?(?:_\s?(?:[A-Za-z0-9]|\{\w{1,20}\})\s?)?(?:\(\s?\\?\w{1,20}\s?\)\s?)?")
_SPACING = re.compile(r"\\[ ,;:!]|\\q?quad(?![A-Za-z])|[\s~$]")
_LISTED = re.compile(r"[][(){},;]")
_BRACKETED = re.compile(r"\([^()]*\)|\{[^{}]*\}")
_BETWEEN_MEMBERS = re.compile(
    r"[,;]|\\q?quad(?![A-Za-z])|\\(?:text|mbox|mathrm)\s?|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])|\\\\"
)
_LAYOUT = re.compile(r"\\left|\\right|\\[ ,;:!]|[\s$~&]")
_DOLLARS = re.compile(r"(?<!\\)\$")
_MATTERS = re.compile(r"[0-9\\]|\b(?:and|or|not|to)\b")
_UNIT_TEXT = re.compile(r"\\text\{ ([^{}]*)(\}?)(?:\^\{?[23]\}?)?")
_DOTS = re.compile(r"\\[lc]?dots|\.\.\.|…")
_ENDLESS = re.compile(r"[0-9]\s?\$?\s?(?:\\[lc]?dots|\.\.\.|…)\s?\$?\s?\Z")
_PARTED = re.compile(r"[0-9](?:[\s~]|\\[ ,;:])+(?![0-9]{3}(?![0-9]))[0-9]")
_SPACED_LIST = re.compile(r"[0-9],\s+[0-9]")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_ARTICLE = re.compile(r"an? (?! *[A-Za-z]{2})|[0-9A-Za-z)}]an? ")
_WHOLE_PERCENT = re.compile(r"[-+]?[1-9][0-9]{0,20}\\?%")
_DROPPED_SIGN = re.compile(r"[-−–+_^/0-9]|\\(?!approx|text|mathrm|mbox|pounds)[A-Za-z]+")


def conflict(answer: str, truth: str) -> str | None:
    """Why the two cannot be one answer: another unit, multiple or base, a value where an equation is asked; or None."""
    for what, read in (("unit", _units), ("scale", _scales), ("base", _bases)):
        mine, theirs = read(answer), read(truth)
        if mine and theirs and mine.isdisjoint(theirs):
            return f"another {what}: {', '.join(sorted(mine))} for {', '.join(sorted(theirs))}"
    given, wanted = (sorted(word.lower() for word in _MULTIPLE.findall(text)) for text in (answer, truth))
    if given and wanted and given != wanted:
        return f"another multiple: {', '.join(given)} for {', '.join(wanted)}"
    if bool(_ENDLESS.search(answer)) != bool(_ENDLESS.search(truth)):
        return "digits that go on, and digits that end"
    if "=" in truth and not re.search(r"[=<>]|\\[lg]e|\\ne|\\in\b", answer) and any(map(_is_sum, _named(truth))):
        return "a value for an equation"
    return None


def trusted(answer: str, truth: str) -> bool:
    """Whether equal normal forms mean equal answers: nothing that a string rule drops from one of them matters."""
    if answer.strip() == truth.strip():
        return True
    return (
        _same_head(answer, truth)
        and _same_percent(answer, truth)
        and bool(_DOTS.search(answer)) == bool(_DOTS.search(truth))
        and ("\\overline" in answer) == ("\\overline" in truth)
        and not _list_and_number(answer, truth)
        and all(map(_whole, (answer, truth)))
    )


def leftover(skipped: str, read: str) -> bool:
    """Whether Math-Verify, unable to read `skipped`, went on with a part `read` of it and so lost a sign, a digit or an
    operation: `-(x = 4)` became `4`."""
    before, part, after = skipped.rpartition(read)
    return bool(part) and bool(_DROPPED_SIGN.search((before + after).replace("**", "")))


def unordered(answer: str, truth: str) -> list[tuple[str, str]]:
    r"""Pairs of values where the truth names them (`a = 1, b = 2`) and the answer only lists as many: its order tells
    which is which, unless the names are one variable's (`x_1`, `x_2`). Else nothing."""
    values, members = (_members(_SPACING.sub("", text)) for text in (answer, truth))
    if len(values) != len(members) or len(members) < 2 or "=" in answer or "\\pm" in answer + truth:
        return []
    named = [member.partition("=") for member in members]
    if not all(equals and _NAME.fullmatch(name) for name, equals, _ in named):
        return []
    variables = {re.split("[_(]", name.strip())[0].strip() for name, _, _ in named}
    if len(variables) < len(members):
        return []
    return [(value, wanted.strip()) for value, (_, _, wanted) in zip(values, named, strict=True)]


def _members(text: str) -> list[str]:
    """The parts of a list between the commas and semicolons that stand in no bracket."""
    members, depth, start = [], 0, 0
    for sign in _LISTED.finditer(text):
        if sign[0] in ",;" and depth == 0:
            members.append(text[start : sign.start()])
            start = sign.end()
        elif sign[0] not in ",;":
            depth += 1 if sign[0] in "([{" else -1
    return [*members, text[start:]]


def _units(text: str) -> set[str]:
    words = set().union(*(_UNITS[unit.lower()] for unit in _UNIT.findall(text)))
    return words | {name for name, symbol in _SYMBOLS if symbol.search(text)}


def _scales(text: str) -> set[str]:
    return {"Celsius" if scale == "C" else "Fahrenheit" for scale in _SCALE.findall(text)}


def _bases(text: str) -> set[str]:
    return {str(BASES.get(base.lower(), base)) for base in _BASE.findall(text)}


def _named(text: str) -> list[str]:
    """What stands before the first equals sign of each member of a list: `a` and `b` in `a = 1 + y, b = 1 - y`."""
    flat = _BRACKETED.sub("", _BRACKETED.sub("", _BRACKETED.sub("", text)))
    members = (member.partition("=") for member in _BETWEEN_MEMBERS.split(flat))
    return [name for name, equals, _ in members if equals]


def _is_sum(head: str) -> bool:
    """Whether signs stand between the terms of `head`, brackets aside: it is no name, ratio or function."""
    return bool(re.search(r"[+-]", _BRACKETED.sub("", head)))


def _same_head(answer: str, truth: str) -> bool:
    """What stands before the last `=` is the same in both, or a name in one and nothing in the other."""
    mine, theirs = (text.rpartition("=")[0] for text in (answer, truth))
    if mine and theirs:
        return _LAYOUT.sub("", mine) == _LAYOUT.sub("", theirs)
    head = (mine or theirs).replace("$", " ")
    return not head or bool(_NAME.fullmatch(head))


def _same_percent(answer: str, truth: str) -> bool:
    r"""Both have a percent sign, or none, or one stands behind a whole number (`-3` and `-3\%`, of which Math-Verify
    takes only the positive ones for equal): `0.25\%` is not `0.25`."""
    if ("%" in answer) == ("%" in truth):
        return True
    return bool(_WHOLE_PERCENT.fullmatch(_LAYOUT.sub("", answer if "%" in answer else truth)))


def _list_and_number(answer: str, truth: str) -> bool:
    """`1, 234` is two numbers, `1234` one."""
    pairs = ((answer, truth), (truth, answer))
    return any(_SPACED_LIST.search(listed) and "," not in other for listed, other in pairs)


def _whole(text: str) -> bool:
    """Whether the string rules keep all of the answer."""
    pieces = _DOLLARS.split(text)
    if len(pieces) > 3 or (len(pieces) == 3 and _MATTERS.search(pieces[0] + " " + pieces[2])):
        return False
    unit = _UNIT_TEXT.search(text)
    if unit and (_MATTERS.search(unit[1]) or re.search("[0-9A-Za-z]", text[unit.end() :])):
        return False
    return not _PARTED.search(text) and not _ARTICLE.search(_COMMAND.sub("", text))

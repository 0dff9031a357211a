r"""Where a reply of mathematics has its answer: a box, a sentence, a line, a formula. All take linear time."""

from __future__ import annotations

import re
from dataclasses import dataclass

_BRACE = re.compile(r"[{}]")
_BOX = "\\boxed{"
_MOST_BOXES = 50
_LONGEST_BOX = 2_000
_LONGEST_BETWEEN = 80
_SEPARATOR = re.compile(r"[,;]|\\q?quad|\band\b|\bor\b")
_BETWEEN = re.compile(
    r"(?:[ \n$,;~]|\\[,;:! ()\[\]]|\\q?quad(?![A-Za-z])|\\(?:text|mbox|mathrm)\s?\{\s*(?:,|;|and|or)\s*\}"
    r"|(?<![A-Za-z])(?:and|or)(?![A-Za-z])|(?<![A-Za-z\\])[A-Za-z](?:_\{?\w{1,3}\}?)?\s?=)*"
)
_NAME_BEFORE = re.compile(r"(?<![A-Za-z\\])([A-Za-z](?:_\{?\w{1,3}\}?)?)\s?=\s?(?:\$|\\\()?\s?\Z")
_MINUS_BEFORE = re.compile(r"(?:[=:(\[,]|\bis|\\\(|\\\[|\$) ?[-−] ?\Z")
_POWER_AFTER = re.compile(r"\s?\^\s?(?:\{(?!\s?\\circ)[^{}]{1,40}\}|[0-9A-Za-z])")
_SIMPLE = re.compile(r"[0-9.,{}\s]*|\\[dt]?frac[{}0-9]*|\\sqrt[{}0-9]*|[A-Za-z]")
_PHRASE = "Final Answer: The final answer is"
_HOPE = "I hope it is correct."
_END = re.compile(r". I hope it is correct.")
_LINE = re.compile(
    r"^[^A-Za-z0-9\n]{0,12}(?:the )?final answer[*_ \t]{0,6}[:：]?[*_ \t]{0,6}(?:is\b[: \t]{0,3})?([^\n]*)$",
    re.IGNORECASE | re.MULTILINE,
)
_NEXT_FORMULA = re.compile(r"\s*(?:\$\$([^$]{1,2000})\$\$|\\\[((?:(?!\\\]).){1,2000})\\\])", re.DOTALL)
_NEXT_LINE = re.compile(r"\s*([^\n]*)")
_FORMULAS = re.compile(r"\$\$?([^$]+)\$\$?|\\\((.+?)\\\)|\\\[(.+?)\\\]")
_BRACKETS = (("\\(", "\\)"), ("\\[", "\\]"))


def boxed(text: str) -> str | None:
    r"""The inside of the last `\boxed{…}`; anywhere a `\boxed 5` goes before, and reaches to the next `$`."""
    _, bare, inside = text.rpartition("\\boxed ")
    if bare:
        return inside.partition("$")[0]
    _, box, inside = text.rpartition("\\boxed")
    return _braced(inside[1:]) if box and inside.startswith("{") else None


@dataclass(frozen=True, slots=True)
class Box:
    """A `\\boxed{…}`: where it starts and ends in its text, its inside, and the name that it is said to be the value
    of."""

    start: int
    end: int
    inside: str
    name: str = ""

    @property
    def named(self) -> str:
        """The inside, with the name where the inside gives none."""
        return f"{self.name} = {self.inside}" if self.name and "=" not in self.inside else self.inside


def boxes(text: str) -> list[Box]:
    r"""The last `\boxed{…}` and those before it that are parts of one list: only commas, "and", "or", names and layout
    stand between them."""
    run: list[Box] = []
    at = text.rfind(_BOX)
    while at >= 0 and len(run) < _MOST_BOXES and (box := _box_at(text, at)):
        between = text[box.end : run[0].start] if run else ""
        if len(between) > _LONGEST_BETWEEN or not _BETWEEN.fullmatch(between):
            break
        if between.strip() and not _SEPARATOR.search(between):
            break
        run.insert(0, box)
        at = text.rfind(_BOX, 0, at)
    return run


def signed(text: str, box: Box) -> str:
    r"""The inside of a box with what stands outside and belongs to it: a minus sign (`x = -\boxed{5}`), a power."""
    inside, after = box.inside, _POWER_AFTER.match(text, box.end)
    if after:
        inside = f"({inside}){after[0].strip()}"
    if _MINUS_BEFORE.search(text, max(0, box.start - 20), box.start):
        return f"-{inside}" if _SIMPLE.fullmatch(inside) else f"-({inside})"
    return inside


def _box_at(text: str, start: int) -> Box | None:
    first = start + len(_BOX)
    inside = _braced(text[first : first + _LONGEST_BOX])
    if inside is None:
        return None
    name = _NAME_BEFORE.search(text, max(0, start - 20), start)
    return Box(start, first + len(inside) + 1, inside, name[1] if name else "")


def _braced(text: str) -> str | None:
    """What stands before the brace that closes one opened before the text."""
    depth = 1
    for brace in _BRACE.finditer(text):
        depth += 1 if brace.group() == "{" else -1
        if depth == 0:
            return text[: brace.start()]
    return None


def phrase(text: str) -> str | None:
    """What the first `Final Answer: The final answer is … . I hope it is correct.` says; the end may be missing, as
    generation stops there."""
    if _PHRASE not in text:
        return None  # of many megabytes of lines each costs
    for line in (text + _HOPE).split("\n"):
        _, start, rest = line.partition(_PHRASE)
        if start and (end := _END.search(rest)):
            return rest[: end.start()].strip()
    return None


def dollars(text: str) -> str | None:
    """What stands between the last two dollar signs, or between the last two pairs where nothing does."""
    pieces = text.rsplit("$", 2)
    if len(pieces) == 3 and not pieces[1]:
        pieces = text.rsplit("$$", 2)
    return pieces[1] if len(pieces) == 3 else None


def formula(text: str) -> str | None:
    r"""The last `$…$`, `$$…$$`, `\(…\)` or `\[…\]`, whichever ends last."""
    closed = [(text.rfind(close), open_) for open_, close in _BRACKETS]
    end, open_ = max(closed)
    inside = dollars(text)
    if inside is not None and text.rfind("$") > end and not any(close in inside for _, close in _BRACKETS):
        return inside
    start = text.rfind(open_, 0, end) if end >= 0 else -1
    return text[start + len(open_) : end] if start >= 0 else inside


def final_line(text: str) -> str | None:
    """What the last line that begins with "Final answer" says, in bold or as a heading; where it says nothing, the next
    line. A line with one formula says that formula."""
    last = None
    for line in _LINE.finditer(text):
        last = line
    if last is None:
        return None
    answer = _plain(last[1])
    if not answer and (displayed := _NEXT_FORMULA.match(text, last.end())):
        return str(displayed[1] or displayed[2]).strip()
    if not answer and (following := _NEXT_LINE.match(text, last.end())):
        answer = _plain(following[1])
    formulas = _FORMULAS.findall(answer[:_LONGEST_LINE])
    if len(formulas) == 1:
        return str(next(filter(None, formulas[0]))).strip()
    return answer or None


_LONGEST_LINE = 1_000


def _plain(line: str) -> str:
    """A line without Markdown's signs around it and its period."""
    return line.strip(" \t\r*_`").removesuffix(".").strip(" \t*_`")

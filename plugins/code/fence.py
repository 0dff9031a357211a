"""Finds the program in a reply. Linear in its length."""

from __future__ import annotations

import ast
import re
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from aftertrain.core.text.answer import answer_block

_FENCE = re.compile(
    r"(?P<before>[ \t]{0,40}(?:(?:>|[-*+](?=[ \t])|[0-9]{1,3}[.)](?=[ \t]))[ \t]{0,12}){0,4})(?P<ticks>`{3,99}|~{3,99})"
    r"(?P<info>[^`]{0,400})"
)
_BEHIND = re.compile(r"(?P<before>)[^`]{1,1000}(?P<ticks>```)(?P<info>(?:python3?|py))[ \t]{0,9}", re.IGNORECASE)
"""A fence behind text on its line, which only a language can open."""
_QUOTE = r"[ \t]{0,12}>[ \t]?"
_INLINE = re.compile(r"(?<!`)```(?:(?:python3?|py)[ \t])?([^`\n]+)```(?!`)")
_PYTHON = re.compile(r"[{.\s]*(?:i?python|py)[0-9.]*(?![0-9A-Za-z])", re.IGNORECASE)
_OUTER = frozenset({"", "markdown", "md", "text", "txt"})
_DEEPER = 3
"""Columns that a closing fence may stand to the right of its opening one (CommonMark); what is deeper is content."""
_TRIES = 8
"""Fences that are tried as the end of a program that holds fences itself."""
_PARSING = threading.Lock()
"""Filters of warnings belong to all threads."""
_LARGEST = 100_000
"""Characters of a program that is parsed to find its end."""


@dataclass(frozen=True, slots=True)
class _Open:
    """A fence that opens a block: at which line, how far in, behind how many marks of quotation."""

    line: int
    width: int
    quotes: int
    ticks: str
    info: str


def blocks(reply: str) -> list[tuple[str, str]]:
    """(language, text) of each fenced block, without the indentation of its fence; one that is not closed ends with the
    reply.

    Fences may be indented, stand in lists or quotations, and hold others: within longer fences, or in a program's
    texts. A single bare fence with text before it closes a block that the prompt has opened.

    >>> blocks("So:\\n1. this\\n   ```python\\n   x = 1\\n   ```\\nDone.")
    [('python', 'x = 1\\n')]
    """
    lines = re.split(r"(?<=\n)", reply)
    fences = [_fence(line.rstrip("\r\n")) for line in lines]
    blocks: list[tuple[str, str]] = []
    number = 0
    while number < len(lines):
        fence = fences[number]
        if fence is None:
            number += 1
            continue
        opened = _opening(number, fence)
        ends = _ends(fences, opened)
        if not ends:
            if not blocks and not opened.info and reply[: reply.find(fence["ticks"])].strip():
                return [("", "".join(lines[:number]))]
            blocks.append((_language(opened), _unclosed(_content(lines[number + 1 :], opened))))
            break
        end = _end(lines, opened, ends)
        text = _content(lines[number + 1 : end], opened)
        again = _opened_again(fences, opened, end)
        if again is not None and not parses(text):
            end, text = again - 1, _content(lines[number + 1 : again], opened)
        blocks.append((_language(opened), text))
        number = end + 1
    return blocks


def program(reply: str, rule: Literal["last_fence", "first_fence", "all"]) -> tuple[str, str]:
    """The program in a reply, and where it was found."""
    if rule == "all":
        return reply, "whole reply"
    fenced = [inner for block in blocks(reply) for inner in _inner(*block)]
    if not fenced and not parses(reply):
        fenced = [("", inline[1]) for inline in _INLINE.finditer(reply)]
    python = [text for language, text in fenced if _PYTHON.match(language)]
    chosen = python or [text for _, text in fenced]
    chosen = [text for text in chosen if text.strip()] or chosen
    if not chosen:
        block = answer_block(reply)
        return (reply, "whole reply") if block is None or not block.strip() else (block.strip("\r\n"), "answer block")
    where = "python block" if python else "block"
    return (chosen[0], f"first {where}") if rule == "first_fence" else (chosen[-1], f"last {where}")


def parses(source: str) -> bool:
    """Whether it is Python; false for what is too long to be parsed just for that."""
    return tree_of(source) is not None


def tree_of(source: str) -> ast.Module | None:
    """The source as a tree; None where it is no Python, or too long."""
    if len(source) > _LARGEST:
        return None
    try:
        with quietly():
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


@contextmanager
def quietly() -> Iterator[None]:
    """Parse without warnings: an odd escape in a program is no concern of whoever scores it."""
    with _PARSING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _fence(line: str) -> re.Match[str] | None:
    if "```" not in line and "~~~" not in line:
        return None
    return _FENCE.fullmatch(line) or _BEHIND.fullmatch(line)


def _opening(number: int, fence: re.Match[str]) -> _Open:
    before = fence["before"]
    width = len(before[before.rfind(">") + 1 :].removeprefix(" ") if ">" in before else before)
    return _Open(number, width, before.count(">"), fence["ticks"], fence["info"].strip())


def _ends(fences: Sequence[re.Match[str] | None], opened: _Open) -> list[int]:
    """Numbers of the lines that may close the block, at most `_TRIES`; a deeper one where there is no other."""
    ends: list[int] = []
    deeper: list[int] = []
    for number in range(opened.line + 1, len(fences)):
        fence = fences[number]
        if fence is None or fence["info"].strip() or not fence["ticks"].startswith(opened.ticks):
            continue
        (ends if _opening(number, fence).width <= opened.width + _DEEPER else deeper).append(number)
        if len(ends) == _TRIES or (ends and not _PYTHON.match(opened.info)):
            break
    return ends or deeper[:1]


def _opened_again(fences: Sequence[re.Match[str] | None], opened: _Open, end: int) -> int | None:
    """The line within a program's block at which another program's begins: the first was not closed."""
    if not _PYTHON.match(opened.info):
        return None
    inside = range(opened.line + 1, end)
    return next((n for n in inside if (fence := fences[n]) is not None and _PYTHON.match(fence["info"])), None)


def _end(lines: Sequence[str], opened: _Open, ends: Sequence[int]) -> int:
    """The first that leaves Python in the block, where some does: a program's texts may hold fences."""
    if len(ends) > 1 and not parses(_content(lines[opened.line + 1 : ends[0]], opened)):
        for end in ends[1:]:
            text = _content(lines[opened.line + 1 : end], opened)
            if len(text) > _LARGEST:
                break
            if parses(text):
                return end
    return ends[0]


def _content(lines: Sequence[str], opened: _Open) -> str:
    """The text of a block: marks of quotation taken off, and of its indentation what all lines have of the fence's."""
    if opened.quotes:
        marks = re.compile(rf"(?:{_QUOTE}){{0,{opened.quotes}}}")
        lines = [marks.sub("", line, count=1) for line in lines]
    if not opened.width:
        return "".join(lines)
    indents = [len(line) - len(line.lstrip(" \t")) for line in lines if line.strip()]
    shared = min([opened.width, *indents])
    text = "".join(_dedented(line, shared) for line in lines)
    if shared < opened.width and not parses(text):
        by_line = "".join(_dedented(line, opened.width) for line in lines)
        return by_line if parses(by_line) else text
    return text


def _unclosed(text: str) -> str:
    """The text of a block that no line closes: up to a mark behind its last line of code, if that leaves Python."""
    head, mark, _ = text.partition("```")
    return head if mark and not parses(text) and parses(head) else text


def _dedented(line: str, width: int) -> str:
    return line[min(width, len(line) - len(line.lstrip(" \t"))) :]


def _language(opened: _Open) -> str:
    return opened.info.split(" ")[0].lower()


def _inner(language: str, text: str) -> list[tuple[str, str]]:
    """The blocks that a block of plain text holds, where one is a program; else the block."""
    inside = blocks(text) if language in _OUTER and ("```" in text or "~~~" in text) else []
    return inside if any(_PYTHON.match(inner) for inner, _ in inside) else [(language, text)]

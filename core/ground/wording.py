"""Numbers in words, and names to tell things apart by."""

from __future__ import annotations

from collections.abc import Sequence


def counted(count: int, noun: str, plural: str = "") -> str:
    """A number and its noun.

    >>> counted(1, "token"), counted(1200, "token"), counted(2, "reply", "replies")
    ('1 token', '1,200 tokens', '2 replies')
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def distinct(names: Sequence[str]) -> list[str]:
    """Names to tell parts apart by: the second `gsm8k` is `gsm8k#2`.

    >>> distinct(["gsm8k", "format", "gsm8k"])
    ['gsm8k', 'format', 'gsm8k#2']
    """
    counts = [names[: place + 1].count(name) for place, name in enumerate(names)]
    return [name if count == 1 else f"{name}#{count}" for name, count in zip(names, counts, strict=True)]


def sides_text(names: Sequence[str], said: Sequence[str]) -> str:
    """What is said of each of several: once where it is the same of all, else with the names.

    >>> sides_text(["A", "B"], ["clean", "clean"]), sides_text(["A", "B"], ["unknown", "clean"])
    ('clean', 'A: unknown; B: clean')
    """
    if len(set(said)) < 2:
        return "".join(said[:1])
    return "; ".join(f"{name}: {text}" for name, text in zip(names, said, strict=True) if text)


def at_temperature(temperature: float | None, before: str = " at temperature ") -> str:
    """How something was sampled, to stand behind its name; nothing where nothing was.

    >>> at_temperature(0.7), at_temperature(0.0, ""), at_temperature(None)
    (' at temperature 0.7', '0', '')
    """
    return "" if temperature is None else f"{before}{temperature:g}"


def identity(fingerprint: str) -> str:
    """A fingerprint as it is shown: what has the same one was asked and scored alike.

    >>> identity("0123456789abcdef")
    '0123456789ab'
    """
    return fingerprint[:12]

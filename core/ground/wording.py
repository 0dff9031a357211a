"""Numbers in words."""

from __future__ import annotations


def counted(count: int, noun: str, plural: str = "") -> str:
    """A number and its noun.

    >>> counted(1, "token"), counted(1200, "token"), counted(2, "reply", "replies")
    ('1 token', '1,200 tokens', '2 replies')
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"

"""Where in a reply the answer stands that was read from it."""

from __future__ import annotations

import re

from markupsafe import Markup, escape


def marked(text: str, answer: str) -> Markup:
    """A text with the last place marked at which the answer that was read from it stands, as far as it stands there.

    >>> marked("4 + 38 = 42, not 142", "42")
    Markup('4 + 38 = <mark>42</mark>, not 142')
    """
    start, end = place_of(text, answer) if answer != text else (0, 0)
    if start == end:
        return escape(text)
    return Markup("{}<mark>{}</mark>{}").format(text[:start], text[start:end], text[end:])


def place_of(text: str, answer: str | None) -> tuple[int, int]:
    """Where an answer stands last as a word, a number's thousands separated or not; (0, 0) where it does not.

    >>> place_of("42, not 142", "42"), place_of("It is 1,234.", "1234"), place_of("no", "42")
    ((0, 2), (6, 11), (0, 0))
    """
    if not answer or not answer.strip():
        return 0, 0
    written = [re.escape(answer)]
    if not answer.strip("-.0123456789"):
        written.append(",?".join(map(re.escape, answer)))
    for form in written:
        if places := [*re.finditer(rf"(?<!\w){form}(?!\w)", text)]:
            return places[-1].span()
    return 0, 0

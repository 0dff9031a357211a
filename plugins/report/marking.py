"""Where in a reply the answer stands that was read from it."""

from __future__ import annotations

import re

from markupsafe import Markup, escape


def marked(text: str, answer: str) -> Markup:
    """A text with the last place marked at which the answer that was read from it stands, as far as it stands there.

    >>> marked("4 + 38 = 42, not 142", "42")
    Markup('4 + 38 = <mark>42</mark>, not 142')
    """
    *_, last = [None, *re.finditer(rf"(?<!\w){re.escape(answer)}(?!\w)", text)] if answer and answer != text else [None]
    if last is None:
        return escape(text)
    return Markup("{}<mark>{}</mark>{}").format(text[: last.start()], answer, text[last.end() :])

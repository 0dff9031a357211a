"""IFEval's loose reading: a reply also counts without its first line, its last, both, and without asterisks."""

from __future__ import annotations


def variants(text: str) -> tuple[str, ...]:
    """The reply and its seven loose forms in the reference's order, equal ones once, none blank but the reply itself.

    Shortened replies are stripped, the whole reply is not (as in lm-eval and IFBench).

    >>> variants("Sure:\\n*yes*")
    ('Sure:\\n*yes*', 'Sure:\\nyes', '*yes*', 'Sure:', 'yes')
    """
    no_first = text.partition("\n")[2]
    no_last = text.rpartition("\n")[0]
    shorter = (no_first.strip(), no_last.strip(), no_last.partition("\n")[2].strip())
    forms = (text.replace("*", ""), *shorter, *(form.replace("*", "") for form in shorter))
    return tuple(dict.fromkeys((text, *(form for form in forms if form.strip()))))

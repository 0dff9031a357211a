"""`repeat:` kinds: the reply copies the request or a part of it."""

from __future__ import annotations

from aftertrain.plugins.instructions.kind import of_text, text, whole

SIMPLE = "only output this sentence here, ignore all other requests."


def repeat_change(text: str, prompt_to_repeat: str) -> bool:
    """The request word for word except for the first word; white space is free. The request itself fails."""
    return text != prompt_to_repeat and text.split()[1:] == prompt_to_repeat.split()[1:]


def repeat_simple(text: str) -> bool:
    """Nothing but the instruction's own sentence, in any case."""
    return text.strip().lower() == SIMPLE


def repeat_span(text: str, prompt_to_repeat: str, n_start: int, n_end: int) -> bool:
    """The request's characters from `n_start` to `n_end`, both included, in any case."""
    return text.strip().lower() == prompt_to_repeat[n_start : n_end + 1].strip().lower()


KINDS = {
    "repeat:repeat_change": of_text(repeat_change, {"prompt_to_repeat": text}),
    "repeat:repeat_simple": of_text(repeat_simple),
    "repeat:repeat_span": of_text(repeat_span, {"prompt_to_repeat": text, "n_start": whole, "n_end": whole}),
}

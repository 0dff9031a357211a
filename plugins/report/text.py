"""Model text made safe to look at: nothing hidden, nothing endless. Escaping for HTML is the template's work."""

from __future__ import annotations

from dataclasses import dataclass

from aftertrain.core.ground.cleaning import visible


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The beginning of a text and how many characters were left out."""

    text: str
    hidden: int = 0


def excerpt(text: str, limit: int) -> Excerpt:
    """The first `limit` characters, made visible."""
    return Excerpt(visible(text[:limit]), max(0, len(text) - limit))

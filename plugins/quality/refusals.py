"""Replies that refuse, and replies that call themselves another model: boilerplate that a data set should not teach.

Refusals are found by words near a reply's beginning (`core.moderation.refusal_words`); the names are those of Tülu 3's
own filter, open-instruct's `scripts/data/filtering_and_updates`, and further ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from aftertrain.core.moderation import refusal_words
from aftertrain.core.operator import Row, Scorer
from aftertrain.plugins.quality.parts import share, texts_of
from aftertrain.plugins.quality.settings import RefusalsSettings


class Refusals(Scorer[RefusalsSettings]):
    """Facts: `refusal`, the share of the assistant's turns that hold words of refusal; `names`, how often another
    assistant or its maker is named in them; `found`, the words."""

    Config = RefusalsSettings
    finds = ("refusal", "names", "found")

    def facts(self, row: Row) -> Mapping[str, Any]:
        """Over the assistant's turns, or the document."""
        replies = texts_of(row, "reply")
        refusals = [words for text in replies if (words := refusal_words(text[: self.settings.looked_at]))]
        names = [hit for text in replies for hit in self._names.findall(text)]
        return {
            "refusal": share(len(refusals), len(replies)),
            "names": len(names),
            "found": list(dict.fromkeys([*refusals, *names])),
        }

    @cached_property
    def _names(self) -> re.Pattern[str]:
        names = sorted(self.settings.names, key=len, reverse=True)
        return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, names))})(?!\w)" if names else "(?!)", re.IGNORECASE)

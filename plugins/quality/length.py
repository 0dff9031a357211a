"""How long a row is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Any

from aftertrain.core.operator import Row, Scorer
from aftertrain.core.records import Record
from aftertrain.plugins.quality.parts import texts_of
from aftertrain.plugins.quality.settings import LengthSettings
from aftertrain.plugins.quality.tokenizers import token_ids, tokenizer_digest, tokenizer_of


class Length(Scorer[LengthSettings]):
    """Facts: `characters`, `words` (between white space), `turns`, and `tokens` where a tokenizer is named."""

    Config = LengthSettings

    def facts(self, row: Row) -> Mapping[str, int]:
        """Sums over the texts; the texts are counted as turns."""
        texts = texts_of(row, self.settings.of)
        found = {
            "characters": sum(map(len, texts)),
            "words": sum(len(text.split()) for text in texts),
            "turns": len(texts),
        }
        if self.settings.tokenizer is not None:
            found["tokens"] = sum(len(token_ids(self._tokenizer, text)) for text in texts)
        return found

    def writes(self, taken: type[Record]) -> Collection[str]:
        """Tokens only where they are counted."""
        return ("characters", "words", "turns", *(("tokens",) if self.settings.tokenizer is not None else ()))

    def fingerprint(self) -> str:
        """Of the tokenizer's files."""
        return "" if self.settings.tokenizer is None else tokenizer_digest(self.settings.tokenizer)

    def check(self) -> None:
        """Read the tokenizer, where one is named."""
        if self.settings.tokenizer is not None:
            tokenizer_of(self.settings.tokenizer)

    @cached_property
    def _tokenizer(self) -> Any:
        return tokenizer_of(self.settings.tokenizer or "")

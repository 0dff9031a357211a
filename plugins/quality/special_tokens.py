"""Special tokens that stand in a row's texts: read as marks, they would end a turn or begin another."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from aftertrain.core.operator import Row, Scorer
from aftertrain.plugins.quality.parts import texts_of
from aftertrain.plugins.quality.settings import SpecialTokensSettings
from aftertrain.plugins.quality.tokenizers import tokenizer_digest, tokenizer_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# What templates write around turns, special token or not: <|user|>, <|im_start|>, [INST], <<SYS>>, <start_of_turn>.
_MARK = re.compile(r"<\|[\w ]+\|>|\[/?[A-Z_]{3,}\]|<</?[A-Z]+>>|<(?:start|end)_of_\w+>|</?s>|<｜[^<>]{1,40}｜>")
_BUILT = re.compile(r"<\|['\"]\s*\+\s*[^+{}]{1,60}\+\s*['\"]\|>")
_ROLES = ("system", "user", "assistant", "tool")


class SpecialTokens(Scorer[SpecialTokensSettings]):
    """Facts: `count`, how often one stands in a text, and `found`, which, in the order of their first place."""

    Config = SpecialTokensSettings
    finds = ("count", "found")

    def facts(self, row: Row) -> Mapping[str, Any]:
        """Over the texts of the part that is looked at."""
        hits = [hit for text in texts_of(row, self.settings.of) for hit in self._pattern.findall(text)]
        return {"count": len(hits), "found": list(dict.fromkeys(hits))}

    def fingerprint(self) -> str:
        """Of the tokenizer and its template."""
        return tokenizer_digest(self.settings.model)

    def check(self) -> None:
        """Read the tokenizer."""
        tokenizer_of(self.settings.model)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        marks = {*special_tokens(tokenizer_of(self.settings.model)), *self.settings.also}
        longest_first = sorted(marks, key=lambda mark: (-len(mark), mark))
        return re.compile("|".join(map(re.escape, longest_first)))


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    """The tokenizer's special tokens, and the marks that its chat template writes, be they special or plain text."""
    special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    special |= set(map(str, tokenizer.all_special_tokens))
    template = tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else ""
    marks = set(_MARK.findall(template))
    if _BUILT.search(template):  # '<|' + message['role'] + '|>'
        marks |= {f"<|{role}|>" for role in _ROLES}
    return {mark for mark in special | marks if mark.strip()}

"""When a reply ends: stop tokens, and stop strings looked for in its last few tokens only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aftertrain.core.endings import end_tokens

MARGIN = 4
"""Tokens looked at beyond the stop string's length, because a special token or a cut character decodes to nothing."""


def stop_token_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Ids that end a reply: the tokenizer's, its chat template's, and all of the model's generation config."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    ids = set(configured if isinstance(configured, list | tuple) else [configured])
    return frozenset(int(i) for i in ids if i is not None) | end_tokens(tokenizer)


class StopStrings:
    """The stop strings of one batch's requests."""

    def __init__(self, tokenizer: Any, stops: Sequence[Sequence[str]]) -> None:
        self._tokenizer = tokenizer
        self._stops = [[stop for stop in row if stop] for row in stops]
        self._window = [max((len(stop.encode()) for stop in row), default=0) + MARGIN for row in self._stops]
        self.any = any(self._stops)

    def ended(self, row: int, token_ids: Sequence[int]) -> bool:
        """Whether the reply so far, whose last token is new, has come to hold one of the row's stop strings.

        Every token that decodes to anything is at least one byte, so the last `len(stop)` of them hold its end.
        """
        if not self._stops[row]:
            return False
        tail = self._decode(token_ids[-self._window[row] :])
        return any(stop in tail for stop in self._stops[row])

    def text(self, row: int, token_ids: Sequence[int]) -> str:
        """The reply's text without special tokens, cut before the first stop string."""
        text = self._decode(token_ids)
        found = [at for stop in self._stops[row] if (at := text.find(stop)) >= 0]
        return text[: min(found)] if found else text

    def _decode(self, token_ids: Sequence[int]) -> str:
        return str(
            self._tokenizer.decode(list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )

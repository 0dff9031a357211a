"""When a reply ends: stop tokens by their ids, and stop strings looked for in its last few tokens only.

Special tokens are seen: a stop string may be one, hold one or stand beside one, whether the tokenizer calls it special
or not. What a reply says is told twice, without special tokens and with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aftertrain.core.text.endings import end_tokens, named_ends

MARGIN = 4
"""Tokens looked at beyond the stop string's length, because a cut character decodes to nothing that counts."""


def stop_token_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Ids that end a reply: the tokenizer's, its chat template's, and all of the model's generation config."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    ids = set(configured if isinstance(configured, list | tuple) else [configured])
    return frozenset(int(i) for i in ids if i is not None) | end_tokens(tokenizer)


def folder_stop_ids(folder: str, tokenizer: Any) -> frozenset[int]:
    """The same of a model that is not loaded, by its files.

    Raises:
        ModelError: a file cannot be read.
    """
    return frozenset(named_ends(folder)) | end_tokens(tokenizer)


def special_token_ids(tokenizer: Any) -> frozenset[int]:
    """Ids that `decode` leaves out where it skips special tokens: named ones, and added ones marked as special."""
    marked = (i for i, token in tokenizer.added_tokens_decoder.items() if token.special)
    return frozenset(tokenizer.all_special_ids) | frozenset(marked)


class StopStrings:
    """The stop strings of one batch's requests.

    Args:
        end_ids: token ids that end every reply; they are no part of its text.
    """

    def __init__(self, tokenizer: Any, stops: Sequence[Sequence[str]], end_ids: frozenset[int] = frozenset()) -> None:
        self._tokenizer = tokenizer
        self._special = special_token_ids(tokenizer)
        added = tokenizer.get_added_vocab()
        self._stops = [tuple(row) for row in stops]
        self._ends = [end_ids | {added[stop] for stop in row if stop in added} for row in self._stops]
        self._window = [max((len(stop.encode()) for stop in row), default=0) + MARGIN for row in self._stops]
        self.any = any(self._stops)

    def ended(self, row: int, token_ids: Sequence[int]) -> bool:
        """Whether the reply so far, whose last token is new, has come to hold one of the row's stop strings.

        A stop string that is a token ends a reply by its id too, however the tokenizer decodes it. Every token that
        decodes to anything is at least one byte, so the last `len(stop)` of them hold a string's end.
        """
        if not self._stops[row]:
            return False
        if token_ids[-1] in self._ends[row]:
            return True
        tail = self._decode(token_ids[-self._window[row] :], special=True)
        return any(stop in tail for stop in self._stops[row])

    def texts(self, row: int, token_ids: Sequence[int]) -> tuple[str, str | None]:
        """What a finished reply says: without special tokens, and with them where that differs.

        Both end before the end token or the first stop string. Of a special token that is cut within, as by the stop
        string `user|>` in `<|user|>`, the beginning is left to the second only.
        """
        spoken = token_ids[:-1] if token_ids and token_ids[-1] in self._ends[row] else token_ids
        text = self._decode(spoken, special=False)
        with_special = self._decode(spoken, special=True) if self._special.intersection(spoken) else text
        end = min((at for stop in self._stops[row] if (at := with_special.find(stop)) >= 0), default=None)
        if end is not None:
            text = text[:end] if with_special == text else self._without_special(spoken, with_special, end)
            with_special = with_special[:end]
        return text, None if with_special == text else with_special

    def _without_special(self, token_ids: Sequence[int], with_special: str, end: int) -> str:
        """`with_special[:end]`, which the tokens decode to with special ones, without these."""
        for n_kept in range(len(token_ids), 0, -1):
            before = self._decode(token_ids[:n_kept], special=True)
            if len(before) <= end and with_special.startswith(before):
                break
        else:
            n_kept, before = 0, ""
        cut = n_kept < len(token_ids) and token_ids[n_kept] not in self._special
        return self._decode(token_ids[:n_kept], special=False) + (with_special[len(before) : end] if cut else "")

    def _decode(self, token_ids: Sequence[int], *, special: bool) -> str:
        return str(
            self._tokenizer.decode(list(token_ids), skip_special_tokens=not special, clean_up_tokenization_spaces=False)
        )

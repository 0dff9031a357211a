"""How alike two texts are: BERTScore by a given encoder, or ROUGE-L, which needs none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.core.run.base_model import find_model

if TYPE_CHECKING:
    from torch import Tensor

AT_ONCE = 16
LARGE, LARGE_LAYER = 24, 17
"""The layer that the reference takes of roberta-large, which has 24."""
_NO_WORD = re.compile(r"[^a-z0-9]+")


class BertScore:
    """BERTScore's F-score (Zhang et al. 2020): each token is matched with the likest of the other text, by cosine.

    As the reference computes it for English without rescaling: every token weighs the same but those that the
    tokenizer puts around a text, which others may match and which do not count themselves.

    Args:
        model: folder or hub name of an encoder.
        layer: whose hidden states are compared; None takes 17 of an encoder of 24 layers, else the last.
    """

    def __init__(self, model: str, layer: int | None) -> None:
        self._name, self._layer = model, layer
        self._loaded: tuple[Any, Any] | None = None

    def preflight(self) -> None:
        """Find the encoder.

        Raises:
            ModelError: there is none.
        """
        find_model(self._name, Path.cwd())

    def f1(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """F-score of each (text, reference); 0 where one of them has no token."""
        texts = [text.strip() for text in dict.fromkeys(text for pair in pairs for text in pair)]
        vectors: dict[str, Tensor] = {}
        for start in range(0, len(texts), AT_ONCE):
            vectors |= self._encoded(texts[start : start + AT_ONCE])
        return [matched_f1(*vectors[text.strip()], *vectors[reference.strip()]) for text, reference in pairs]

    def _encoded(self, texts: Sequence[str]) -> dict[str, Any]:
        """By text: unit vectors of its tokens, and which of them count."""
        import torch

        tokenizer, model = self._model()
        found: dict[str, Any] = {}
        longest = min(int(tokenizer.model_max_length), int(model.config.max_position_embeddings) - 2)
        batch = tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=longest,
            return_special_tokens_mask=True,
            return_tensors="pt",
        )
        special = batch.pop("special_tokens_mask").bool()
        with torch.no_grad():
            states = model(**batch, output_hidden_states=True).hidden_states[self._place(model)]
        unit = torch.nn.functional.normalize(states.double(), dim=-1)
        for row, text in enumerate(texts):
            there = batch["attention_mask"][row].bool()
            found[text] = unit[row][there], ~special[row][there]
        return found

    def _place(self, model: Any) -> int:
        layers = int(model.config.num_hidden_layers)
        if self._layer is not None:
            return min(self._layer, layers)
        return LARGE_LAYER if layers == LARGE else layers

    def _model(self) -> tuple[Any, Any]:
        if self._loaded is None:
            from transformers import AutoModel, AutoTokenizer

            folder = str(find_model(self._name, Path.cwd()))
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            model = AutoModel.from_pretrained(folder, trust_remote_code=False).eval()
            self._loaded = tokenizer, model
        return self._loaded


def matched_f1(text: Tensor, counts: Tensor, reference: Tensor, reference_counts: Tensor) -> float:
    """Precision over the text's tokens, recall over the reference's, and their harmonic mean; 0 where one is 0 or less.

    Args:
        text: unit vectors of all its tokens, [tokens, width]; `counts` says which of them count.
        reference: likewise.
    """
    if not bool(counts.any()) or not bool(reference_counts.any()):
        return 0.0
    alike = text @ reference.T
    precision = float(alike.max(1).values[counts].mean())
    recall = float(alike.max(0).values[reference_counts].mean())
    return 2 * precision * recall / (precision + recall) if min(precision, recall) > 0 else 0.0


def rouge_l(text: str, reference: str) -> float:
    """ROUGE-L's F-score (Lin 2004) over words of letters a to z and digits, unstemmed, as rouge-score computes it.

    >>> round(rouge_l("the cat sat", "The cat, on the mat, sat."), 3)
    0.667
    """
    mine, theirs = words(text), words(reference)
    if not mine or not theirs:
        return 0.0
    common = common_length(mine, theirs)
    return 2 * common / (len(mine) + len(theirs))


def words(text: str) -> list[str]:
    """Lower-case words."""
    return [word for word in _NO_WORD.split(text.lower()) if word]


def common_length(mine: Sequence[str], theirs: Sequence[str]) -> int:
    """Length of the longest common subsequence, a word of the longer text at a time (Hyyrö 2004).

    >>> common_length("abcbdab", "bdcaba")
    4
    """
    if len(mine) < len(theirs):
        mine, theirs = theirs, mine
    places: dict[str, int] = {}
    for place, word in enumerate(theirs):
        places[word] = places.get(word, 0) | 1 << place
    every = (1 << len(theirs)) - 1
    left = every  # a bit is 0 where the subsequence grows
    for word in mine:
        if found := left & places.get(word, 0):
            left = ((left + found) | (left - found)) & every
    return len(theirs) - left.bit_count()

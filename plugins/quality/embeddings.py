"""How diverse texts are by a model's states: mean pooling, mean cosine distance, and the Vendi score."""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aftertrain.core.asking.prompting import clean
from aftertrain.core.errors import ModelError, NumericsError
from aftertrain.core.ground.memory import memory_refusal
from aftertrain.core.ground.model_folder import check_weights, context_window, read_config
from aftertrain.core.ground.quiet import quiet
from aftertrain.core.run.base_model import find_model, model_digest
from aftertrain.core.text.chat import UnusableRow, encode
from aftertrain.core.text.tokenizer_files import read_tokenizer
from aftertrain.plugins.quality.diversity_settings import EmbeddingsSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHARACTERS = 32
"""Of a text that are kept for each token that is read: more than most tokenizers need, so that a
text may be cut before `max_tokens` only where nearly every token is longer than that, as of white space in a row."""


class TextSample:
    """Texts of the rows with the least hashes of their ids: the same whatever their order."""

    def __init__(self, rows: int, characters: int) -> None:
        self._rows, self._characters = rows, characters
        self._heap: list[tuple[int, str, str]] = []

    def add(self, id: str, text: str) -> None:
        """A row's text; one without any is passed over."""
        if not text.strip():
            return
        data = hashlib.blake2b(id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        entry = -int.from_bytes(data, "big"), id, text[: self._characters]
        push = heapq.heappush if len(self._heap) < self._rows else heapq.heappushpop
        push(self._heap, entry)

    def texts(self) -> list[str]:
        """In the order of the hashes."""
        return [text for _, _, text in sorted(self._heap, reverse=True)]


class Embeddings:
    """A model that reads texts, one by one, so that a text's vector depends on no other; held only while it reads."""

    def __init__(self, settings: EmbeddingsSettings) -> None:
        self._settings = settings

    def check(self) -> None:
        """Find the model.

        Raises:
            ModelError: there is none, it has no tokenizer, or it both encodes and decodes.
        """
        check_weights(self._folder, needed=True)
        if getattr(read_config(self._folder), "is_encoder_decoder", False):
            raise ModelError(f"{self._folder}: a model that encodes and decodes; name an encoder or a language model")
        _ = self._tokenizer

    def digest(self) -> str:
        """SHA-256 of the model's files."""
        return model_digest(self._folder)

    def figures(self, texts: Sequence[str]) -> dict[str, Any]:
        """`embedded` rows, their `embedding_distance`, `vendi` and `vendi_balance`, which is None of fewer
        than two; to four digits, for floating-point sums differ between machines."""
        vectors = self.vectors(texts)
        score = vendi(vectors)
        balance = math.log(score) / math.log(len(vectors)) if len(vectors) > 1 else None
        distance = mean_distance(vectors)
        return {
            "embedded": len(vectors),
            "embedding_distance": None if distance is None else round(distance, 4),
            "vendi": round(score, 4),
            "vendi_balance": None if balance is None else round(balance, 4),
        }

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Of each text the mean of the last hidden states of its tokens, as a unit vector, `[texts, width]`.

        Raises:
            NumericsError: one is not finite, or zero.
        """
        import torch

        window = context_window(self._folder)
        # RoBERTa's positions begin at 2.
        most = self._settings.max_tokens if window is None else min(self._settings.max_tokens, window - 2)
        read = [ids for text in texts if (ids := self._ids(text)[:most])]
        if not read:
            return np.zeros((0, 1))
        model, found = self._loaded(), []
        for ids in read:
            with torch.no_grad():
                states = model(input_ids=torch.tensor([ids], device=model.device)).last_hidden_state[0]
            found.append(states.double().mean(0).cpu().numpy())
        vectors = np.stack(found)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.isfinite(lengths).all() or not lengths.all():
            raise NumericsError(
                f"an embedding by {self._settings.model} is not finite, or zero: are its weights whole?"
            )
        unit: NDArray[np.float64] = vectors / lengths
        return unit

    def _ids(self, text: str) -> list[int]:
        """None of characters that the tokenizer has no token for."""
        try:
            return encode(self._tokenizer, clean(text), special=True)
        except UnusableRow:
            return []

    @cached_property
    def _folder(self) -> Path:
        return find_model(self._settings.model, Path.cwd())

    @cached_property
    def _tokenizer(self) -> Any:
        return read_tokenizer(str(self._folder))

    def _loaded(self) -> Any:
        import torch
        from transformers import AutoModel

        from aftertrain.core.packed.model import device_of

        try:
            with quiet():
                model = AutoModel.from_pretrained(
                    self._folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
                )
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # a family's code may raise anything on sizes that do not fit together
            if memory_refusal(error):
                raise
            raise ModelError(f"{self._folder}: cannot load a model: {error}") from error
        return model.eval().to(device_of("auto", 0))


def mean_distance(vectors: NDArray[np.float64]) -> float | None:
    """Mean cosine distance 1 − xᵢ·xⱼ over all pairs i < j of unit vectors; None of fewer than two.

    Σ_{i<j} xᵢ·xⱼ = (‖Σ xᵢ‖² − n)/2, so that no pair is looked at.

    >>> mean_distance(np.eye(3)), mean_distance(np.eye(1))
    (1.0, None)
    """
    n = len(vectors)
    if n < 2:
        return None
    total = vectors.sum(axis=0)
    return float(1 - (total @ total - n) / (n * (n - 1)))


def vendi(vectors: NDArray[np.float64]) -> float:
    """VS = exp(−Σ λᵢ log λᵢ), λ the eigenvalues of K/n, Kᵢⱼ = xᵢ·xⱼ of n unit vectors: how many there are in effect,
    1 where all are one and n where each is at right angles to all others (Friedman and Dieng 2023, arXiv 2210.02410).

    The smaller of XXᵀ/n and XᵀX/n is taken, whose eigenvalues other than 0 are the same.

    >>> round(vendi(np.eye(4)), 6), round(vendi(np.ones((3, 1))), 6)
    (4.0, 1.0)
    """
    n = len(vectors)
    if n == 0:
        return 0.0
    gram = vectors @ vectors.T if n <= vectors.shape[1] else vectors.T @ vectors
    eigenvalues = np.linalg.eigvalsh(gram / n)
    shares = eigenvalues[eigenvalues > 1e-12]
    return float(np.exp(-(shares * np.log(shares)).sum()))

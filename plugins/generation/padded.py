"""Decoding with the library's own cache: prompts left-padded, one forward a token; for any causal model.

For families that `flat` cannot serve: a state instead of keys (Mamba), windows, attention of their own. Rows enter only
where none is left, each distinct prompt is computed once, and finished rows leave.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import CacheLayerMixin

from aftertrain.core.packed.tree import common
from aftertrain.plugins.generation.cache import RoomyLayer, roomy_cache, select_rows
from aftertrain.plugins.generation.flat import COMPACT_AT, WORTH_SHARING, Tokens

FOLLOWING = ("longrope", "dynamic")
"""Rotary frequencies that follow the longest position of a forward."""


class PaddedNetwork:
    """Rows of one model that enter together, take a token each and leave."""

    joins = False

    def __init__(self, model: Any) -> None:
        self._model = model
        self._cache: Any = None
        self._mask = torch.empty(0)
        self._positions = torch.empty(0)
        self._live: list[int] = []
        self._used = 0

    def begin(self, prompts: Sequence[Tokens]) -> None:
        """Nothing is shared by rows that do not enter together."""

    def cost(self, prompts: Sequence[Tokens], limits: Sequence[int]) -> int:
        """Tokens of keys and values that rows of these prompts need at most, padding among them.

        One row alone where rotary frequencies follow the longest position of all rows: beside others it would make
        their replies other ones.
        """
        longest = max(len(prompt) + limit for prompt, limit in zip(prompts, limits, strict=True))
        if len(prompts) > 1 and longest > self._steady:
            return sys.maxsize
        return len(prompts) * (max(map(len, prompts)) + max(limits))

    def admit(self, prompts: Sequence[Tokens], limits: Sequence[int]) -> Tensor:
        """Begin with a row for each prompt; logits `[rows, vocabulary]` of their first tokens."""
        assert not self._live, "rows enter together"
        device, steps = self._model.device, max(limits)
        nodes = {prompt: node for node, prompt in enumerate(dict.fromkeys(prompts))}
        distinct = list(nodes)
        begun = self._begun(distinct)
        ids, mask = left_padded([prompt[begun:] for prompt in distinct], begun, steps, device)
        self._used = width = begun + ids.shape[1]
        positions = (mask[:, :width].cumsum(-1) - 1).clamp(min=0)[:, begun:]
        self._cache = roomy_cache(self._model.config, width + steps)
        if begun:
            first = torch.tensor([distinct[0][:begun]], device=device)
            self._forward(first, mask[:1, :begun], None)
            select_rows(self._cache, torch.zeros(len(distinct), dtype=torch.int64, device=device))
        logits = self._forward(ids, mask[:, :width], positions)
        self._mask, self._positions = mask, positions[:, -1:] + 1
        if len(distinct) < len(prompts):
            index = torch.tensor([nodes[prompt] for prompt in prompts], device=device)
            self._select(index)
            logits = logits[index]
        self._live = list(range(len(prompts)))
        return logits

    def step(self, tokens: Tensor) -> Tensor:
        """Take the next token of each row, int64 `[rows]`; logits `[rows, vocabulary]` of the one after."""
        self._used += 1
        live = torch.tensor(self._live, device=tokens.device)
        ids = tokens.new_zeros(len(self._mask), 1).index_copy_(0, live, tokens.unsqueeze(1))
        logits = self._forward(ids, self._mask[:, : self._used], self._positions)
        self._positions = self._positions + 1
        return logits if len(self._live) == len(logits) else logits[live]

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these, ascending."""
        self._live = [self._live[row] for row in rows]
        if not self._live:
            self._cache = None
        elif len(self._live) <= COMPACT_AT * len(self._mask):
            self._select(torch.tensor(self._live, device=self._mask.device))
            self._live = list(range(len(rows)))

    def _select(self, index: Tensor) -> None:
        """Make these the rows of cache, mask and positions."""
        select_rows(self._cache, index)
        self._mask, self._positions = self._mask[index], self._positions[index]

    def _begun(self, prompts: Sequence[Tokens]) -> int:
        """Tokens with which all prompts begin and that are computed once for all; 0 where that is not worth it.

        What differs is padded behind them. Layers that see only so many slots back would then see less of them, so a
        model that has such layers computes every prompt whole, as does one that takes no positions, or whose rotary
        frequencies are those of the longest position of a forward.
        """
        if len(prompts) == 1 or not (splits(self._model) and "position_ids" in self._accepted):
            return 0
        begun = min(common(min(prompts), max(prompts)), min(map(len, prompts)) - 1)
        return begun if begun >= WORTH_SHARING else 0

    @cached_property
    def _steady(self) -> float:
        """Tokens up to which rotary frequencies do not depend on how many there are."""
        config = self._model.config.get_text_config()
        rope = getattr(config, "rope_parameters", None) or {}
        if rope.get("rope_type") not in FOLLOWING:
            return math.inf
        return float(rope.get("original_max_position_embeddings") or config.max_position_embeddings)

    @cached_property
    def _accepted(self) -> frozenset[str]:
        """What the model's forward takes."""
        return frozenset(inspect.signature(self._model.forward).parameters)

    @cached_property
    def _attends(self) -> bool:
        """Whether any layer keeps tokens, not only a state of all before (Mamba)."""
        layers = roomy_cache(self._model.config, 1).layers
        return not layers or any(isinstance(layer, CacheLayerMixin) for layer in layers)

    def _forward(self, ids: Tensor, mask: Tensor | None, positions: Tensor | None) -> Tensor:
        """Logits `[rows, vocabulary]` of the token after the last."""
        if mask is not None and not self._attends and mask.shape[1] > ids.shape[1]:
            mask = None  # such a family takes a mask to be of the new tokens, none of which is padding
        # transformers 5.24 calls `cache` what it called `past_key_values` before.
        holder = "cache" if "cache" in self._accepted else "past_key_values"
        optional = {"position_ids": positions, "logits_to_keep": 1}
        taken = {name: value for name, value in optional.items() if name in self._accepted and value is not None}
        output = self._model(input_ids=ids, attention_mask=mask, use_cache=True, **taken, **{holder: self._cache})
        logits: Tensor = output.logits[:, -1]
        return logits


def splits(model: Any) -> bool:
    """Whether tokens may stand anywhere among others: told positions alone decide, and layers see all before."""
    config = model.config.get_text_config()
    if "local" in (getattr(config, "attention_layers", None) or ()):
        return False  # GPT-Neo's windows are in its layers alone: the cache does not know of them
    if (getattr(config, "rope_parameters", None) or {}).get("rope_type") in FOLLOWING:
        return False
    layers = roomy_cache(config, 1).layers
    return bool(layers) and all(isinstance(layer, RoomyLayer) for layer in layers)


def left_padded(
    endings: Sequence[Sequence[int]], begun: int, steps: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Ids `[rows, longest]` of what prompts do not share, and the mask `[rows, begun + longest + steps]` of it all."""
    longest = max(map(len, endings))
    ids = torch.zeros(len(endings), longest, dtype=torch.int64)
    mask = torch.ones(len(endings), begun + longest + steps, dtype=torch.int64)
    for row, ending in enumerate(endings):
        padding = longest - len(ending)
        ids[row, padding:] = torch.tensor(ending)
        mask[row, begun : begun + padding] = 0
    return ids.to(device), mask.to(device)

"""A KV cache that writes into room made beforehand, instead of copying all it holds for every token."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer


def roomy_cache(config: Any, room: int) -> DynamicCache:
    """A cache for a model's `config` with room for `room` tokens a row; sliding-window layers stay the library's."""
    cache = DynamicCache(config=config)
    cache.layers = [RoomyLayer(room) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def select_rows(cache: Any, index: Tensor) -> None:
    """Make the rows `index` of a cache its rows; one may come several times."""
    for layer in cache.layers:
        # Layers that keep a state instead of tokens have but the method for beams.
        select = getattr(layer, "batch_select_indices", None) or layer.reorder_cache
        select(index)


class RoomyLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values `[rows, heads, tokens, dim]` as views of larger buffers."""

    def __init__(self, room: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.room = room
        self.used = 0
        self.buffers: tuple[Tensor, ...] = ()

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append the new tokens' states; returns all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.buffers = tuple(
                states.new_empty(*states.shape[:2], self.room, states.shape[3]) for states in (key_states, value_states)
            )
        start, self.used = self.used, self.used + key_states.shape[-2]
        for buffer, states in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[:, :, start : self.used] = states
        return self._view()

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only these rows."""
        if self.used:
            self.buffers = tuple(buffer.index_select(0, indices) for buffer in self.buffers)
            self._view()

    def _view(self) -> tuple[Tensor, Tensor]:
        keys, values = (buffer[:, :, : self.used] for buffer in self.buffers)
        self.keys, self.values = keys, values
        return keys, values

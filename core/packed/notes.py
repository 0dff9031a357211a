"""Notes in place of tensors: what is cheap is made again in the backward pass, to the same bits.

Autograd keeps what an operation's gradient reads. Much of it is one or two elementwise operations away from tensors
that are kept anyway. `noted` says so of a tensor; while a `notebook` is open, autograd keeps the note instead. Nothing
else changes: the same operations run on the same numbers, so that gradients are equal to the last bit.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor

Make = Callable[..., Tensor]


class _Note:
    """How to make a tensor: an operation and its inputs, under the autocast of the forward pass."""

    __slots__ = ("_autocast", "_owner", "_shape", "_strides", "_version", "_versions", "inputs", "make")

    def __init__(self, owner: weakref.ref[Tensor], result: Tensor, make: Make, inputs: tuple[Tensor, ...]) -> None:
        kind = result.device.type
        self._owner, self._version = owner, result._version
        self._shape, self._strides = result.shape, result.stride()
        self.make, self.inputs = make, tuple(tensor.detach() for tensor in inputs)
        self._versions = [tensor._version for tensor in inputs]
        self._autocast = (kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind))

    @property
    def holds(self) -> bool:
        """Whether the tensor is what it was when the note was made."""
        owner = self._owner()
        return owner is not None and owner._version == self._version

    def of(self, tensor: Tensor) -> bool:
        """Whether the note is of this very tensor, not of another view of its memory."""
        return self._owner() is tensor

    def again(self) -> Tensor:
        if [tensor._version for tensor in self.inputs] != self._versions:
            raise RuntimeError("a tensor that the backward pass reads was overwritten after the forward pass")
        kind, dtype, enabled = self._autocast
        with torch.no_grad(), torch.autocast(kind, dtype, enabled=enabled):
            tensor = self.make(*self.inputs)
        if tensor.stride() != self._strides:
            laid = torch.empty_strided(self._shape, self._strides, dtype=tensor.dtype, device=tensor.device)
            tensor = laid.copy_(tensor)
        return tensor


@dataclass(frozen=True, slots=True)
class _View:
    """What is kept for a tensor that shares the memory of a noted one."""

    note: _Note
    shape: torch.Size
    strides: tuple[int, ...]
    offset: int | torch.SymInt


_open: ContextVar[dict[int, _Note] | None] = ContextVar("notes", default=None)


def noted(result: Tensor, make: Make, *inputs: Tensor) -> Tensor:
    """`result`, of which autograd shall keep the note that `make(*inputs)` is the same tensor.

    Nothing happens without an open notebook. The result has memory of its own, starting with its first number.

    Args:
        make: the operations that made `result`; run without gradient.
        inputs: tensors that autograd keeps in any case, or small ones; never overwritten before the backward pass.
    """
    notes = _open.get()
    if notes is not None and result.requires_grad:
        at = result.untyped_storage().data_ptr()

        def forget(gone: weakref.ref[Tensor]) -> None:
            notes.pop(at, None)

        notes[at] = _Note(weakref.ref(result, forget), result, make, inputs)
    return result


def narrowed(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """`tensor` in another dtype, noted if the tensor is."""
    result = tensor.to(dtype)
    note = (_open.get() or {}).get(tensor.untyped_storage().data_ptr())
    if note is None or not note.holds or not note.of(tensor) or result is tensor:
        return result
    return noted(result, lambda *inputs: note.make(*inputs).to(dtype), *note.inputs)


@contextmanager
def notebook(seen: Callable[[Tensor], None] = lambda tensor: None) -> Iterator[None]:
    """While it is open, autograd keeps the notes of noted tensors; they go with the graph.

    Args:
        seen: told of each tensor that is kept, by autograd or by a note.
    """
    notes: dict[int, _Note] = {}

    def keep(tensor: Tensor) -> Tensor | _View:
        note = notes.get(tensor.untyped_storage().data_ptr())
        if note is not None and note.holds:
            for source in note.inputs:
                seen(source)
            return _View(note, tensor.shape, tensor.stride(), tensor.storage_offset())
        seen(tensor)
        # A leaf goes as it is: an engine may swap its data (ZeRO). Another, kept with its graph, would keep itself.
        return tensor if tensor.is_leaf else tensor.detach()

    def give(kept: Tensor | _View) -> Tensor:
        if isinstance(kept, Tensor):
            return kept
        return kept.note.again().as_strided(kept.shape, kept.strides, kept.offset)

    token = _open.set(notes)
    try:
        with torch.autograd.graph.saved_tensors_hooks(keep, give):
            yield
    finally:
        _open.reset(token)

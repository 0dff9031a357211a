"""What a stage has saved, held against what it has in memory, before it says that it is done.

Three looks at the folder, none of them by the engine that wrote it: plain transformers finds a weight for every name
and a name for every weight; each tensor in each file has the bits of the engine's; and, where a second copy fits into
the free memory, transformers' own model of the folder has these weights and scores some of the stage's rows alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aftertrain.core.engine import Engine, Head
from aftertrain.core.errors import ModelError, NumericsError
from aftertrain.core.events import Saved
from aftertrain.core.ground.memory import free_bytes
from aftertrain.core.learning.saved_copy import Reader, file_names, optional, plain_scores, tensors
from aftertrain.core.learning.step import listed
from aftertrain.core.packed.packing import Segment, collate

ROWS, TOKENS = 4, 256
"""Rows, and tokens of them together, that are scored by what was saved; longer rows are cut."""
WORK = 2e12
"""Weights times tokens that are not too many for a CPU at the end of a stage: some 40 s for 8 B weights."""
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1}
"""Largest mean difference per token, by what was saved, as a share of the mean size of a score or of 1 if that is more.
In bfloat16 the engine has the weights from before they were rounded. The bits are compared apart from this."""
COPY = 1.2
"""Memory of a second copy and of a forward pass of some rows, as a multiple of the copy's float32 weights."""


def save_checked(engine: Engine[Any], folder: Path, *, head: Head, base: str, rows: Iterable[Sequence[int]]) -> Saved:
    """Save the engine's model and check what was written. Every rank calls it.

    Args:
        base: folder of the model that the engine was loaded from, onto which adapters are put.
        rows: token ids of some of the stage's rows, the same on every rank.

    Raises:
        ModelError: the folder is not what is in memory; names what differs.
        NumericsError: a weight is NaN or infinite.
    """
    engine.save_model(folder)
    few = _few(rows)
    state = _gathered(engine)
    own = _own_scores(engine, head, few)
    saved: Saved | None = None
    fault: ModelError | NumericsError | None = None
    if engine.ranks.first:
        reader = Reader(folder, head, base if engine.saves == "adapter" else None)
        try:
            saved = _checked(reader, state, few, own)
        except (ModelError, NumericsError) as error:
            fault = error
    saved, fault = engine.ranks.share((saved, fault), "the check of the saved model")
    if fault is not None:
        raise fault
    assert saved is not None
    return saved


def _checked(reader: Reader, state: Mapping[str, Tensor], few: Sequence[Sequence[int]], own: Tensor | None) -> Saved:
    """Rank 0's looks at the folder.

    Args:
        state: what the engine has, by its names.
        own: its scores of `few`; None if there are none.
    """
    folder = reader.folder
    if broken := [name for name, tensor in state.items() if not bool(torch.isfinite(tensor).all())]:
        raise NumericsError(
            f"{folder}: the model in memory has weights that are NaN or infinite: {listed(broken)}; lower the learning "
            "rate and run the stage again: it goes on from its last checkpoint"
        )
    model, odd = reader.named()
    if odd:
        raise ModelError(
            f"{folder}: what was saved is not the trained model: plain transformers finds weights {'; '.join(odd)}. "
            "The stage is not done and its checkpoints are kept; report this with the model's config.json"
        )
    expected = dict(state) if reader.base is not None else file_names(model, state)
    written, dtype, files = _same_bits(folder, expected, optional(model) if reader.base is None else set())
    saved = Saved(
        kind="model" if reader.base is None else "adapter",
        names=len(model.state_dict()) if reader.base is None else len(state),
        tensors=len(written),
        dtype=dtype,
        files=files,
    )
    return _compared(saved, reader, state, few, own, sum(weight.numel() for weight in model.parameters()))


def _same_bits(
    folder: Path, expected: Mapping[str, Tensor], may_lack: set[str]
) -> tuple[set[str], str, tuple[str, ...]]:
    """Compare each tensor in the files with the engine's, cast as the file's is; names, dtype and files.

    Raises:
        ModelError: they differ.
    """
    written: set[str] = set()
    files: dict[str, None] = {}
    dtypes: dict[str, None] = {}
    odd = []
    for file, name, tensor in tensors(folder):
        files[file] = None
        written.add(name)
        own = expected.get(name)
        if own is None:
            odd.append(f"{name} in {file} is nothing that the engine has")
            continue
        if tensor.is_floating_point():
            dtypes[str(tensor.dtype).removeprefix("torch.")] = None
        if own.shape != tensor.shape or not torch.equal(own.detach().cpu().to(tensor.dtype), tensor):
            odd.append(f"{name} in {file} has other bits than the engine's")
    odd += [f"{name} is in no file" for name in expected if name not in written and name not in may_lack]
    if odd:
        raise ModelError(
            f"{folder}: what was saved is not the trained model: {listed(odd)}. The stage is not done and its "
            "checkpoints are kept"
        )
    return written, ", ".join(dtypes), tuple(files)


def _compared(  # noqa: PLR0917  what is compared
    saved: Saved,
    reader: Reader,
    state: Mapping[str, Tensor],
    few: Sequence[Sequence[int]],
    own: Tensor | None,
    weights: int,
) -> Saved:
    """Load a second copy where it fits, and hold its weights and scores against the engine's."""
    tokens = sum(map(len, few))
    if own is None:
        return replace(saved, left_out="the stage has no rows at hand")
    device, free = _roomiest(own.device)
    wanted = int(4 * weights * COPY)
    if free < wanted:
        return replace(saved, left_out=f"a second copy takes {wanted / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free")
    if device.type == "cpu" and weights * tokens > WORK:
        return replace(saved, left_out=f"{tokens} tokens through {weights:,} weights take a CPU too long")
    copy = reader.copy(device)
    if reader.base is None:
        held = copy.state_dict()
        dtypes = [getattr(torch, name) for name in saved.dtype.split(", ")]
        if apart := [name for name, tensor in state.items() if not _held(held.get(name), tensor, dtypes)]:
            raise ModelError(
                f"{reader.folder}: what was saved is not the trained model: plain transformers reads other weights "
                f"for {listed(apart)}. The stage is not done and its checkpoints are kept"
            )
    theirs, ours = plain_scores(copy, reader.head, few), own.cpu()
    if not bool(ours.isfinite().all()):
        raise NumericsError(
            f"{reader.folder}: the trained model's own scores of {len(few)} of the stage's rows are NaN or infinite "
            "though its weights are not; lower the learning rate and run the stage again with --restart"
        )
    size = max(1.0, float(ours.abs().mean()))
    difference = float((theirs - ours).abs().mean()) / size
    tolerance = TOLERANCE["float32" if saved.dtype == "float32" else "bfloat16"]
    if not difference <= tolerance:
        raise ModelError(
            f"{reader.folder}: what was saved is not the trained model: plain transformers scores {len(few)} of the "
            f"stage's rows ({tokens} tokens) {difference:.2g} away from the engine on average (at most {tolerance} is "
            "allowed) though the weights are the same, so that its configuration is another. The stage is not done "
            "and its checkpoints are kept"
        )
    return replace(saved, rows=len(few), tokens=tokens, difference=difference, tolerance=tolerance)


def _held(theirs: Tensor | None, ours: Tensor, dtypes: Sequence[torch.dtype]) -> bool:
    """Whether a second copy has a weight as it was rounded to one of the files' dtypes."""
    if theirs is None or theirs.shape != ours.shape:
        return False
    theirs, ours = theirs.cpu(), ours.detach().cpu()
    return any(torch.equal(ours.to(dtype).to(theirs.dtype), theirs) for dtype in (*dtypes, theirs.dtype))


def _gathered(engine: Engine[Any]) -> dict[str, Tensor]:
    """What the engine has saved, whole, on rank 0; the others help to gather it and keep nothing."""
    return {name: tensor.detach() for name, tensor in engine.saved() if engine.ranks.first}


def _own_scores(engine: Engine[Any], head: Head, few: Sequence[Sequence[int]]) -> Tensor | None:
    """The engine's scores of the rows, float32 `[tokens]`, or None without rows."""
    if not few:
        return None
    batch = collate([Segment(f"row {n}", row, [True] * len(row), group=n) for n, row in enumerate(few)])
    if head == "scalar":
        return engine.score(batch, ("values",), grad=False).values
    return engine.score(batch, grad=False).logprobs


def _few(rows: Iterable[Sequence[int]]) -> list[list[int]]:
    """The first rows, cut so that all together are no more than `TOKENS`."""
    few = [list(row[: TOKENS // ROWS]) for row in islice(rows, ROWS)]
    return [row for row in few if row]


def _roomiest(own: torch.device) -> tuple[torch.device, int]:
    """Where a second copy is made: on the engine's GPU if it is on one and most is free there, else on the CPU."""
    main = free_bytes()
    if own.type != "cuda":
        return torch.device("cpu"), main
    free, _ = torch.cuda.mem_get_info(own)
    return (own, free) if free >= main else (torch.device("cpu"), main)

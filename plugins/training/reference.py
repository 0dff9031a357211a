"""Log-probs of the reference model, computed once before training and kept on disk.

The reference is the stage's input model, also on a resume: never the weights in training. The file is used only where
its key and its checksum hold: else it is computed again from the same model, and the run says so.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from aftertrain.core.engine import Engine
from aftertrain.core.packing import Atom, Segment, collate, group_by_budget
from aftertrain.core.ranks import current
from aftertrain.core.run.base_model import model_digest
from aftertrain.core.run.checkpoint import fsync
from aftertrain.core.run.sources import source_digests

COLUMN = "reference_logprobs"
FILE = "reference.safetensors"


def with_reference(
    atoms: Sequence[Atom],
    folder: Path,
    key: str,
    budget: int,
    make_engine: Callable[[], Engine[Any]],
    *,
    warn: Callable[[str], None],
) -> list[Atom]:
    """The atoms with the column `reference_logprobs`, from `folder/reference.safetensors` if it holds just these.

    Args:
        key: digest of all that decides the numbers (see `reference_key`).
        budget: tokens of a micro-batch.
        make_engine: loads the reference model; called only when the file does not serve.
        warn: told why a file that is there does not serve.
    """
    path = folder / FILE
    segments = [segment for atom in atoms for segment in atom]
    n_tokens = sum(len(segment.token_ids) for segment in segments)
    ranks = current()
    column = _read(path, key, n_tokens, warn)
    if ranks.any(column is None, "whether reference log-probs must be computed"):
        column = _compute(segments, budget, make_engine())
        if ranks.first:
            _write(path, key, column)
    assert column is not None
    parts = iter(torch.split(column, [len(segment.token_ids) for segment in segments]))
    return [[replace(segment, columns={COLUMN: next(parts).tolist()}) for segment in atom] for atom in atoms]


def reference_key(model: Path, engine: Engine[Any], atoms: Sequence[Atom], budget: int) -> str:
    """SHA-256 over all that decides the numbers.

    That is the bytes of the model's files, the engine's settings with what `auto` came to, and its source, torch and
    transformers, every sample's tokens and masks (and with them rows, tokenizer and template), and the packing budget.
    """
    versions = {name: version(name) for name in ("torch", "transformers")}
    code = source_digests([type(engine), Segment])
    chosen = engine.facts(str(model))
    facts = [model_digest(model), engine.settings.affecting(), chosen, code, versions, budget]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for atom in atoms:
        for segment in atom:
            digest.update(json.dumps([list(segment.token_ids), list(segment.loss_mask)]).encode())
    return digest.hexdigest()


def _compute(segments: Sequence[Segment], budget: int, engine: Engine[Any]) -> Tensor:
    """Every rank scores its share of the micro-batches, which are the same for any number of ranks."""
    sizes = [len(segment.token_ids) for segment in segments]
    ranks = current()
    column = torch.zeros(sum(sizes))
    parts = torch.split(column, sizes)
    for group in group_by_budget(sizes, budget)[ranks.rank :: ranks.size]:
        scores = engine.score(collate([segments[i] for i in group]), ("logprobs",), grad=False)
        assert scores.logprobs is not None
        for i, part in zip(group, torch.split(scores.logprobs.cpu(), [sizes[i] for i in group]), strict=True):
            parts[i].copy_(part)
    ranks.add([column], "the reference log-probs")
    return column


def _write(path: Path, key: str, column: Tensor) -> None:
    """Whole or not at all."""
    draft = path.with_suffix(".writing")
    save_file({COLUMN: column}, draft, metadata={"key": key, "sha256": _checksum(column)})
    fsync(draft)
    os.replace(draft, path)


def _read(path: Path, key: str, n_tokens: int, warn: Callable[[str], None]) -> Tensor | None:
    """The column, or None where the file is absent, damaged, or of other rows, weights or code."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            if facts.get("key") != key:
                warn(f"{path}: of another model, data or code; the reference log-probs are computed again")
                return None
            column: Tensor = file.get_tensor(COLUMN)
    except SafetensorError as error:
        warn(f"{path}: damaged ({error}); the reference log-probs are computed again")
        return None
    if column.shape != (n_tokens,) or facts.get("sha256") != _checksum(column):
        warn(f"{path}: damaged (checksum differs); the reference log-probs are computed again")
        return None
    return column


def _checksum(column: Tensor) -> str:
    return hashlib.sha256(column.contiguous().numpy().tobytes()).hexdigest()

"""Log-probs of the reference model, computed once before training and kept on disk.

The reference is the stage's input model, also on a resume: never the weights in training. The file is used only where
its key and its checksum hold: else it is computed again from the same model, and the run says so.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from aftertrain.core.engine import Engine
from aftertrain.core.packed.packing import Segment, collate, group_by_budget
from aftertrain.core.ranks import Ranks
from aftertrain.core.run.base_model import model_digest
from aftertrain.core.run.checkpoint import fsync
from aftertrain.core.run.sources import source_digests
from aftertrain.core.settings import nested
from aftertrain.plugins.training.atoms import Atoms
from aftertrain.plugins.training.parts import Parts

COLUMN = "reference_logprobs"
FILE = "reference.safetensors"


def referenced(
    atoms: Atoms, parts: Parts, model: str, folder: Path, budget: int, *, ranks: Ranks, warn: Callable[[str], None]
) -> Atoms:
    """The atoms as the loss needs them: with the log-probs of a model folder's model where it wants a reference."""
    if COLUMN not in parts.loss.needs.columns:
        return atoms

    def load() -> Engine[Any]:
        engine = parts.new_engine()
        engine.load(model, ranks=ranks)
        return engine

    key = reference_key(Path(model), parts.engine, atoms, budget)
    return with_reference(atoms, folder, key, budget, load, ranks=ranks, warn=warn)


def with_reference(
    atoms: Atoms,
    folder: Path,
    key: str,
    budget: int,
    make_engine: Callable[[], Engine[Any]],
    *,
    ranks: Ranks,
    warn: Callable[[str], None],
) -> Atoms:
    """The atoms with the column `reference_logprobs`, from `folder/reference.safetensors` if it holds just these.

    Args:
        key: digest of all that decides the numbers (see `reference_key`).
        budget: tokens of a micro-batch.
        make_engine: loads the reference model; called only when the file does not serve.
        ranks: those that compute it together.
        warn: told why a file that is there does not serve.
    """
    path = folder / FILE
    column = _read(path, key, int(atoms.sizes.sum()), warn)
    if ranks.any(column is None, "whether reference log-probs must be computed"):
        column = compute_column(atoms, budget, make_engine(), ranks)
        if ranks.first:
            _write(path, key, column)
    assert column is not None
    return atoms.with_column(COLUMN, column.numpy())


def reference_key(model: Path, engine: Engine[Any], atoms: Atoms, budget: int) -> str:
    """SHA-256 over all that decides the numbers.

    That is the bytes of the model's files, the engine's settings with what `auto` came to, and its source, torch and
    transformers, every sample's tokens and masks (and with them rows, tokenizer and template), and the packing budget.
    """
    versions = {name: version(name) for name in ("torch", "transformers")}
    parts = [type(engine.builder.build(use)) for use in nested(engine.settings)]
    code = source_digests([type(engine), Segment, *parts])
    chosen = engine.facts(str(model))
    facts = [model_digest(model), engine.settings.affecting(), chosen, code, versions, budget]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for index in range(len(atoms)):
        for ids, targets in atoms.spans(index):
            digest.update(struct.pack("<2q", len(ids), len(targets)))
            digest.update(ids.tobytes())
            digest.update(targets.tobytes())
    return digest.hexdigest()


def compute_column(atoms: Atoms, budget: int, engine: Engine[Any], ranks: Ranks) -> Tensor:
    """Every rank scores its share of the micro-batches, which are the same for any number of ranks."""
    ends = np.cumsum(atoms.lengths)
    starts = ends - atoms.lengths
    column = torch.zeros(int(ends[-1]))
    for group in group_by_budget(atoms.lengths.tolist(), budget)[ranks.rank :: ranks.size]:
        scores = engine.score(collate([atoms.segment(i) for i in group]), ("logprobs",), grad=False)
        assert scores.logprobs is not None
        parts = torch.split(scores.logprobs.cpu(), atoms.lengths[group].tolist())
        for i, part in zip(group, parts, strict=True):
            column[starts[i] : ends[i]] = part
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
    return hashlib.sha256(column.contiguous().numpy().data).hexdigest()

"""The cache of reference log-probs: used only for the very model, data and code it was made with, and intact."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from aftertrain.core.batch import PackedBatch, TokenScores
from aftertrain.core.packed.packing import Atom, Segment
from aftertrain.core.ranks import ALONE
from aftertrain.plugins.training.atoms import Atoms
from aftertrain.plugins.training.columns import record_batch
from aftertrain.plugins.training.reference import COLUMN, FILE, reference_key, with_reference
from aftertrain.plugins.training.store import Store

ATOMS: list[Atom] = [
    [Segment("a", [3, 4, 5], [False, True, True]), Segment("b", [3, 6], [False, True])],
    [Segment("c", [7, 8, 9, 10], [False, False, True, True])],
]


def stored(atoms: Sequence[Atom]) -> Atoms:
    return Atoms(Store([record_batch(atoms)]), np.arange(len(atoms)), 10**6)


@dataclass
class Cache:
    """`load(key)` reads or computes the column of `ATOMS` by an engine whose log-prob of a token is minus its id."""

    folder: Path
    scored: int = 0
    warnings: list[str] = field(default_factory=list)

    def score(self, batch: PackedBatch, wants: Any = (), *, grad: bool = True) -> TokenScores:
        self.scored += 1
        return TokenScores(logprobs=-batch.token_ids.float() * batch.loss_mask)

    def load(self, key: str, atoms: Sequence[Atom] = ATOMS) -> list[list[float]]:
        made: Any = self
        found = with_reference(stored(atoms), self.folder, key, 6, lambda: made, ranks=ALONE, warn=self.warnings.append)
        return [list(segment.columns[COLUMN]) for atom in found for segment in atom]

    def tamper(self, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        with safe_open(self.folder / FILE, framework="pt") as file:
            facts = file.metadata()
        column = load_file(self.folder / FILE)[COLUMN]
        save_file({COLUMN: change(column)}, self.folder / FILE, metadata=facts)


EXPECTED = [[0.0, -4.0, -5.0], [0.0, -6.0], [0.0, 0.0, -9.0, -10.0]]


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    made = Cache(tmp_path)
    assert made.load("key") == EXPECTED
    assert (made.scored, made.warnings) == (2, [])
    return made


def test_it_is_computed_once(cache: Cache) -> None:
    assert cache.load("key") == EXPECTED
    assert (cache.scored, cache.warnings) == (2, [])
    assert [path.name for path in cache.folder.iterdir()] == [FILE]


def test_another_key_is_not_served(cache: Cache) -> None:
    assert cache.load("other") == EXPECTED
    assert cache.scored == 4
    (warning,) = cache.warnings
    assert warning.endswith("of another model, data or code; the reference log-probs are computed again")
    assert cache.load("other") == EXPECTED
    assert cache.scored == 4


DAMAGE = {
    "one number": lambda column: column + torch.eye(len(column))[2] * 1e-3,
    "a row less": lambda column: column[:-1],
    "order": lambda column: column.flip(0),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_changed_numbers_are_refused(what: str, cache: Cache) -> None:
    """The key stands and the file can be read, yet its checksum gives it away."""
    cache.tamper(DAMAGE[what])
    assert cache.load("key") == EXPECTED
    assert cache.scored == 4
    assert "damaged (checksum differs)" in cache.warnings[0]


@pytest.mark.parametrize("length", [0, 3, 40, -4])
def test_a_torn_file_is_refused(length: int, cache: Cache) -> None:
    path = cache.folder / FILE
    path.write_bytes(path.read_bytes()[:length])
    assert cache.load("key") == EXPECTED
    assert cache.scored == 4
    assert "damaged" in cache.warnings[0]


def test_the_key_covers_what_auto_came_to(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Log-probs of a CPU once served on a GPU, and those of one attention kernel with another."""
    from aftertrain.core.packed import engine as packed
    from aftertrain.plugins.torch_engine import engine as engines
    from aftertrain.plugins.torch_engine.settings import TorchSettings

    engine = engines.TorchEngine(TorchSettings(dtype="bfloat16"), None)  # type: ignore[arg-type]
    keys = set()
    for device, kernel in (("cpu", "sdpa"), ("cuda", "sdpa"), ("cuda", "flash")):
        for module in (engines, packed):
            monkeypatch.setattr(module, "device_of", lambda wanted, local, device=device: torch.device(device))
        monkeypatch.setattr(engines, "choose_kernel", lambda *args, kernel=kernel: kernel)
        assert engine.facts(str(tiny_model)) == {"device": device, "attention": kernel}
        keys.add(reference_key(tiny_model, engine, stored(ATOMS), 6))
    assert len(keys) == 3


def test_the_key_covers_weights_tokens_masks_settings_budget_and_code(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of these alone makes another key; the model's folder by another name does not."""
    from aftertrain.plugins.torch_engine.engine import TorchEngine
    from aftertrain.plugins.torch_engine.settings import TorchSettings
    from aftertrain.plugins.training import reference

    engine = TorchEngine(TorchSettings(device="cpu"), None)  # type: ignore[arg-type]
    model = shutil.copytree(tiny_model, tmp_path / "model")
    key = reference_key(model, engine, stored(ATOMS), 6)
    assert reference_key(tiny_model, engine, stored(ATOMS), 6) == key
    first, *rest = ATOMS
    other_token = [[replace(first[0], token_ids=[3, 4, 6]), first[1]], *rest]
    other_mask = [[replace(first[0], loss_mask=[False, False, True]), first[1]], *rest]
    bfloat16 = TorchEngine(TorchSettings(device="cpu", dtype="bfloat16"), None)  # type: ignore[arg-type]
    keys = [
        reference_key(model, engine, stored(other_token), 6),
        reference_key(model, engine, stored(other_mask), 6),
        reference_key(model, engine, stored(ATOMS[::-1]), 6),
        reference_key(model, bfloat16, stored(ATOMS), 6),
        reference_key(model, engine, stored(ATOMS), 7),
    ]
    state = load_file(model / "model.safetensors")
    name = next(iter(state))
    state[name].view(-1)[0] += 1e-3
    save_file(state, model / "model.safetensors", metadata={"format": "pt"})
    keys.append(reference_key(model, engine, stored(ATOMS), 6))
    sources = reference.source_digests
    monkeypatch.setattr(reference, "source_digests", lambda classes: {**sources(classes), "changed": "1"})
    keys.append(reference_key(tiny_model, engine, stored(ATOMS), 6))
    assert len({key, *keys}) == 8


def test_the_code_of_engine_and_head_is_in_the_key() -> None:
    from aftertrain.core.run.sources import source_digests
    from aftertrain.plugins.torch_engine.engine import TorchEngine

    reached = source_digests([TorchEngine, Segment])
    wanted = {"aftertrain.core.packed.logprobs", "aftertrain.core.packed.attention", "aftertrain.core.packed.packing"}
    assert wanted | {"aftertrain.core.packed.model"} <= reached.keys()


def test_a_run_says_that_it_found_another_reference(
    bench: Callable[..., Any], pairs: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """Other weights in the input folder: the cache of the first run is not used, and its first loss is log 2 again."""
    settings = {"loss": {"use": "dpo"}, "data": {"use": "jsonl", "path": str(pairs), "format": "preference"}}
    bench("stage", **settings).run()
    other = shutil.copytree(tiny_model, tmp_path / "other")
    state = load_file(other / "model.safetensors")
    generator = torch.Generator().manual_seed(1)
    moved = {
        name: tensor + 0.05 * torch.randn(tensor.shape, generator=generator) if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    }
    save_file(moved, other / "model.safetensors", metadata={"format": "pt"})
    second = bench("stage", model=other, **settings)
    second.run()
    (warning,) = second.of("warning")
    assert "of another model, data or code" in warning["message"]
    assert second.of("metrics")[0]["loss"] == pytest.approx(0.6931472, abs=1e-5)

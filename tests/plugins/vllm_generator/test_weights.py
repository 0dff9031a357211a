"""Weights replaced in place: whole or not at all, in use from the next token on, with no trace of the old ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from aftertrain.core.errors import ModelError, RunError
from aftertrain.core.generator import GenerationRequest, Sampling
from aftertrain.core.learning.seeding import global_seed
from aftertrain.core.packed.checksum import checksum
from aftertrain.plugins.online.synced import check_synced
from aftertrain.plugins.vllm_generator.generator import Vllm
from aftertrain.plugins.vllm_generator.weights import Expected

Make = Callable[..., Vllm]
PATIENCE = 60.0


@pytest.fixture(scope="module")
def moved(tiny_model: Path) -> nn.Module:
    """The tiny model, whose head is tied to its embedding, with other weights."""
    network: nn.Module = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    with global_seed(1), torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter) * parameter.std())
    return network


def requests(n: int = 4, length: int = 6, **sampling: Any) -> list[GenerationRequest]:
    drawn = Sampling(max_new_tokens=length, **sampling)
    return [GenerationRequest(f"r{i}", (5 + i, 9, 12), drawn, 70 + i) for i in range(n)]


def changed(network: Any, change: str) -> Iterator[tuple[str, Tensor]]:
    for i, (name, weight) in enumerate(network.named_parameters()):
        if change == "missing" and i == 3:
            continue
        yield (
            (f"{name}s" if change == "unknown" and i == 3 else name),
            (weight[:-1] if change == "shape" and i == 3 else weight),
        )
        if change == "twice" and i == 3:
            yield name, weight


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("missing", r"weights are missing from the update: model.layers.0.self_attn.v_proj.weight \(1 in all\)"),
        ("unknown", "no weight named 'model.layers.0.self_attn.v_proj.weights'. Did you mean"),
        ("shape", r"'model.layers.0.self_attn.v_proj.weight' has shape \(15, 32\), the generator's \(16, 32\)"),
        ("twice", "'model.layers.0.self_attn.v_proj.weight' is given twice"),
    ],
)
def test_a_wrong_update_changes_nothing(make_generator: Make, moved: Any, change: str, why: str) -> None:
    generator = make_generator()
    first = generator.generate(requests(), PATIENCE)
    with pytest.raises(ModelError, match=why):
        generator.update_weights(changed(moved, change), 4)
    assert generator.generate(requests(), PATIENCE) == first


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("update dies", r"is gone.*, with status 3"),
        ("update raises", "failed to replace weights: RuntimeError: the cache is full"),
        ("update hangs", "(has said|took) nothing for 3 s"),
        ("remembers", "failed to replace weights: RuntimeError: vllm did not drop its prefix cache"),
    ],
)
def test_a_server_that_fails_at_an_update(make_generator: Make, moved: Any, fault: str, said: str) -> None:
    generator = make_generator(fault=fault, patience=3 if "hangs" in fault else 60)
    with pytest.raises(RunError, match=f"the vLLM server {said}"):
        generator.update_weights(moved.named_parameters(), 4)
    with pytest.raises(RunError, match="the vLLM server"):
        generator.submit(requests())


def test_a_tied_head_may_be_given_or_left_out(tiny_model: Path, moved: Any) -> None:
    expected = Expected(str(tiny_model))
    names = [name for name, _ in moved.named_parameters()]
    assert "lm_head.weight" not in names
    assert [name for name, _ in expected.checked(moved.named_parameters())] == names
    assert sorted(name for name, _ in expected.checked(moved.state_dict().items())) == sorted(names)


def test_a_family_whose_files_have_other_names_is_refused(tiny_model: Path, moved: Any, tmp_path: Path) -> None:
    """As transformers' mixtures of experts: fused in memory, one by one in the files that vLLM reads."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    held = load_file(folder / "model.safetensors")
    save_file({name.replace("up_proj", "w3"): weight for name, weight in held.items()}, folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"do not hold model.layers.0.mlp.up_proj.weight .* generator: transformers"):
        Expected(str(folder)).checked(moved.named_parameters())
    assert json.loads((folder / "config.json").read_text())["tie_word_embeddings"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_server_tells_checksums_of_what_arrived(make_generator: Make, moved: Any, dtype: str) -> None:
    """Its own sums, in its own dtype, are the trainer's; other weights have others."""
    generator = make_generator(dtype=dtype)
    assert generator.checksums() is None
    generator.update_weights(moved.named_parameters(), 4)
    sums = generator.checksums()
    assert sums == {name: (dtype, checksum(w, getattr(torch, dtype))) for name, w in moved.named_parameters()}
    check_synced(moved.named_parameters(), generator, 4)
    other = {name: weight.detach().clone() for name, weight in moved.named_parameters()}
    other["model.norm.weight"][0] += 0.25
    with pytest.raises(RunError, match=r"version 4 .* of 1 of 20 differ, the first of 'model\.norm\.weight'"):
        check_synced(other.items(), generator, 4)


def test_weights_that_are_changed_on_their_way_are_found(
    make_generator: Make, moved: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bit of one weight."""
    from aftertrain.plugins.vllm_generator import generator as module

    whole = module.raw

    def garbled(weights: Any, dtype: str) -> Iterator[tuple[str, memoryview]]:
        for name, data in whole(weights, dtype):
            copy = bytearray(data)
            copy[5] ^= 1 if name == "model.norm.weight" else 0
            yield name, memoryview(copy)

    monkeypatch.setattr(module, "raw", garbled)
    generator = make_generator()
    generator.update_weights(moved.named_parameters(), 4)
    with pytest.raises(RunError, match=r"checksums of 1 of 20 differ, the first of 'model\.norm\.weight'"):
        check_synced(moved.named_parameters(), generator, 4)

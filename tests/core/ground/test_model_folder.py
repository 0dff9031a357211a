"""A model folder that cannot be used says so: file, reason and cure, before anything is loaded or built."""

from __future__ import annotations

import json
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import aftertrain
from aftertrain.core.errors import ModelError, RunError
from aftertrain.core.ground.memory import memory_refusal
from aftertrain.core.ground.model_folder import check_weights, read_config
from aftertrain.core.run.base_model import find_model

Damage = Callable[[Path], None]
ROW = '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'


def config(**changed: Any) -> Damage:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        told = {**json.loads(path.read_text()), **changed}
        path.write_text(json.dumps({name: value for name, value in told.items() if value is not None}))

    return change


def content(name: str, data: bytes | None) -> Damage:
    """A file with other bytes, or gone."""

    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        if data is not None:
            (folder / name).write_bytes(data)

    return change


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"a": torch.ones(2)}, folder / "pytorch_model.bin")


def pickled_shards(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model-00001-of-00002.bin").write_bytes(b"x")
    (folder / "pytorch_model.bin.index.json").write_text("{}")


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-7])


def index(weight_map: Any, *, keep: bool = True) -> Damage:
    """Two files by an index, the second of which may be missing."""

    def change(folder: Path) -> None:
        whole = folder / "model.safetensors"
        whole.rename(folder / "a.safetensors")
        if keep:
            (folder / "b.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))

    return change


def unindexed(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")


CUSTOM = {"model_type": "mine", "auto_map": {"AutoConfig": "configuration_mine.MineConfig"}}
DAMAGES: dict[str, tuple[Damage, str]] = {
    "pickle alone": (
        pickled,
        r"pickled \(pytorch_model\.bin\).*runs what is written in them.*python -c .*save_pretrained",
    ),
    "pickled shards": (pickled_shards, r"pickled \(pytorch_model-00001"),
    "no weights": (content("model.safetensors", None), r"has a config\.json but no weights"),
    "config is no JSON": (content("config.json", b'{"a": 1,\n "b" 2}'), r"config\.json:2:6: not JSON: Expecting ':'"),
    "config is empty": (content("config.json", b""), r"config\.json:1:1: not JSON"),
    "config is a list": (content("config.json", b"[1]"), r"holds list, where a JSON object is expected"),
    "config is binary": (content("config.json", b"\xff\xfe\x00"), r"is UTF-16 text; save it as UTF-8"),
    "config is deep": (content("config.json", b'{"a":' * 5000 + b"1" + b"}" * 5000), r"more than 100 brackets"),
    "config has a huge number": (
        content("config.json", b'{"model_type": "llama", "a": ' + b"9" * 5000 + b"}"),
        r"a whole number of 5,000 digits",
    ),
    "config is a pointer": (content("config.json", b"version https://git-lfs.example/v1\n"), r"Git LFS pointer"),
    "no family": (config(model_type=None), r"has no model_type"),
    "family unknown": (config(model_type="lama"), r"transformers cannot read this configuration: .*lama"),
    "code of its own": (config(**CUSTOM), r"needs Python code that comes with the model"),
    "quantised": (config(quantization_config={"quant_method": "gptq", "bits": 4}), r"quantised \(gptq\).*dequantize"),
    "quantised somehow": (config(quantization_config=3), r"quantised \(quantization_config\)"),
    "a million layers": (config(num_hidden_layers=10**6), r"num_hidden_layers is 1000000; a whole number up to 1,024"),
    "more layers than weights": (
        config(num_hidden_layers=900),
        r"num_hidden_layers is 900, and the weights are of 2 layers",
    ),
    "half a layer": (config(num_hidden_layers=1.5), r"num_hidden_layers is 1\.5; a whole number"),
    "negative": (config(vocab_size=-1), r"vocab_size is -1; a whole number"),
    "a number as text": (config(hidden_size="32"), r"hidden_size is 32; a whole number"),
    "true is no number": (config(num_attention_heads=True), r"num_attention_heads is True; a whole number"),
    "huge inside": (config(text_config={"hidden_size": 10**9}), r"text_config\.hidden_size is 1000000000"),
    "cut short": (cut, r"model\.safetensors: has [\d,]+ bytes, and its header speaks of [\d,]+"),
    "empty file": (content("model.safetensors", b""), r"no safetensors file, or cut short"),
    "garbage": (content("model.safetensors", b"garbage!" * 9), r"no safetensors file, or cut short"),
    "garbage of a fitting length": (
        content("model.safetensors", struct.pack("<Q", 9) + b"not json!"),
        r"its header cannot be read",
    ),
    "a header without places": (
        content("model.safetensors", struct.pack("<Q", 7) + b'{"a":1}'),
        r"a has no place in the file",
    ),
    "weights are a pointer": (
        content("model.safetensors", b"version https://git-lfs.example/v1\noid"),
        r"Git LFS pointer, not weights",
    ),
    "a shard is missing": (
        index({"x": "a.safetensors", "y": "b.safetensors"}, keep=False),
        r"names 1 of 2 files that are not there: b",
    ),
    "a shard lacks a weight": (
        index({"model.norm.weight": "a.safetensors", "y": "b.safetensors"}),
        r"b\.safetensors holds y, which it does not",
    ),
    "an index elsewhere": (
        index({"x": "../a.safetensors"}),
        r"'\.\./a\.safetensors', which is no safetensors file of this folder",
    ),
    "an index of numbers": (index({"x": 3}), r"'3', which is no safetensors file"),
    "an index of nothing": (index([]), r"has no weight_map"),
    "shards without an index": (unindexed, r"neither model\.safetensors nor model\.safetensors\.index\.json"),
}


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_model, tmp_path / "base")
    return tmp_path / "base"


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_folder_that_cannot_be_used_says_why(damage: str, folder: Path, tmp_path: Path) -> None:
    change, message = DAMAGES[damage]
    change(folder)
    with pytest.raises(ModelError, match=message) as found:
        find_model("./base", tmp_path)
    assert "base" in str(found.value)
    assert len(str(found.value)) < 900


@pytest.mark.parametrize("damage", ["pickle alone", "a shard is missing", "quantised", "cut short", "a million layers"])
def test_plan_and_run_and_the_rest_say_the_same(damage: str, folder: Path, tmp_path: Path) -> None:
    change, message = DAMAGES[damage]
    change(folder)
    (tmp_path / "rows.jsonl").write_text(ROW)
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "name: r\nmodel: ./base\nstages:\n  sft: {use: train, loss: sft, optimizer: {lr: 1e-3}, "
        "data: {use: jsonl, path: rows.jsonl, format: messages}}\n"
    )
    plan = aftertrain.plan(recipe, out=tmp_path / "runs")
    assert any(re.search(message, word) for word in plan.errors), plan.errors
    with pytest.raises(ModelError, match=message):
        aftertrain.run(recipe, out=tmp_path / "runs", console=False)
    with pytest.raises(ModelError, match=message):
        aftertrain.check_invariants(recipe, ranks=False, rows=1)


def test_sizes_that_do_not_fit_together_are_no_traceback(folder: Path) -> None:
    from aftertrain.core.packed.model import load_model

    config(num_attention_heads=5, head_dim=None)(folder)
    with pytest.raises(ModelError, match=r"config\.json: transformers cannot read this configuration: .*32.*5"):
        load_model(str(folder), "lm", 0)
    config(num_attention_heads=4, hidden_size=48, head_dim=12)(folder)
    with pytest.raises(ModelError, match="base: cannot load a model with an lm head"):
        load_model(str(folder), "lm", 0)


def test_files_of_a_trainer_are_no_weights(folder: Path) -> None:
    """What lies beside safetensors is left alone, pickled or not."""
    (folder / "training_args.bin").write_bytes(b"x")
    (folder / "pytorch_model.bin").write_bytes(b"x")
    (folder / "optimizer.pt").write_bytes(b"x")
    check_weights(folder, needed=True)
    assert read_config(folder).model_type == "llama"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["config.json", "model.safetensors"]),
    at=st.integers(0, 3000),
    data=st.binary(min_size=0, max_size=12),
    shorten=st.booleans(),
)
def test_any_damage_is_a_clear_error_or_works(name: str, at: int, data: bytes, shorten: bool, folder: Path) -> None:
    """Bytes written over or cut out anywhere: a ModelError that names a file, or a folder that is read."""
    path = folder / name
    whole = path.read_bytes()
    at = min(at, len(whole))
    told = ""
    try:
        path.write_bytes(whole[:at] + data + (b"" if shorten else whole[at + len(data) :]))
        try:
            read_config(folder)
            check_weights(folder, needed=True)
        except ModelError as error:
            told = str(error)
    finally:
        path.write_bytes(whole)
    assert not told or name in told or "config.json" in told


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory"),
        OSError(12, "Cannot allocate memory".lower()),
    ],
)
def test_full_memory_says_what_to_lower(
    error: Exception, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aftertrain.plugins.torch_engine.engine import TorchEngine

    def score(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(TorchEngine, "score", score)
    (tmp_path / "rows.jsonl").write_text(ROW)
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"name: r\nmodel: {tiny_model}\nstages:\n  sft: {{use: train, loss: sft, optimizer: {{lr: 1e-3}}, "
        "data: {use: jsonl, path: rows.jsonl, format: messages}}\n"
    )
    with pytest.raises(RunError, match=r"stage 'sft': out of memory: .*Lower batch\.micro_tokens"):
        aftertrain.run(recipe, out=tmp_path / "runs", console=False)
    assert memory_refusal(ValueError("out of memory")) is None

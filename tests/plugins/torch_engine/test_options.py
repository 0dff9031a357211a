"""Adapters, compiled layers, selective checkpointing, AdamW's implementations."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from aftertrain.core.engine import AdamW
from aftertrain.core.errors import MissingExtra, ModelError
from aftertrain.core.run.base_model import model_digest

ADAMW = AdamW(weight_decay=0.1, max_grad_norm=0.5)
LORA = {"rank": 4, "alpha": 8.0}


def train(engine: Any, batch: Any, steps: int) -> list[float]:
    norms = []
    for _ in range(steps):
        engine.backward(-engine.score(batch).logprobs.sum(), batch.count("token"))
        norms.append(engine.step(0.01).grad_norm)
    return norms


def weights(engine: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in engine.weights()}


@pytest.fixture
def adapted(tiny_model: Path, make_engine: Callable[..., Any], make_batch: Any) -> Any:
    """An engine after two steps of its adapters."""
    pytest.importorskip("peft", reason="peft is not installed")
    engine = make_engine(tiny_model, optimizer=ADAMW, lora=LORA)
    train(engine, make_batch([9, 14], vocabulary=320), 2)
    return engine


def test_adapters_change_nothing_until_they_are_trained(
    tiny_model: Path, make_engine: Callable[..., Any], make_batch: Any
) -> None:
    """And a reference, loaded without an optimizer, has none: its log-probs are the base model's."""
    pytest.importorskip("peft", reason="peft is not installed")
    batch = make_batch([9, 14], vocabulary=320)
    plain, fresh = make_engine(tiny_model), make_engine(tiny_model, optimizer=ADAMW, lora=LORA)
    expected = plain.score(batch, grad=False).logprobs
    assert torch.equal(fresh.score(batch, grad=False).logprobs, expected)
    train(fresh, batch, 1)
    assert not torch.equal(fresh.score(batch, grad=False).logprobs, expected)
    assert torch.equal(make_engine(tiny_model, lora=LORA).score(batch, grad=False).logprobs, expected)


def test_only_adapters_are_trained(adapted: Any, tiny_model: Path) -> None:
    base = load_file(tiny_model / "model.safetensors")
    for name, parameter in adapted._model.named_parameters():
        assert parameter.requires_grad == (".lora_" in name), name
        if ".lora_" not in name:
            assert torch.equal(parameter, base[name.replace(".base_layer", "")]), name
    assert len(adapted._optimizer.state) == 2 * 7 * 2


def test_the_saved_model_is_a_plain_folder_with_adapters_merged(
    adapted: Any, tiny_model: Path, make_engine: Callable[..., Any], make_batch: Any, tmp_path: Path
) -> None:
    """The same names as the base model's folder, the same scores as with the adapters in place."""
    batch = make_batch([9, 14], vocabulary=320)
    adapted.save_model(tmp_path)
    assert set(load_file(tmp_path / "model.safetensors")) == set(load_file(tiny_model / "model.safetensors"))
    found = make_engine(tmp_path).score(batch, grad=False).logprobs
    torch.testing.assert_close(found, adapted.score(batch, grad=False).logprobs, atol=1e-5, rtol=1e-5)
    named = weights(adapted)
    merged = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(named[name], tensor) for name, tensor in merged.items())


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
def test_adapters_are_peft_s(
    tiny_model: Path, make_engine: Callable[..., Any], make_batch: Any, tmp_path: Path
) -> None:
    """Saved alone they are read by peft onto the base model, with the same log-probs."""
    peft = pytest.importorskip("peft", reason="peft is not installed")
    from transformers import AutoModelForCausalLM

    engine = make_engine(
        tiny_model, optimizer=ADAMW, lora={**LORA, "save": "adapter", "targets": ["q_proj", "down_proj"]}
    )
    batch = make_batch([9], vocabulary=320)
    train(engine, batch, 2)
    engine.save_model(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors", ".md"}
    assert json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] is None
    model = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), tmp_path).eval()
    with torch.no_grad():
        logp = model(input_ids=batch.token_ids.unsqueeze(0)).logits[0, :-1].log_softmax(-1)
    expected = logp.gather(1, batch.token_ids[1:].unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(engine.score(batch, grad=False).logprobs[1:], expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(ModelError, match="holds adapters of"):
        make_engine(tmp_path)


@pytest.mark.parametrize("head", ["lm", "scalar"])
def test_adapters_name_no_path_of_this_machine(
    head: str, tiny_model: Path, make_engine: Callable[..., Any], tmp_path: Path
) -> None:
    """A folder is not named, and the card says how to load; a hub's cache tells name and revision."""
    pytest.importorskip("peft", reason="peft is not installed")
    cached = tmp_path / "hub" / "models--some--Tiny-Model" / "snapshots" / "0123abcd"
    shutil.copytree(tiny_model, cached)
    for base, name, revision in ((tiny_model, None, None), (cached, "some/Tiny-Model", "0123abcd")):
        out = tmp_path / f"out-{revision}"
        make_engine(base, head=head, optimizer=ADAMW, lora={**LORA, "save": "adapter"}).save_model(out)
        config = json.loads((out / "adapter_config.json").read_text())
        assert (config["base_model_name_or_path"], config["revision"]) == (name, revision)
        card = (out / "README.md").read_text()
        assert model_digest(base) in card
        assert ("base_model: some/Tiny-Model\n" in card) == (name is not None)
        assert ("AutoModelForCausalLM" in card or "AutoPeftModelForCausalLM" in card) == (head == "lm")
        for path in out.iterdir():
            assert str(tmp_path).encode() not in path.read_bytes()
            assert str(tiny_model).encode() not in path.read_bytes()


def test_adapters_of_a_scalar_head_leave_it_trained(
    tiny_model: Path, make_engine: Callable[..., Any], make_batch: Any, tmp_path: Path
) -> None:
    pytest.importorskip("peft", reason="peft is not installed")
    engine = make_engine(tiny_model, head="scalar", optimizer=ADAMW, lora=LORA)
    batch = make_batch([9], vocabulary=320)
    before = weights(engine)["score.weight"]
    engine.backward(engine.score(batch, ("values",)).values.sum(), 1.0)
    engine.step(0.01)
    assert not torch.equal(weights(engine)["score.weight"], before)
    engine.save_model(tmp_path)
    values = make_engine(tmp_path, head="scalar").score(batch, ("values",)).values
    torch.testing.assert_close(values, engine.score(batch, ("values",)).values, atol=1e-5, rtol=1e-5)


def test_a_resume_with_adapters_goes_on_to_the_same_bits(
    tiny_model: Path, make_engine: Callable[..., Any], make_batch: Any, tmp_path: Path
) -> None:
    """The state holds what is trained: adapters and their moments."""
    pytest.importorskip("peft", reason="peft is not installed")
    batch = make_batch([9, 14], vocabulary=320)
    whole, first, second = (make_engine(tiny_model, optimizer=ADAMW, lora=LORA) for _ in range(3))
    norms = train(whole, batch, 4)
    assert train(first, batch, 2) == norms[:2]
    first.save_state(tmp_path)
    assert all(".lora_" in name for name in load_file(tmp_path / "weights.safetensors"))
    second.load_state(tmp_path)
    assert train(second, batch, 2) == norms[2:]


@pytest.mark.parametrize("targets", [["qproj"], ["lm_head"]])
def test_a_layer_that_cannot_have_an_adapter_is_named(
    targets: list[str], tiny_model: Path, make_engine: Callable[..., Any]
) -> None:
    pytest.importorskip("peft", reason="peft is not installed")
    with pytest.raises(ModelError, match=r"engine\.lora\.targets: .*(q_proj|output head)"):
        make_engine(tiny_model, optimizer=ADAMW, lora={**LORA, "targets": targets})


def test_an_embedding_that_is_the_head_too_cannot_have_an_adapter(
    tiny_model: Path, make_engine: Callable[..., Any]
) -> None:
    """Merged, the two would differ in a folder whose configuration says that they are one."""
    pytest.importorskip("peft", reason="peft is not installed")
    with pytest.raises(ModelError, match=r"model\.embed_tokens shares its weight with the output head, lm_head"):
        make_engine(tiny_model, optimizer=ADAMW, lora={**LORA, "targets": ["q_proj", "embed_tokens"]})
    make_engine(tiny_model, head="scalar", optimizer=ADAMW, lora={**LORA, "targets": ["q_proj", "embed_tokens"]})


def test_adapters_alone_need_a_base_that_pads_a_reward_model(
    tiny_model: Path, make_engine: Callable[..., Any], tmp_path: Path
) -> None:
    """peft reads the padding token in the base model's folder, which we do not write."""
    pytest.importorskip("peft", reason="peft is not installed")
    base = tmp_path / "base"
    shutil.copytree(tiny_model, base)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "pad_token_id": 2}))
    alone = {**LORA, "save": "adapter"}
    with pytest.raises(ModelError, match=r"pad_token_id: 2 in .*config\.json"):
        make_engine(base, head="scalar", optimizer=ADAMW, lora=alone)
    make_engine(base, optimizer=ADAMW, lora=alone)
    make_engine(tiny_model, head="scalar", optimizer=ADAMW, lora=alone)


@pytest.mark.parametrize("lora", [None, LORA])
def test_a_tied_head_is_written_once_in_bfloat16(
    lora: Any, tiny_model: Path, make_engine: Callable[..., Any], tmp_path: Path
) -> None:
    """Casting each name by itself once made two weights of one."""
    if lora is not None:
        pytest.importorskip("peft", reason="peft is not installed")
    make_engine(tiny_model, optimizer=ADAMW, dtype="bfloat16", lora=lora).save_model(tmp_path)
    written = load_file(tmp_path / "model.safetensors")
    assert set(written) == set(load_file(tiny_model / "model.safetensors"))
    assert {tensor.dtype for tensor in written.values()} == {torch.bfloat16}


def test_selective_checkpointing_changes_no_bit(tiny_model: Path, make_engine: Any, make_batch: Any) -> None:
    """Norms and rotations run twice, matrix products once."""
    batch = make_batch([5, 9, 3], vocabulary=320)
    plain = make_engine(tiny_model, optimizer=ADAMW)
    saving = make_engine(tiny_model, optimizer=ADAMW, activation_checkpointing="selective")
    norms: list[int] = []
    saving._model.model.layers[0].input_layernorm.register_forward_pre_hook(lambda *args: norms.append(1))
    assert train(plain, batch, 2) == train(saving, batch, 2)
    assert len(norms) == 4
    assert all(torch.equal(tensor, weights(saving)[name]) for name, tensor in weights(plain).items())


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:`torch.jit.*deprecated:DeprecationWarning", "ignore:The .grad attribute of a Tensor"
)
def test_compiled_layers_score_and_learn_alike(tiny_model: Path, make_engine: Any, make_batch: Any) -> None:
    """Inductor's kernels, packed, with batches of several sizes and without a gradient in between."""
    plain, compiled = (make_engine(tiny_model, optimizer=ADAMW, compile=each) for each in (False, True))
    for lengths in ([5, 9, 3], [40, 7], [12]):
        batch = make_batch(lengths, vocabulary=320)
        one, other = (engine.score(batch, grad=False).logprobs for engine in (plain, compiled))
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
        assert train(plain, batch, 2) == pytest.approx(train(compiled, batch, 2), rel=1e-4)
    for name, tensor in weights(plain).items():
        torch.testing.assert_close(tensor, weights(compiled)[name], atol=1e-4, rtol=0, msg=name)


def test_fused_and_plain_steps_agree(tiny_model: Path, make_engine: Any, make_batch: Any) -> None:
    batch = make_batch([7, 12], vocabulary=320)
    engines = [make_engine(tiny_model, optimizer=ADAMW, adamw=each) for each in ("fused", "plain")]
    assert train(engines[0], batch, 3) == pytest.approx(train(engines[1], batch, 3), rel=1e-5)
    for name, tensor in weights(engines[0]).items():
        torch.testing.assert_close(tensor, weights(engines[1])[name], atol=1e-6, rtol=0, msg=name)


def test_what_needs_a_gpu_is_refused_on_a_cpu(tiny_model: Path, make_engine: Any) -> None:
    with pytest.raises(ModelError, match="8bit, which needs a GPU"):
        make_engine(tiny_model, optimizer=ADAMW, adamw="8bit")
    with pytest.raises(ModelError, match=r"engine\.attention is flex, which needs a GPU"):
        make_engine(tiny_model, attention="flex")


def test_adapters_without_peft_name_the_extra(
    tiny_model: Path, make_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(MissingExtra, match=r"pip install 'aftertrain\[lora\]'"):
        make_engine(tiny_model, optimizer=ADAMW, lora=LORA)

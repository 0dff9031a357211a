"""The torch engine: heads, steps, states, precision."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from aftertrain.core.engine import AdamW
from aftertrain.core.errors import CheckpointError, ModelError, NumericsError

ADAMW = AdamW(weight_decay=0.1, max_grad_norm=0.5)


def train(engine: Any, batch: Any, steps: int, start: int = 0) -> list[float]:
    """Gradient norms of some steps of plain likelihood."""
    norms = []
    for step in range(start, start + steps):
        engine.backward(-engine.score(batch).logprobs.sum(), batch.count("token"))
        norms.append(engine.step(0.01 / (step + 1)).grad_norm)
    return norms


def weights(engine: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in engine.weights()}


def test_steps_are_those_of_adamw(tiny_model: Path, make_engine: Callable[..., Any], make_batch: Any) -> None:
    """Three steps against torch's AdamW on transformers' own loss: clipped, decayed, norms not decayed."""
    from transformers import AutoModelForCausalLM

    batch = make_batch([7, 7], vocabulary=320)
    engine = make_engine(tiny_model, optimizer=ADAMW)
    train(engine, batch, 3)
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=0.01)
    ids = batch.token_ids.view(2, 7)
    for step in range(3):
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        for group in optimizer.param_groups:
            group["lr"] = 0.01 / (step + 1)
        optimizer.step()
    expected = dict(model.named_parameters())
    for name, tensor in weights(engine).items():
        torch.testing.assert_close(tensor, expected[name].detach(), atol=2e-5, rtol=0, msg=name)


def test_a_saved_state_goes_on_to_the_same_bits(
    tiny_model: Path, make_engine: Callable[..., Any], make_batch: Any, tmp_path: Path
) -> None:
    batch = make_batch([5, 9], vocabulary=320)
    whole = make_engine(tiny_model, optimizer=ADAMW)
    norms = train(whole, batch, 4)
    first = make_engine(tiny_model, optimizer=ADAMW)
    train(first, batch, 2)
    first.save_state(tmp_path)
    second = make_engine(tiny_model, optimizer=ADAMW)
    second.load_state(tmp_path)
    assert train(second, batch, 2, start=2) == norms[2:]
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(second)[name]), name


def test_a_state_of_another_model_or_optimizer_is_refused(
    tiny_model: Path, make_engine: Callable[..., Any], make_batch: Any, tmp_path: Path
) -> None:
    engine = make_engine(tiny_model, optimizer=ADAMW)
    train(engine, make_batch([5], vocabulary=320), 1)
    engine.save_state(tmp_path)
    with pytest.raises(CheckpointError, match="was written with an optimizer"):
        make_engine(tiny_model).load_state(tmp_path)
    with pytest.raises(CheckpointError, match=r"of another model: .*score\.weight"):
        make_engine(tiny_model, head="scalar", optimizer=ADAMW).load_state(tmp_path)
    state = load_file(tmp_path / "weights.safetensors")
    state["model.norm.weight"] = state["model.norm.weight"][:5].clone()
    save_file(state, tmp_path / "weights.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight is torch.float32 \(5,\), the model's is"):
        make_engine(tiny_model, optimizer=ADAMW).load_state(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(b"junk")
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: unreadable"):
        make_engine(tiny_model, optimizer=ADAMW).load_state(tmp_path)


def test_a_gradient_that_is_not_finite_leaves_the_weights(
    tiny_model: Path, make_engine: Callable[..., Any], make_batch: Any
) -> None:
    """The next, sound step is as if the bad one had not been."""
    batch = make_batch([5], vocabulary=320)
    engine, other = (make_engine(tiny_model, optimizer=ADAMW) for _ in range(2))
    before = weights(engine)
    engine.backward(engine.score(batch).logprobs.sum() * float("inf"), 1.0)
    with pytest.raises(NumericsError, match="the gradient's norm is nan"):
        engine.step(0.1)
    assert all(torch.equal(before[name], tensor) for name, tensor in weights(engine).items())
    assert train(engine, batch, 1) == train(other, batch, 1)


def test_a_new_scalar_head_is_drawn_from_the_seed(
    tiny_model: Path, make_engine: Callable[..., Any], make_batch: Any, tmp_path: Path
) -> None:
    """Standard deviation 1/√(32 + 1); the same seed, the same head; a saved head is read back."""
    draws = [dict(make_engine(tiny_model, head="scalar", seed=seed).weights())["score.weight"] for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert 0.5 < float(draws[0].std()) * 33**0.5 < 1.5
    engine = make_engine(tiny_model, head="scalar", seed=1, optimizer=ADAMW)
    batch = make_batch([4, 6], vocabulary=320)
    values = engine.score(batch, ("values",), grad=False).values
    assert (values.shape, values.dtype, values.requires_grad) == ((10,), torch.float32, False)
    engine.save_model(tmp_path)
    again = make_engine(tmp_path, head="scalar", seed=9).score(batch, ("values",)).values
    torch.testing.assert_close(again, values, atol=0, rtol=0)


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_padded_batch_is_scored_where_it_was_trained(
    side: str, tiny_model: Path, make_engine: Callable[..., Any], tmp_path: Path
) -> None:
    """Of a base model that pads with the token that ends sequences, as SmolLM2's tokenizer does.

    transformers reads the last token that is not padding: it once read the saved model's value at the token before
    `<eos>`, the engine's at `<eos>`.
    """
    import shutil

    from transformers import AutoModelForSequenceClassification

    from aftertrain.core.packed.packing import Segment, collate

    base, saved = tmp_path / "base", tmp_path / "saved"
    shutil.copytree(tiny_model, base)
    for name, changes in {"config.json": {"pad_token_id": 2}, "tokenizer_config.json": {"pad_token": "<eos>"}}.items():
        path = base / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    engine = make_engine(base, head="scalar", optimizer=ADAMW, seed=1)
    rows = [[5, 6, 7, 8, 2], [9, 10, 2]]
    batch = collate([Segment(str(i), ids, [True] * len(ids), group=i) for i, ids in enumerate(rows)])
    trained = engine.score(batch, ("values",), grad=False).values[batch.last_token()].tolist()
    engine.save_model(saved)
    model = AutoModelForSequenceClassification.from_pretrained(saved).eval()
    pad = [model.config.pad_token_id] * 2
    short = rows[1] + pad if side == "right" else pad + rows[1]
    seen = torch.tensor([[1] * 5, [int(token != pad[0]) for token in short]])
    with torch.no_grad():
        found = model(
            input_ids=torch.tensor([rows[0], short]),
            attention_mask=seen,
            position_ids=(seen.cumsum(1) - 1).clamp(min=0),
        ).logits.flatten()
    assert found.tolist() == pytest.approx(trained, abs=1e-5)
    assert json.loads((base / "config.json").read_text())["pad_token_id"] == 2


def test_values_are_the_classifiers_own(
    tiny_model: Path, make_engine: Callable[..., Any], make_batch: Any, tmp_path: Path
) -> None:
    """At a segment's last token the value is what transformers' classifier returns for that sequence."""
    from transformers import AutoModelForSequenceClassification

    engine = make_engine(tiny_model, head="scalar", seed=1)
    batch = make_batch([4, 6], vocabulary=320)
    engine.save_model(tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    expected = [model(input_ids=ids.unsqueeze(0)).logits.item() for ids in batch.token_ids.split([4, 6])]
    values = engine.score(batch, ("values",), grad=False).values
    assert values[batch.last_token()].tolist() == pytest.approx(expected, abs=1e-6)


def test_scores_outside_the_masks_are_zero(tiny_model: Path, make_engine: Any, make_batch: Any) -> None:
    batch = make_batch([6], vocabulary=320)
    batch.masks["loss_mask"][:3] = False
    logprobs = make_engine(tiny_model).score(batch, grad=False).logprobs
    assert logprobs[:3].tolist() == [0.0, 0.0, 0.0]
    assert (logprobs[3:] < 0).all()


def test_temperature_divides_the_logits(tiny_model: Path, make_engine: Any, make_batch: Any) -> None:
    """As the temperature grows, every token's log-probability tends to −log of the vocabulary's size."""
    engine, batch = make_engine(tiny_model), make_batch([9], vocabulary=320)
    scores = engine.score(batch, ("logprobs", "entropy"), temperature=1e6, grad=False)
    uniform = torch.tensor(323.0).log()
    torch.testing.assert_close(-scores.logprobs[1:], uniform.expand(8), atol=1e-4, rtol=0)
    torch.testing.assert_close(scores.entropy[1:], uniform.expand(8), atol=1e-4, rtol=0)


def test_activation_checkpointing_changes_no_bit(tiny_model: Path, make_engine: Any, make_batch: Any) -> None:
    batch = make_batch([5, 9, 3], vocabulary=320)
    plain = make_engine(tiny_model, optimizer=ADAMW)
    saving = make_engine(tiny_model, optimizer=ADAMW, activation_checkpointing=True)
    calls = []
    layer = saving._model.model.layers[0].mlp
    layer.register_forward_pre_hook(lambda *args: calls.append(1))
    assert train(plain, batch, 2) == train(saving, batch, 2)
    assert len(calls) == 4
    assert all(torch.equal(tensor, weights(saving)[name]) for name, tensor in weights(plain).items())


def test_bfloat16_keeps_float32_weights(tiny_model: Path, make_engine: Any, make_batch: Any, tmp_path: Path) -> None:
    """Products in bfloat16, weights and moments in float32, the saved model in bfloat16."""
    batch = make_batch([8], vocabulary=320)
    engine = make_engine(tiny_model, optimizer=ADAMW, dtype="bfloat16")
    exact = make_engine(tiny_model).score(batch, grad=False).logprobs
    rough = engine.score(batch, grad=False).logprobs
    assert 0 < float((exact - rough).abs().max()) < 0.3
    train(engine, batch, 1)
    assert {tensor.dtype for tensor in weights(engine).values()} == {torch.float32}
    engine.save_model(tmp_path)
    assert {tensor.dtype for tensor in load_file(tmp_path / "model.safetensors").values()} == {torch.bfloat16}
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
    assert {tensor.dtype for tensor in weights(engine).values()} == {torch.float32}


def test_bfloat16_values_are_not_rounded_to_bfloat16(tiny_model: Path, make_engine: Any, make_batch: Any) -> None:
    """Near a reward of 10 they came in steps of 1/16, and so did the advantages made of them."""
    values = make_engine(tiny_model, head="scalar", dtype="bfloat16").score(make_batch([40]), ("values",)).values
    assert not torch.equal(values, values.bfloat16().float())
    assert len(values.unique()) == 40


def test_the_weights_carry_the_folders_names(tiny_model: Path, make_engine: Any) -> None:
    engine = make_engine(tiny_model)
    assert set(weights(engine)) == set(load_file(tiny_model / "model.safetensors"))
    assert engine.n_parameters == sum(tensor.numel() for tensor in weights(engine).values())


def test_what_cannot_be_loaded_is_named(tiny_model: Path, make_engine: Any, make_batch: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"{tmp_path}/config\.json: cannot be read: No such file"):
        make_engine(tmp_path)
    classifier = tmp_path / "classifier"
    make_engine(tiny_model, head="scalar").save_model(classifier)
    with pytest.raises(ModelError, match=r"a reward model .* where a language model is needed"):
        make_engine(classifier)
    with pytest.raises(ModelError, match="head 'lm' has no values"):
        make_engine(tiny_model).score(make_batch([3]), ("values",))


def test_missing_weights_are_not_made_up(tiny_model: Path, make_engine: Any, tmp_path: Path) -> None:
    for file in ("config.json", "generation_config.json"):
        (tmp_path / file).write_bytes((tiny_model / file).read_bytes())
    state = load_file(tiny_model / "model.safetensors")
    del state["model.layers.1.mlp.up_proj.weight"]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ModelError, match=r"weights are missing from the folder: model\.layers\.1\.mlp\.up_proj\.weight"
    ):
        make_engine(tmp_path)

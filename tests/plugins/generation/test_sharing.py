"""A generator that reads the trainer's own weights replies as one with a copy, and holds nothing while it rests."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from aftertrain.core.engine import AdamW
from aftertrain.core.errors import ModelError
from aftertrain.core.generator import GenerationRequest, Sampling
from aftertrain.core.packed.packing import Segment, collate
from aftertrain.plugins.generation import weights
from aftertrain.plugins.generation.products import DecodingLinear
from aftertrain.plugins.generation.settings import TransformersSettings
from aftertrain.plugins.generation.transformers import Transformers
from aftertrain.plugins.torch_engine.engine import TorchEngine
from aftertrain.plugins.torch_engine.settings import Lora, TorchSettings

DType = Literal["float32", "bfloat16"]


def _engine(folder: Path, **settings: Any) -> TorchEngine:
    engine = TorchEngine(TorchSettings(device="cpu", **settings), None)  # type: ignore[arg-type]
    engine.load(str(folder), optimizer=AdamW())
    return engine


def _generator(folder: Path, dtype: DType = "float32", lender: TorchEngine | None = None) -> Transformers:
    generator = Transformers(TransformersSettings(device="cpu", dtype=dtype), None)  # type: ignore[arg-type]
    if lender is not None:
        generator.borrow(dict(lender.weights()))
    generator.open(str(folder))
    return generator


def _learn(engine: TorchEngine) -> None:
    scores = engine.score(collate([Segment("s", (5, 6, 7, 8), (False, True, True, True))])).logprobs
    assert scores is not None
    engine.backward(-scores.sum(), 3.0)
    engine.step(0.05)


def _requests() -> list[GenerationRequest]:
    sampling = Sampling(max_new_tokens=8)
    return [GenerationRequest(str(i), tuple(range(5, 7 + i % 3)), sampling, i) for i in range(6)]


def _network(generator: Transformers) -> Any:
    network: Any = generator._opened().network
    return network._model


def _layers(generator: Transformers) -> list[DecodingLinear]:
    return [layer for layer in _network(generator).modules() if isinstance(layer, DecodingLinear)]


@pytest.mark.parametrize("smallest", [1, weights.WORTH_PACKING])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_borrowed_weights_reply_as_copied_ones(
    monkeypatch: pytest.MonkeyPatch, tiny_model: Path, dtype: DType, smallest: int
) -> None:
    """Bit for bit, before and after an optimizer step, whether layers are packed or too small for it."""
    monkeypatch.setattr(weights, "WORTH_PACKING", smallest)
    engine = _engine(tiny_model)
    assert engine.lends
    borrowing, copying = _generator(tiny_model, dtype, engine), _generator(tiny_model, dtype)
    before = borrowing.generate(_requests())
    assert before == copying.generate(_requests())
    _learn(engine)
    for generator in (borrowing, copying):
        generator.update_weights(engine.weights(), 1)
    after = borrowing.generate(_requests())
    assert after == copying.generate(_requests())
    assert [c.logprobs for c in before] != [c.logprobs for c in after]


def test_no_second_copy_is_held_while_the_generator_rests(monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> None:
    """Packed weights are there while replies are made, and every other tensor is the trainer's own."""
    monkeypatch.setattr(weights, "WORTH_PACKING", 1)
    engine = _engine(tiny_model)
    generator = _generator(tiny_model, lender=engine)
    own = {tensor.data_ptr() for _, tensor in engine.weights()}
    assert {tensor.data_ptr() for tensor in _network(generator).parameters()} <= own
    layers = _layers(generator)
    assert layers
    assert all(layer.packed is None and layer.plain is None for layer in layers)
    generator.submit(_requests())
    generator._advance(generator._opened())
    assert all(layer.packed is not None for layer in layers)
    while generator.collect():
        pass
    assert all(layer.packed is None for layer in layers)


def test_weights_that_are_not_the_network_s_are_refused(tiny_model: Path) -> None:
    engine = _engine(tiny_model)
    lent = dict(engine.weights())
    generator = Transformers(TransformersSettings(device="cpu"), None)  # type: ignore[arg-type]
    generator.borrow({name: tensor for name, tensor in lent.items() if name != "model.norm.weight"})
    with pytest.raises(ModelError, match=r"missing from the update: model\.norm\.weight"):
        generator.open(str(tiny_model))
    generator.borrow({**lent, "model.norm.weight": torch.ones(31)})
    with pytest.raises(ModelError, match=r"shape \(31,\), the generator's \(32,\)"):
        generator.open(str(tiny_model))


def test_lent_weights_stay_where_they_are(tiny_model: Path) -> None:
    """An update with other tensors would leave the generator with the old ones, or write into the trainer's."""
    engine = _engine(tiny_model)
    generator = _generator(tiny_model, lender=engine)
    with pytest.raises(ModelError, match="was lent to the generator and stands elsewhere now"):
        generator.update_weights(((name, tensor.clone()) for name, tensor in engine.weights()), 1)


def test_an_engine_with_adapters_lends_nothing(tiny_model: Path) -> None:
    """What it hands over are sums of base and adapters, made anew each time."""
    assert not _engine(tiny_model, lora=Lora(rank=2)).lends


def test_the_online_stage_lends_the_policy_s_weights(tiny_model: Path) -> None:
    """What the stage opens is one set of weights, though policy and generator are built each by itself."""
    from types import SimpleNamespace

    from aftertrain.plugins.online.models import load_models

    class Builder:
        def build(self, use: str) -> Any:
            if use == "torch":
                return TorchEngine(TorchSettings(device="cpu"), None)  # type: ignore[arg-type]
            return Transformers(TransformersSettings(device="cpu"), None)  # type: ignore[arg-type]

    method, kl = SimpleNamespace(critic=False, reference=True), SimpleNamespace(beta=0.0)
    settings: Any = SimpleNamespace(engine="torch", generator="transformers", optimizer=AdamW(), method=method, kl=kl)
    models = load_models(settings, Builder(), {"model": str(tiny_model)}, seed=0)  # type: ignore[arg-type]
    assert isinstance(models.generator, Transformers)
    own = {tensor.data_ptr() for _, tensor in models.policy.weights()}
    assert {tensor.data_ptr() for tensor in _network(models.generator).parameters()} <= own
    models.publish(1)
    assert {v for c in models.generator.generate(_requests()) for v in c.versions} == {1}

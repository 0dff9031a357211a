"""The generator and the trainer agree on log-probabilities: else ratios would be wrong before the first update."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest
import torch

from aftertrain.core.engine import AdamW
from aftertrain.core.generator import GenerationRequest, Sampling
from aftertrain.core.packed.packing import Segment, collate
from aftertrain.core.records import Completion
from aftertrain.plugins.generation.settings import TransformersSettings
from aftertrain.plugins.generation.transformers import Transformers
from aftertrain.plugins.torch_engine.engine import TorchEngine
from aftertrain.plugins.torch_engine.settings import TorchSettings


def _difference(completions: Sequence[Completion], engine: TorchEngine, temperature: float) -> torch.Tensor:
    """Absolute differences per sampled token; the engine scores all replies in one packed batch."""
    segments = [
        Segment(c.id, (*c.prompt_ids, *c.token_ids), (*[False] * len(c.prompt_ids), *[True] * len(c.token_ids)))
        for c in completions
    ]
    batch = collate(segments)
    scores = engine.score(batch, temperature=temperature, grad=False).logprobs
    assert scores is not None
    generated = torch.tensor([logprob for c in completions for logprob in c.logprobs])
    return (scores[batch.loss_mask] - generated).abs()


def _open(folder: str) -> tuple[Transformers, TorchEngine]:
    generator = Transformers(TransformersSettings(device="cpu"), None)  # type: ignore[arg-type]
    engine = TorchEngine(TorchSettings(device="cpu"), None)  # type: ignore[arg-type]
    generator.open(folder)
    engine.load(folder, optimizer=AdamW())
    return generator, engine


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_tiny_model_before_and_after_an_update(tiny_model: object, temperature: float) -> None:
    generator, engine = _open(str(tiny_model))
    sampling = Sampling(max_new_tokens=20, temperature=temperature)
    requests = [GenerationRequest(str(i), tuple(range(5, 8 + i)), sampling, i) for i in range(8)]
    assert _difference(generator.generate(requests), engine, temperature).max() < 1e-4
    batch = collate([Segment("s", (5, 6, 7, 8), (False, True, True, True))])
    scores = engine.score(batch).logprobs
    assert scores is not None
    engine.backward(-scores.sum(), 3.0)
    engine.step(0.05)
    stale = _difference(generator.generate(requests), engine, temperature)
    assert stale.max() > 1e-2, "the update is too small to show a generator that missed it"
    generator.update_weights(engine.weights(), 1)
    assert _difference(generator.generate(requests), engine, temperature).max() < 1e-4


@pytest.mark.slow
def test_smollm2_in_float32() -> None:
    """Mean absolute difference below 1e-4 nats on a real model, from short prompts of unequal length."""
    folder = os.environ.get("AFTERTRAIN_SMOLLM2")
    if not folder:
        pytest.skip("AFTERTRAIN_SMOLLM2 is not set: it names a Hugging Face folder of SmolLM2-135M")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompts = ("2 + 2 =", "Once upon a time there was a small", "The capital of France")
    generator, engine = _open(folder)
    requests = [
        GenerationRequest(text, tuple(tokenizer(text)["input_ids"]), Sampling(max_new_tokens=12), 7) for text in prompts
    ]
    assert _difference(generator.generate(requests), engine, 1.0).mean() < 1e-4

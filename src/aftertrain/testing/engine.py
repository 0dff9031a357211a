"""What an engine promises: the model's own scores however packed, gradients divided once, state restored to the bit."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from aftertrain.core.batch import PackedBatch
from aftertrain.core.engine import AdamW, Engine
from aftertrain.core.errors import NumericsError
from aftertrain.core.packed.packing import Segment, collate
from aftertrain.testing.model import plain_logits, tiny_model
from aftertrain.testing.promise import BrokenPromise, Subject, require

LENGTHS = (5, 17, 9, 3, 12)
CLOSE = 1e-3
"""Largest difference of a float32 log-probability."""


def scores_are_the_models(subject: Subject) -> None:
    """Packed log-probabilities agree with transformers' own, sample by sample and without packing."""
    engine, folder = _loaded(subject)
    batch = _batch()
    samples = zip(_pieces(batch.token_ids), _pieces(_logprobs(engine, batch)), strict=True)
    for place, (ids, ours) in enumerate(samples):
        off = float((ours[1:].cpu() - _expected(folder, ids)).abs().max())
        require(off < CLOSE, f"sample {place} of {len(ids)} tokens differs by {off:.2g} from transformers")
        require(float(ours[0]) == 0.0, "the first token of a sample, which nothing predicts, has a score")


def packing_changes_no_score(subject: Subject) -> None:
    """A sample's scores are the same alone and beside others."""
    engine, _ = _loaded(subject)
    together = _pieces(_logprobs(engine, _batch()))
    for place in range(len(LENGTHS)):
        off = float((_logprobs(engine, _batch([place])) - together[place]).abs().max())
        require(off < CLOSE, f"sample {place} differs by {off:.2g} alone and packed")


def temperature_divides_logits(subject: Subject) -> None:
    """A temperature of 2 gives the log-softmax of halved logits."""
    engine, folder = _loaded(subject)
    batch = _batch([1])
    ours = _given(engine.score(batch, temperature=2.0, grad=False).logprobs)
    off = float((ours[1:].cpu() - _expected(folder, batch.token_ids, temperature=2.0)).abs().max())
    require(off < CLOSE, f"differs by {off:.2g}")


def micro_batches_add_up(subject: Subject) -> None:
    """The gradient of a batch is that of its parts, each divided by the whole count."""
    whole, _ = _loaded(subject, train=True)
    parts, _ = _loaded(subject, train=True)
    _backward(whole, [_batch()])
    _backward(parts, [_batch([place]) for place in range(len(LENGTHS))])
    a, b = whole.step(1e-3).grad_norm, parts.step(1e-3).grad_norm
    require(abs(a - b) <= 1e-3 * max(1e-6, a), f"gradient norms {a:.6g} and {b:.6g}")
    require(a > 0, "the gradient is zero")


def steps_lower_a_loss(subject: Subject) -> None:
    """Ten steps on one batch lower its loss."""
    engine, _ = _loaded(subject, train=True)
    before = -float(_logprobs(engine, _batch()).sum())
    for _ in range(10):
        _backward(engine, [_batch()])
        engine.step(1e-2)
    after = -float(_logprobs(engine, _batch()).sum())
    require(after < before, f"the loss went from {before:.4f} to {after:.4f}")


def state_comes_back_to_the_bit(subject: Subject) -> None:
    """After `save_state`, a new engine with `load_state` takes the same next steps to the same bits."""
    first, _ = _loaded(subject, train=True)
    for _ in range(2):
        _backward(first, [_batch()])
        first.step(1e-3)
    state = subject.folder / "state"
    state.mkdir()
    first.save_state(state)
    second, _ = _loaded(subject, train=True)
    second.load_state(state)
    for engine in (first, second):
        _backward(engine, [_batch([0, 1]), _batch([2, 3, 4])])
        engine.step(1e-3)
    ours, theirs = _weights(first), _weights(second)
    require(ours.keys() == theirs.keys(), "the weights have other names")
    for name, tensor in ours.items():
        require(torch.equal(tensor, theirs[name]), f"the weight {name!r} differs after a restore and one step")


def a_bad_gradient_is_refused(subject: Subject) -> None:
    """A gradient that is not finite raises `NumericsError` and leaves the weights as they were."""
    engine, _ = _loaded(subject, train=True)
    before = _weights(engine)
    engine.backward(_given(engine.score(_batch()).logprobs).sum() * float("nan"), 1.0)
    try:
        engine.step(1e-3)
    except NumericsError:
        after = _weights(engine)
        require(all(torch.equal(before[name], after[name]) for name in before), "the weights were changed")
        return
    raise BrokenPromise("a gradient of NaN was stepped with")


def saved_models_are_plain_folders(subject: Subject) -> None:
    """What `save_model` writes, transformers loads, with the same weights under the names that `weights` gives."""
    engine, _ = _loaded(subject, train=True)
    _backward(engine, [_batch()])
    engine.step(1e-2)
    saved = subject.folder / "saved"
    engine.save_model(saved)
    state = AutoModelForCausalLM.from_pretrained(saved, dtype=torch.float32, trust_remote_code=False).state_dict()
    for name, tensor in _weights(engine).items():
        require(name in state, f"weights() gives {name!r}, which the saved model has not")
        close = torch.allclose(state[name], tensor.float().cpu(), atol=1e-3 if tensor.dtype != torch.float32 else 0.0)
        require(close, f"the weight {name!r} was saved with other values")


def a_scalar_head_gives_values(subject: Subject) -> None:
    """With a scalar head, each token has a finite value that the seed decides."""
    draws = []
    for seed in (0, 0, 1):
        engine, _ = _loaded(subject, head="scalar", seed=seed)
        values = _given(engine.score(_batch(), ("values",), grad=False).values)
        require(values.shape == (sum(LENGTHS),), f"values have shape {tuple(values.shape)}")
        require(bool(torch.isfinite(values).all()), "a value is not finite")
        draws.append(values)
    require(torch.equal(draws[0], draws[1]), "equal seeds start from other heads")
    require(not torch.equal(draws[0], draws[2]), "other seeds start from equal heads")


def _loaded(subject: Subject, *, train: bool = False, **options: Any) -> tuple[Engine[Any], str]:
    """A new engine with the tiny model, and the model's folder."""
    engine: Engine[Any] = subject.component()
    model = subject.folder / "model"
    folder = str(model) if model.is_dir() else tiny_model(model)  # others may have it mapped
    engine.load(folder, optimizer=AdamW() if train else None, **options)
    return engine, folder


def _expected(folder: str, ids: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Log-probabilities of a sample's tokens after the first."""
    theirs = torch.log_softmax(plain_logits(folder, ids) / temperature, -1)
    return theirs[:-1].gather(1, ids[1:].unsqueeze(1)).squeeze(1)


def _batch(places: Sequence[int] | None = None) -> PackedBatch:
    """Random samples of `LENGTHS` tokens, or those at `places`; all but the first token are targets."""
    rng = random.Random(0)
    ids = [[rng.randrange(4, 90) for _ in range(length)] for length in LENGTHS]
    chosen = range(len(LENGTHS)) if places is None else places
    return collate([Segment(f"sample-{place}", ids[place], [True] * len(ids[place])) for place in chosen])


def _logprobs(engine: Engine[Any], batch: PackedBatch) -> Tensor:
    logprobs = _given(engine.score(batch, grad=False).logprobs)
    require(not logprobs.requires_grad, "scores without grad carry a gradient")
    return logprobs.float()


def _given(scores: Tensor | None) -> Tensor:
    if scores is None:
        raise BrokenPromise("score leaves out what it was asked for")
    return scores


def _pieces(values: Tensor) -> list[Tensor]:
    """One tensor for each of `LENGTHS`."""
    return list(torch.split(values, list(LENGTHS)))


def _backward(engine: Engine[Any], batches: Sequence[PackedBatch]) -> None:
    for batch in batches:
        engine.backward(-_given(engine.score(batch).logprobs).sum(), float(sum(LENGTHS)))


def _weights(engine: Engine[Any]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in engine.weights()}

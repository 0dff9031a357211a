"""An engine with a head kernel: refused before a run or at loading, called with targets only, never replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from aftertrain.core.engine import AdamW
from aftertrain.core.errors import ModelError
from aftertrain.core.packed.packing import Segment, collate
from aftertrain.core.settings import Use
from aftertrain.plugins.torch_engine.engine import TorchEngine
from aftertrain.plugins.torch_engine.settings import TorchSettings
from aftertrain.testing.build import build
from tests.testing.offenders import GoodKernel, MeanKernel, Nothing


class Recording(GoodKernel):
    """Remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(Nothing(), None)  # type: ignore[arg-type]
        self.calls: list[Any] = []

    def __call__(self, hidden: Any, head: Any, ids: Any, wants: Any, *, temperature: float) -> Any:
        self.calls.append((len(hidden), ids.tolist(), set(wants), temperature))
        return super().__call__(hidden, head, ids, wants, temperature=temperature)


class Only:
    """A builder of one component."""

    def __init__(self, component: Any) -> None:
        self.component = component

    def build(self, use: Any) -> Any:
        return self.component


def engine(kernel: Any, **settings: Any) -> TorchEngine:
    use: Any = None if kernel is None else Use("head_kernel", "kernel", Nothing())
    return TorchEngine(TorchSettings(device="cpu", head_kernel=use, **settings), Only(kernel))


def test_what_a_kernel_cannot_promise_is_told() -> None:
    """Sums in the order in which blocks finish are other bits in every run."""
    from aftertrain.plugins.head_kernels.cut_cross_entropy import CutCrossEntropy
    from aftertrain.plugins.head_kernels.settings import CutCrossEntropySettings

    (note,) = engine(CutCrossEntropy(CutCrossEntropySettings(), None)).notes()  # type: ignore[arg-type]
    assert note.endswith("runs of one seed, and resumed ones, differ by rounding")
    assert not engine(Recording()).notes()
    assert not engine(None).notes()


def test_a_wrong_gradient_is_found_when_the_model_is_loaded(tiny_model: Path) -> None:
    wrong = MeanKernel(Nothing(), None)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"engine\.head_kernel MeanKernel differs from our head by .* of the norm of"):
        engine(wrong).load(str(tiny_model))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_kernel_scores_targets_and_our_head_the_rest(dtype: Any, tiny_model: Path) -> None:
    """Two targets of five tokens. Scores and the step's gradient are those of our head alone; none without a target."""
    kernel = Recording()
    ids = [5, 6, 7, 8, 9]
    batch = collate([Segment("a", ids, [False, False, True, False, True])])
    found = []
    for each in (kernel, None):
        one = engine(each, dtype=dtype)
        one.load(str(tiny_model), optimizer=AdamW(max_grad_norm=None))
        kernel.calls.clear()
        scores = one.score(batch, ("logprobs", "entropy", "hits"), temperature=0.7)
        one.backward((scores.logprobs * torch.arange(5.0) + scores.entropy).sum(), 1.0)  # type: ignore[operator]
        assert kernel.calls == ([(2, [7, 9], {"logprobs"}, 0.7)] if each else [])
        found.append([*scores.filled().values(), torch.tensor(one.step(0.0).grad_norm)])
    tolerance = 1e-5 if dtype == "float32" else 0.02
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)
    with_kernel = engine(kernel)
    with_kernel.load(str(tiny_model))
    kernel.calls.clear()
    empty = with_kernel.score(collate([Segment("a", ids, [False] * 5)]), ("logprobs",)).logprobs
    assert empty is not None
    assert (empty.tolist(), kernel.calls) == ([0.0] * 5, [])


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("use", ["torch", "deepspeed"])
def test_what_needs_a_gpu_is_told_without_weights(use: str, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((tiny_model / "config.json").read_bytes())
    made = build("engine", use, device="cpu", head_kernel="liger")
    with pytest.raises(ModelError, match=r"engine\.head_kernel is liger, which needs a GPU"):
        made.preflight(str(tmp_path))
    made.preflight(str(tmp_path), head="scalar")
    assert made.memory(None, 0, 0, 0) == {}


def test_it_is_part_of_the_hash() -> None:
    one, other = (build("engine", "torch", head_kernel=kernel).settings.affecting() for kernel in (None, "liger"))
    assert (one["head_kernel"], other["head_kernel"]) == (None, {"use": "liger"})

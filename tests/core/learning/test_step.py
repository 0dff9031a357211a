"""The shared optimizer step on an engine of two numbers: counting, dividing, statistics, errors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from aftertrain.core.batch import CHOSEN, PROBE, PackedBatch, TokenScores
from aftertrain.core.engine import Engine, StepReport
from aftertrain.core.errors import NumericsError
from aftertrain.core.learning.step import Accumulator, measure, train_step
from aftertrain.core.loss import Loss, LossOutput, Needs, Ratio
from aftertrain.core.packed.packing import Segment, collate
from aftertrain.core.ranks import Ranks
from aftertrain.core.settings import Settings


class Copies(Ranks):
    """So many ranks that all hold what this one holds."""

    def __init__(self, size: int) -> None:
        super().__init__(size=size)

    def gather(self, value: Any, what: str) -> list[Any]:
        return [value] * self.size


class Line(Engine[Settings]):
    """logprob of token id x is `slope * x`; `ranks` pretends that others hold the same batches."""

    def __init__(self, slope: float = 1.0, ranks: int = 1) -> None:
        self.slope = torch.tensor(slope, requires_grad=True)
        self.ranks = Copies(ranks)
        self.scored = 0

    def load(self, model: str, **options: Any) -> None: ...

    def score(
        self, batch: PackedBatch, wants: Iterable[Any] = (), *, temperature: float = 1.0, grad: bool = True
    ) -> TokenScores:
        self.scored += 1
        found = self.slope * batch.token_ids
        return TokenScores(**dict.fromkeys(wants, found if grad else found.detach()))

    def backward(self, numerator: Tensor, denominator: float) -> None:
        (numerator / denominator).backward()

    def step(self, learning_rate: float) -> StepReport:
        assert self.slope.grad is not None
        gradient, self.slope.grad = float(self.slope.grad), None
        if not math.isfinite(gradient):
            raise NumericsError(f"the gradient's norm is {gradient}")
        return StepReport(gradient, learning_rate)

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        yield "slope", self.slope

    def save_model(self, folder: Path) -> None: ...
    def save_state(self, folder: Path) -> None: ...
    def load_state(self, folder: Path) -> None: ...

    @property
    def n_parameters(self) -> int:
        return 1


class Sum(Loss[Settings]):
    """Sum of the targets' scores, per token."""

    def __init__(self) -> None: ...

    @property
    def needs(self) -> Needs:
        return Needs(records=frozenset({"Conversation"}))

    def __call__(self, batch: PackedBatch, scores: TokenScores) -> LossOutput:
        assert scores.logprobs is not None
        total = scores.logprobs[batch.targets].sum()
        return LossOutput({"policy": total}, {"score": Ratio(total, batch.targets.sum()), "nothing": Ratio(0.0, 0)})


class Centred(Sum):
    """Subtracts the step's mean, which it learns from `statistics`."""

    @property
    def needs(self) -> Needs:
        return replace(super().needs, statistics=True)

    def statistics(self, batch: PackedBatch, scores: TokenScores) -> Mapping[str, Tensor]:
        assert scores.logprobs is not None
        assert not scores.logprobs.requires_grad
        targets = batch.targets
        return {"moments": torch.stack([scores.logprobs[targets].sum(), targets.sum()])}

    def __call__(self, batch: PackedBatch, scores: TokenScores) -> LossOutput:
        assert scores.logprobs is not None
        total, count = batch.statistics["moments"]
        return LossOutput({"policy": ((scores.logprobs - total / count)[batch.targets] ** 2).sum()})


def segment(name: str, *ids: int) -> Segment:
    return Segment(name, ids, [True] * len(ids))


SEGMENTS = [segment("a", 0, 1, 2), segment("b", 0, 3), segment("c", 0, 4, 5, 6)]
"""Targets 1, 2, 3, 4, 5, 6: their sum is 21, their mean 3.5."""
CUTS = {
    "whole": [SEGMENTS],
    "uneven": [SEGMENTS[:1], SEGMENTS[1:]],
    "single": [[each] for each in SEGMENTS],
}


@pytest.mark.parametrize("cut", CUTS)
def test_sums_are_divided_once_over_all_micro_batches(cut: str) -> None:
    """Loss and gradient are 21/6 = 3.5 however the step is cut; a mean of means would be 1.5, 3 and 5 → 3.17."""
    engine = Line()
    result = train_step(
        {"policy": engine}, Sum(), [collate(part) for part in CUTS[cut]], {"policy": 0.1}, step=1, progress=1.0
    )
    assert result.losses == {"policy": pytest.approx(3.5)}
    assert result.reports["policy"] == StepReport(pytest.approx(3.5), 0.1)
    assert result.metrics == {"score": pytest.approx(3.5)}
    assert result.tokens == 9
    assert engine.scored == len(CUTS[cut])


def test_ranks_share_one_denominator() -> None:
    """Two ranks with the same batches: 42/12; this rank's share of the gradient is 21/12."""
    engine = Line(ranks=2)
    result = train_step({"policy": engine}, Sum(), [collate(SEGMENTS)], {"policy": 0.1}, step=1, progress=1.0)
    assert result.losses["policy"] == pytest.approx(3.5)
    assert result.reports["policy"].grad_norm == pytest.approx(21 / 12)
    assert (result.metrics, result.tokens) == ({"score": pytest.approx(3.5)}, 18)


def test_filler_is_not_counted_as_tokens() -> None:
    """A rank that repeats a segment with weight 0, for others' sake, has not trained more tokens."""
    batches = [collate(SEGMENTS), collate([replace(SEGMENTS[0], weight=0.0)])]
    result = train_step({"policy": Line()}, Sum(), batches, {"policy": 0.1}, step=1, progress=1.0)
    assert (result.tokens, result.losses) == (9, {"policy": pytest.approx(3.5)})


@pytest.mark.parametrize("cut", CUTS)
def test_statistics_are_of_the_whole_step(cut: str) -> None:
    """The variance of 1 … 6 is 35/12, with the mean over all micro-batches; it costs a second forward."""
    engine = Line()
    result = train_step(
        {"policy": engine}, Centred(), [collate(part) for part in CUTS[cut]], {"policy": 0.1}, step=1, progress=1.0
    )
    assert result.losses["policy"] == pytest.approx(35 / 12)
    assert engine.scored == 2 * len(CUTS[cut])


def test_a_loss_that_is_not_finite_names_step_and_sample() -> None:
    class Broken(Line):
        def score(self, batch: PackedBatch, *args: Any, **kwargs: Any) -> TokenScores:
            return TokenScores(logprobs=(self.slope * batch.token_ids).masked_fill(batch.token_ids == 4, float("nan")))

    with pytest.raises(NumericsError, match=r"step 7: loss 'policy' is nan; samples: c$"):
        train_step({"policy": Broken()}, Sum(), [collate(SEGMENTS)], {"policy": 0.1}, step=7, progress=1.0)


def test_what_a_loss_refuses_leaves_nothing_behind() -> None:
    """The gradients of the micro-batches before it were left for the next step to add to."""

    class Picky(Sum):
        def __call__(self, batch: PackedBatch, scores: TokenScores) -> LossOutput:
            if "c" in batch.sample_ids:
                raise NumericsError("no number fits c")
            return super().__call__(batch, scores)

    engine = Line()
    batches = [collate([segment]) for segment in SEGMENTS]
    with pytest.raises(NumericsError, match=r"^step 3: no number fits c$"):
        train_step({"policy": engine}, Picky(), batches, {"policy": 0.1}, step=3, progress=1.0)
    after = train_step({"policy": engine}, Sum(), batches, {"policy": 0.1}, step=4, progress=1.0)
    assert after == train_step({"policy": Line()}, Sum(), batches, {"policy": 0.1}, step=4, progress=1.0)
    with pytest.raises(NumericsError, match=r"^no number fits c$"):
        measure({"policy": engine}, Picky(), batches, progress=1.0)


def test_a_step_without_targets_is_an_error() -> None:
    batch = collate([Segment("a", [0, 1], [True, False])])
    with pytest.raises(NumericsError, match=r"step 2: the batch holds no token to learn from \(term 'policy'\)"):
        train_step({"policy": Line()}, Sum(), [batch], {"policy": 0.1}, step=2, progress=1.0)


def test_metrics_add_before_they_divide() -> None:
    metrics = Accumulator()
    metrics.add({"accuracy": Ratio(torch.tensor(1.0, requires_grad=True), torch.tensor(1))})
    metrics.add({"accuracy": Ratio(1.0, 3), "rare": Ratio(2, 4)})
    assert metrics.result() == {"accuracy": 0.5, "rare": 0.5}


class Shifted(Centred):
    """Subtracts the probes' mean."""

    @property
    def needs(self) -> Needs:
        return replace(super().needs, probes="mismatched")

    def __call__(self, batch: PackedBatch, scores: TokenScores) -> LossOutput:
        assert scores.logprobs is not None
        assert PROBE not in batch.segments["role"]
        total, count = batch.statistics["moments"]
        return LossOutput({"policy": (scores.logprobs - total / count)[batch.targets].sum()})

    def statistics(self, batch: PackedBatch, scores: TokenScores) -> Mapping[str, Tensor]:
        assert set(batch.segments["role"].tolist()) == {PROBE}
        return super().statistics(batch, scores)


@pytest.mark.parametrize("cut", CUTS)
def test_probes_are_for_statistics_alone(cut: str) -> None:
    """Beside each segment a probe of two targets of 10: their mean is 10, so the loss is 3.5 − 10, over six targets.

    The gradient is that of the segments: 21/6. A step's tokens do not count probes.
    """
    engine = Line()
    parts = [[each for one in part for each in (one, probe(one))] for part in CUTS[cut]]
    batches = [collate(part) for part in parts]
    result = train_step({"policy": engine}, Shifted(), batches, {"policy": 0.1}, step=1, progress=1.0)
    assert result.losses["policy"] == pytest.approx(-6.5)
    assert result.reports["policy"].grad_norm == pytest.approx(3.5)
    assert result.tokens == 9


def probe(beside: Segment) -> Segment:
    return replace(segment(f"{beside.sample_id}/probe", 0, 10, 10), role=PROBE)


def test_a_loss_gets_the_masks_and_the_progress_it_asks_for() -> None:
    """The masks are there before the engine scores, so that it scores those tokens too."""

    class Whole(Sum):
        @property
        def needs(self) -> Needs:
            return Needs(records=frozenset({"Conversation"}), masks=frozenset({"sequence", "chosen_sequence"}))

        def __call__(self, batch: PackedBatch, scores: TokenScores) -> LossOutput:
            assert scores.logprobs is not None
            whole, chosen = (scores.logprobs[batch.masks[name]].sum() for name in ("sequence", "chosen_sequence"))
            return LossOutput({"policy": (whole + 100 * chosen) * batch.progress})

    seen = []

    class Watching(Line):
        def score(self, batch: PackedBatch, *args: Any, **kwargs: Any) -> TokenScores:
            seen.append(batch.scored_mask().tolist())
            return super().score(batch, *args, **kwargs)

    segments = [Segment("a", [0, 5, 7], [False, False, True]), Segment("b", [0, 9], [False, True], role=CHOSEN)]
    batch = collate(segments)
    result = train_step({"policy": Watching()}, Whole(), [batch], {"policy": 0.1}, step=1, progress=0.5)
    assert seen == [[False, True, True, False, True]]
    assert result.losses["policy"] == pytest.approx(0.5 * (21 + 900) / 2)


def test_a_loss_that_wants_no_statistics_costs_one_forward() -> None:
    class Sometimes(Centred):
        needs = Sum.needs

        def __call__(self, batch: PackedBatch, scores: TokenScores) -> LossOutput:
            return Sum.__call__(self, batch, scores)

    engine = Line()
    train_step({"policy": engine}, Sometimes(), [collate(SEGMENTS)], {"policy": 0.1}, step=1, progress=1.0)
    assert engine.scored == 1

"""KL in the loss (F28) counts as its loss counts: per token, or per reply of each reply's mean."""

from __future__ import annotations

import pytest
import torch

from aftertrain.core.batch import PackedBatch, TokenScores
from aftertrain.core.loss import Loss, LossOutput, Needs
from aftertrain.core.packed.packing import Segment, collate
from aftertrain.core.settings import Settings
from aftertrain.plugins.online.penalty import penalised
from aftertrain.plugins.online.policy_settings import KLSettings


class Nothing(Loss[Settings]):
    """A policy loss of 0 that counts tokens or segments."""

    per = "token"

    @property
    def needs(self) -> Needs:
        return Needs(records=frozenset({"Problem"}), per={"policy": self.per})

    def __call__(self, batch: PackedBatch, scores: TokenScores) -> LossOutput:
        return LossOutput({"policy": torch.zeros(())})


class PerReply(Nothing):
    per = "segment"


def _batch() -> PackedBatch:
    """Replies of one and of two tokens, and a filler whose numbers overflow; reference −1 and old −1 throughout."""
    columns = {"reference_logprobs": [0.0, -1.0, -1.0], "old_logprobs": [0.0, -1.0, -1.0]}
    one = {name: values[:2] for name, values in columns.items()}
    far = {name: [0.0, 500.0] for name in columns}
    return collate(
        [
            Segment("a", [5, 6], [False, True], columns=one),
            Segment("b", [5, 6, 7], [False, True, True], columns=columns),
            Segment("filler", [5, 6], [False, True], columns=far, weight=0.0),
        ]
    )


@pytest.mark.parametrize(("loss", "expected"), [(Nothing, 0.5 * (2 + 4 + 6)), (PerReply, 0.5 * (2 + (4 + 6) / 2))])
def test_penalty_by_hand(loss: type[Nothing], expected: float) -> None:
    """β = ½, k2 = d²/2 with d = 2, √8, √12 at the three response tokens: 2, 4, 6; the filler counts for nothing."""
    d = torch.tensor([2.0, 8**0.5, 12**0.5])
    logprobs = torch.tensor([0.0, 0, 0, 0, 0, 0, -500]).index_put((torch.tensor([1, 3, 4]),), d - 1).requires_grad_()
    settings = KLSettings(beta=0.5, estimator="k2", place="loss", score_function=False)
    wrapped = penalised(loss(Settings(), builder=None), settings)  # type: ignore[arg-type]
    term = wrapped(_batch(), TokenScores(logprobs=logprobs)).terms["policy"]
    assert term.item() == pytest.approx(expected, rel=1e-6)
    term.backward()
    assert logprobs.grad is not None
    assert logprobs.grad.isfinite().all()


def test_score_function_term() -> None:
    """k1 at π = π_old: its own gradient is 1 at each token; weighed by π/π_old it is 1 + d (∇(ρ·d) = ρ·(1 + d))."""
    logprobs = torch.tensor([0.0, -1, 0, -1, -1, 0, 0], requires_grad=True)
    batch = _batch()
    batch = batch.with_columns(reference_logprobs=batch.columns["reference_logprobs"] - 2)
    settings = KLSettings(beta=1.0, estimator="k1", place="loss", score_function=True)
    wrapped = penalised(Nothing(Settings(), builder=None), settings)  # type: ignore[arg-type]
    wrapped(batch, TokenScores(logprobs=logprobs)).terms["policy"].backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == pytest.approx([0, 3, 0, 3, 3, 0, 0])

"""Agreement with TRL's own loss functions on the same random scores, to 1e-5 in float32 (F11, F15, F16, F17).

TRL's trainers are made without their constructors and given a stand-in for the model that returns the scores, so that
what is compared is the arithmetic alone, for every variant. `test_trl.py` compares whole batches of a model.
"""

from __future__ import annotations

import importlib.util
from collections import defaultdict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from aftertrain.core.batch import CHOSEN, REJECTED, SINGLE, PackedBatch, TokenScores
from aftertrain.core.packed.packing import Segment, collate
from aftertrain.plugins.losses.dpo import DPO
from aftertrain.plugins.losses.hinge import Hinge
from aftertrain.plugins.losses.ipo import IPO
from aftertrain.plugins.losses.kto import KTO
from aftertrain.plugins.losses.orpo import ORPO
from aftertrain.plugins.losses.reward_model import RewardModel
from aftertrain.plugins.losses.robust import Robust
from aftertrain.plugins.losses.simpo import SimPO
from aftertrain.plugins.losses.wpo import WPO

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="trl is not installed: pip install trl"),
    pytest.mark.filterwarnings("ignore"),
]

PROMPTS, CHOSEN_LENGTHS, REJECTED_LENGTHS = (3, 5, 2, 4), (6, 1, 9, 4), (2, 8, 3, 4)
N = len(PROMPTS)


class Padded:
    """Random scores of N prompts with two replies each, padded as TRL's batches are: chosen rows first."""

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.lengths = [p + r for p, r in zip(PROMPTS * 2, CHOSEN_LENGTHS + REJECTED_LENGTHS, strict=True)]
        shape = (2 * N, max(self.lengths))
        self.mask = torch.zeros(shape, dtype=torch.int64)
        self.attention = torch.zeros(shape, dtype=torch.int64)
        for row, (prompt, length) in enumerate(zip(PROMPTS * 2, self.lengths, strict=True)):
            self.mask[row, prompt:length] = 1
            self.attention[row, :length] = 1
        self.logprobs = self._draw(generator, shape)
        self.reference = self._draw(generator, shape)
        self.log_sum_p2 = self._draw(generator, shape)

    def _draw(self, generator: torch.Generator, shape: tuple[int, int]) -> Tensor:
        """Log-probs of replies, 0 elsewhere, as both sides leave them."""
        return -torch.empty(shape).exponential_(1.0, generator=generator) * self.mask

    def ours(self, *, paired: bool = True) -> tuple[PackedBatch, TokenScores]:
        """The same, packed: chosen and rejected of a pair in turn, or each row by itself with a label."""
        segments, kept = [], []
        for pair in range(N):
            for role, row in ((CHOSEN, pair), (REJECTED, N + pair)):
                length = self.lengths[row]
                segments.append(
                    Segment(
                        f"{pair}.{role}",
                        range(3, 3 + length),
                        self.mask[row, :length].bool().tolist(),
                        role=role if paired else SINGLE,
                        group=pair,
                        label=float(role == CHOSEN),
                        margin=pair / 2,
                        columns={"reference_logprobs": self.reference[row, :length].tolist()},
                    )
                )
                kept.append((row, length))

        def flat(grid: Tensor) -> Tensor:
            return torch.cat([grid[row, :length] for row, length in kept])

        return collate(segments), TokenScores(logprobs=flat(self.logprobs), log_sum_p2=flat(self.log_sum_p2))


class Model:
    """Returns given scores, as TRL's fused language-model head does: one column less than there are tokens."""

    def __init__(self, logprobs: Tensor, log_sum_p2: Tensor) -> None:
        self.logprobs, self.log_sum_p2 = logprobs, log_sum_p2

    def __call__(self, **inputs: Any) -> Any:
        shown = self.logprobs[:, 1:]
        zeros = torch.zeros_like(shown)
        return SimpleNamespace(
            log_probs=shown,
            log_sum_sq_probs=self.log_sum_p2[:, 1:],
            entropy=zeros,
            mean_logits=zeros,
            is_top1=zeros.bool(),
        )


def same(value: Any, *others: Any, **options: Any) -> Any:
    return value


ACCELERATOR = SimpleNamespace(device=torch.device("cpu"), gather_for_metrics=same, gather=same)


def made(kind: Any, **attributes: Any) -> Any:
    """A trainer without its constructor."""
    trainer = object.__new__(kind)
    trainer.__dict__.update(
        accelerator=ACCELERATOR,
        model=SimpleNamespace(training=True),
        aux_loss_enabled=False,
        is_encoder_decoder=False,
        _metrics=defaultdict(lambda: defaultdict(list)),
        _total_train_tokens=0,
        _tp_size=1,
        **attributes,
    )
    return trainer


def found(loss: Any, batch: PackedBatch, scores: TokenScores) -> tuple[float, dict[str, float]]:
    """Our loss and metrics."""
    ((term, unit),) = loss.needs.per.items()
    output = loss(batch.with_masks(loss.needs.masks), scores)
    metrics = {name: float(ratio.sum) / float(ratio.count) for name, ratio in output.metrics.items()}
    return float(output.terms[term]) / batch.count(unit), metrics


PAIRWISE: list[tuple[str, Any, dict[str, Any], dict[str, Any]]] = [
    ("sigmoid", DPO, {"beta": 0.3}, {}),
    ("sigmoid_norm", DPO, {"beta": 5.0, "normalize": "length"}, {}),
    ("ipo", IPO, {"beta": 0.3}, {}),
    ("hinge", Hinge, {"beta": 0.3}, {}),
    ("robust", Robust, {"beta": 0.3, "label_smoothing": 0.2}, {"label_smoothing": 0.2}),
    ("sigmoid", WPO, {"beta": 0.3}, {"use_weighting": True}),
    ("sigmoid_norm", WPO, {"beta": 2.0, "normalize": "length"}, {"use_weighting": True}),
]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("loss_type", "kind", "settings", "theirs"), PAIRWISE)
def test_dpo_family(
    loss_type: str, kind: Any, settings: dict[str, Any], theirs: dict[str, Any], seed: int, build: Callable[..., Any]
) -> None:
    """Each loss type of `DPOTrainer` that is ours too, and its metrics where they mean the same."""
    from trl import DPOTrainer

    padded = Padded(seed)
    trainer = made(
        DPOTrainer,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=[loss_type],
        loss_weights=[1.0],
        beta=settings["beta"],
        **{"label_smoothing": 0.0, "use_weighting": False, **theirs},
    )
    chosen, rejected = padded.reference.sum(1).chunk(2)
    inputs = {
        "input_ids": padded.attention,
        "attention_mask": padded.attention,
        "completion_mask": padded.mask,
        "ref_chosen_logps": chosen,
        "ref_rejected_logps": rejected,
    }
    expected = float(trainer._compute_loss(Model(padded.logprobs, padded.log_sum_p2), inputs, return_outputs=False))
    loss, metrics = found(build(kind, **settings), *padded.ours())
    assert loss == pytest.approx(expected, abs=1e-5)
    shown = {name: values[-1] for name, values in trainer._metrics["train"].items()}
    assert metrics["logps_chosen"] == pytest.approx(shown["logps/chosen"], abs=1e-5)
    if settings.get("normalize") != "length" and kind is not IPO:  # TRL shows sums there
        assert metrics["accuracy"] == pytest.approx(shown["rewards/accuracies"])
        assert metrics["margin"] == pytest.approx(shown["rewards/margins"], abs=1e-5)
        assert metrics["reward_rejected"] == pytest.approx(shown["rewards/rejected"], abs=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_simpo(smoothing: float, build: Callable[..., Any]) -> None:
    """`CPOTrainer.cpo_loss`, which takes γ undivided."""
    from trl.experimental.cpo import CPOTrainer

    padded = Padded(0)
    trainer = made(CPOTrainer, alpha=0.0, loss_type="simpo", simpo_gamma=0.8, beta=2.5, label_smoothing=smoothing)
    means = padded.logprobs.sum(1) / padded.mask.sum(1)
    expected = float(trainer.cpo_loss(*means.chunk(2))[0].mean())
    loss, _ = found(build(SimPO, beta=2.5, gamma=0.8, label_smoothing=smoothing), *padded.ours())
    assert loss == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("smoothing", [0.1, 0.4])
def test_conservative_dpo(smoothing: float, build: Callable[..., Any]) -> None:
    """TRL 1.16's `DPOTrainer` has no smoothed sigmoid of its own; `CPOTrainer`'s is the same function of h.

    Given log-ratios in place of log-probs it is DPO's.
    """
    from trl.experimental.cpo import CPOTrainer

    padded = Padded(1)
    trainer = made(CPOTrainer, alpha=0.0, loss_type="sigmoid", beta=0.3, label_smoothing=smoothing)
    expected = float(trainer.cpo_loss(*(padded.logprobs - padded.reference).sum(1).chunk(2))[0].mean())
    loss, _ = found(build(DPO, beta=0.3, label_smoothing=smoothing), *padded.ours())
    assert loss == pytest.approx(expected, abs=1e-5)


def test_orpos_odds_ratio(build: Callable[..., Any]) -> None:
    """`ORPOTrainer.odds_ratio_loss`; TRL subtracts what it returns."""
    from trl.experimental.orpo import ORPOTrainer

    padded = Padded(2)
    trainer = made(ORPOTrainer, beta=0.7)
    means = padded.logprobs.sum(1) / padded.mask.sum(1)
    ratio, *_, log_odds = trainer.odds_ratio_loss(*means.chunk(2))
    loss, metrics = found(build(ORPO, beta=0.7), *padded.ours())
    assert metrics["log_odds_ratio"] == pytest.approx(float(log_odds), abs=1e-5)
    assert loss - metrics["nll"] == pytest.approx(-float(ratio.mean()), abs=1e-5)


def test_orpo_whole(build: Callable[..., Any]) -> None:
    """`get_batch_loss_metrics` from logits, a pair at a time: TRL's likelihood is a mean over the tokens of its
    micro-batch, prompts included, which for one pair is ours with `likelihood: sequence`.
    """
    from trl.experimental.orpo import ORPOTrainer

    generator = torch.Generator().manual_seed(0)
    trainer = made(ORPOTrainer, beta=0.7, padding_value=0)
    expected, segments, logprobs = [], [], []
    for prompt, *replies in zip(PROMPTS, CHOSEN_LENGTHS, REJECTED_LENGTHS, strict=True):
        ids = [torch.randint(1, 11, (1, prompt + reply), generator=generator) for reply in replies]
        ids[1][:, :prompt] = ids[0][:, :prompt]
        width = max(row.shape[1] for row in ids)
        logits = torch.randn(2, width, 11, generator=generator)
        batch = {}
        for name, row in zip(("chosen", "rejected"), ids, strict=True):
            batch[f"{name}_input_ids"], batch[f"{name}_attention_mask"] = row, torch.ones_like(row)
            batch[f"{name}_labels"] = torch.cat([torch.full((1, prompt), -100), row[:, prompt:]], 1)
        batch["prompt_input_ids"] = ids[0][:, :prompt]
        loss, _ = trainer.get_batch_loss_metrics(lambda *_, out=logits, **__: SimpleNamespace(logits=out), batch)
        expected.append(float(loss))
        for role, row, own in zip((CHOSEN, REJECTED), ids, logits, strict=True):
            mask = [index >= prompt for index in range(row.shape[1])]
            segments.append(Segment(f"{len(segments)}", row[0].tolist(), mask, role=role))
            scored = own.log_softmax(-1)[: row.shape[1] - 1].gather(1, row[0, 1:, None]).squeeze(1)
            logprobs += [torch.zeros(1), scored]
    loss = build(ORPO, beta=0.7, likelihood="sequence")
    value, _ = found(loss, collate(segments), TokenScores(logprobs=torch.cat(logprobs)))
    assert value == pytest.approx(sum(expected) / N, abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("loss_type", ["kto", "apo_zero_unpaired"])
def test_kto(loss_type: str, seed: int, build: Callable[..., Any]) -> None:
    """`KTOTrainer` with its KL from mismatched replies, and without (`apo_zero_unpaired`)."""
    from trl import KTOTrainer

    padded, mismatched = Padded(seed), Padded(seed + 10)
    # Replies likelier than under the reference in one seed, less likely in others: both sides of the clamp at 0.
    mismatched.logprobs = mismatched.reference + (0.3 if seed == 0 else -0.1) * mismatched.mask
    trainer = made(
        KTOTrainer,
        calculate_KL=loss_type == "kto",
        precompute_ref_logps=True,
        loss_type=loss_type,
        beta=0.3,
        desirable_weight=1.5,
        undesirable_weight=0.75,
    )
    given = {
        "input_ids": padded.attention,
        "attention_mask": padded.attention,
        "completion_mask": padded.mask,
        "label": torch.tensor([True] * N + [False] * N),
        "ref_logps": padded.reference.sum(1),
    }
    if loss_type == "kto":
        of_kl = mismatched.attention
        given |= {"KL_input_ids": of_kl, "KL_attention_mask": of_kl, "KL_completion_mask": mismatched.mask}
        given["ref_KL_logps"] = mismatched.reference.sum(1)

    class Both(Model):
        def __call__(self, **inputs: Any) -> Any:
            padded_to = mismatched if inputs["input_ids"] is mismatched.attention else padded
            return Model(padded_to.logprobs, padded_to.log_sum_p2)()

    expected = float(trainer._compute_loss(Both(padded.logprobs, padded.log_sum_p2), given, return_outputs=False))
    kl = {"kto": "mismatched", "apo_zero_unpaired": "none"}[loss_type]
    loss = build(KTO, beta=0.3, desirable_weight=1.5, undesirable_weight=0.75, kl=kl)
    batch, scores = padded.ours(paired=False)
    if loss.needs.statistics:
        batch = batch.with_statistics(loss.statistics(*mismatched.ours(paired=False)))
    value, metrics = found(loss, batch, scores)
    assert value == pytest.approx(expected, abs=1e-5)
    shown = {name: values[-1] for name, values in trainer._metrics["train"].items()}
    assert metrics["kl"] == pytest.approx(shown["kl"], abs=1e-5)
    assert (shown["kl"] > 0) is (loss_type == "kto" and seed == 0)
    assert metrics["reward_chosen"] == pytest.approx(shown["rewards/chosen"], abs=1e-5)
    assert metrics["reward_rejected"] == pytest.approx(shown["rewards/rejected"], abs=1e-5)


@pytest.mark.parametrize("margin", [False, True])
@pytest.mark.parametrize("centering", [0.0, 0.01])
def test_reward_model(margin: bool, centering: float, build: Callable[..., Any]) -> None:
    """`RewardTrainer.compute_loss` with and without margins and centring."""
    from trl import RewardTrainer

    values = torch.randn(2 * N, generator=torch.Generator().manual_seed(4))

    class Scores(Model):
        def __call__(self, **inputs: Any) -> Any:
            return SimpleNamespace(logits=values.unsqueeze(1))

    padded = Padded(0)
    args = SimpleNamespace(center_rewards_coefficient=centering or None)
    inputs = {"input_ids": padded.attention, "attention_mask": padded.attention}
    if margin:
        inputs["margin"] = torch.arange(N) / 2
    expected = float(made(RewardTrainer, args=args).compute_loss(Scores(padded.logprobs, padded.logprobs), inputs))
    batch, _ = padded.ours()
    scores = torch.zeros(batch.n_tokens).index_put((batch.last_token(),), values.view(2, N).T.flatten())
    loss, _ = found(build(RewardModel, margin=margin, centering=centering), batch, TokenScores(values=scores))
    assert loss == pytest.approx(expected, abs=1e-5)

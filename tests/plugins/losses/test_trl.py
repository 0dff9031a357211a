"""Agreement with TRL on one batch of a tiny model: tokens, masks and losses, in float32 (F11, F15, F16, F17).

TRL's trainers are driven as they are: their own tokenisation and collation, one `compute_loss`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.learning.seeding import global_seed
from aftertrain.core.records import Conversation, Message, PreferencePair

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="trl is not installed: pip install trl"),
    pytest.mark.filterwarnings("ignore"),
]

PROMPTS = ("What is 3 + 4?", "Name a fruit.", "Is 12 even? Say why.")
CHOSEN = ("The answer is 7.", "An apple", "Yes: 12 is 2 times 6, a whole number.")
REJECTED = ("It is 8, I think, or it may be 9.", "Seven", "No")


def turn(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


@pytest.fixture(scope="module")
def policy(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model moved away from itself, so that it differs from its reference."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("policy")
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    with global_seed(3), torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    return folder


@pytest.fixture
def ours(policy: Path, tiny_model: Path, build: Callable[..., Any]) -> Callable[..., float]:
    """`ours(Loss, records, head=…, **settings)`: our loss of all records as one step."""
    from aftertrain.core.learning.step import count_units, score_batch
    from aftertrain.core.packed.packing import pack
    from aftertrain.core.text.chat import load_tokenizer
    from aftertrain.plugins.torch_engine.engine import TorchEngine
    from aftertrain.plugins.torch_engine.settings import TorchSettings
    from aftertrain.plugins.training.samples import prepare
    from aftertrain.plugins.training.settings import Batch

    def engine(folder: Path, head: str) -> Any:
        made = TorchEngine(TorchSettings(device="cpu"), None)
        made.load(str(folder), head=head)
        return made

    def run(kind: Any, records: list[Any], *, folder: Path = policy, head: str = "lm", **settings: Any) -> float:
        loss = build(kind, **settings)
        atoms = prepare(load_tokenizer(str(policy)), records, Batch()).atoms
        (batch,) = pack(atoms, 4096)
        if loss.needs.columns:
            reference = engine(tiny_model, "lm").score(batch, grad=False).logprobs
            batch = batch.with_columns(reference_logprobs=reference)
        ((term, unit),) = loss.needs.per.items()
        model = engine(folder, head)
        output = loss(batch, score_batch({term: model}, batch, loss.needs.scores, grad=False))
        return float(output.terms[term]) / count_units([batch], {term: unit}, model.ranks)[term]

    return run


def theirs(trainer: Any) -> float:
    """TRL's loss of its one batch."""
    trainer.model.eval()
    inputs = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    return float(trainer.compute_loss(trainer.model, inputs))


def options(tmp_path: Path) -> dict[str, Any]:
    return {
        "output_dir": str(tmp_path),
        "per_device_train_batch_size": len(PROMPTS),
        "report_to": "none",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "max_length": 512,
        "disable_tqdm": True,
    }


def load(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def rows() -> Any:
    from datasets import Dataset

    columns = {"prompt": ("user", PROMPTS), "chosen": ("assistant", CHOSEN), "rejected": ("assistant", REJECTED)}
    return Dataset.from_dict({name: [turn(role, text) for text in texts] for name, (role, texts) in columns.items()})


def pairs() -> list[PreferencePair]:
    return [
        PreferencePair(str(i), (Message("user", p),), (Message("assistant", c),), (Message("assistant", r),), "test")
        for i, (p, c, r) in enumerate(zip(PROMPTS, CHOSEN, REJECTED, strict=True))
    ]


def test_supervised_finetuning(policy: Path, ours: Callable[..., float], tmp_path: Path) -> None:
    """TRL's SFT loss is the mean over target tokens (F11 `token_mean`)."""
    from trl import SFTConfig, SFTTrainer

    from aftertrain.plugins.losses.sft import SFT

    model, tokenizer = load(policy)
    data = rows().rename_column("chosen", "completion").remove_columns("rejected")
    trainer = SFTTrainer(model, SFTConfig(**options(tmp_path)), train_dataset=data, processing_class=tokenizer)
    records = [
        Conversation(str(i), (Message("user", p), Message("assistant", c)), "test")
        for i, (p, c) in enumerate(zip(PROMPTS, CHOSEN, strict=True))
    ]
    assert ours(SFT, records, reduction="token_mean") == pytest.approx(theirs(trainer), abs=1e-5)


@pytest.mark.parametrize(
    ("normalize", "loss_type", "beta"), [("none", "sigmoid", 0.1), ("length", "sigmoid_norm", 5.0)]
)
def test_dpo(
    normalize: str, loss_type: str, beta: float, policy: Path, tiny_model: Path, ours: Any, tmp_path: Path
) -> None:
    """DPO by sums (F15) and by means per token (F16), against a reference that differs from the policy."""
    from trl import DPOConfig, DPOTrainer

    from aftertrain.plugins.losses.dpo import DPO

    (model, tokenizer), (reference, _) = load(policy), load(tiny_model)
    config = DPOConfig(**options(tmp_path), beta=beta, loss_type=[loss_type])
    trainer = DPOTrainer(model, reference, config, train_dataset=rows(), processing_class=tokenizer)
    assert ours(DPO, pairs(), beta=beta, normalize=normalize) == pytest.approx(theirs(trainer), abs=1e-5)


def test_simpo(policy: Path, ours: Callable[..., float], tmp_path: Path) -> None:
    """TRL's SimPO lives in its CPO trainer and takes γ undivided; with `cpo_alpha` 0 nothing else is added (F17)."""
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    from aftertrain.plugins.losses.simpo import SimPO

    model, tokenizer = load(policy)
    tokenizer.bos_token = None  # else this trainer adds one before the template's own start
    config = CPOConfig(
        **options(tmp_path),
        loss_type="simpo",
        beta=2.0,
        simpo_gamma=1.0,
        cpo_alpha=0.0,
        remove_unused_columns=False,
    )
    trainer = CPOTrainer(model, config, train_dataset=rows(), processing_class=tokenizer)
    assert ours(SimPO, pairs(), beta=2.0, gamma=1.0) == pytest.approx(theirs(trainer), abs=1e-5)


def test_reward_model(policy: Path, ours: Callable[..., float], tmp_path: Path) -> None:
    """Bradley-Terry on the score at the last token, centring included."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from trl import RewardConfig, RewardTrainer

    from aftertrain.plugins.losses.reward_model import RewardModel

    with global_seed(5):
        model = AutoModelForSequenceClassification.from_pretrained(policy, num_labels=1)
    folder = tmp_path / "classifier"
    model.save_pretrained(folder)
    config = RewardConfig(**options(tmp_path), center_rewards_coefficient=0.01)
    tokenizer = AutoTokenizer.from_pretrained(policy)
    trainer = RewardTrainer(model, config, train_dataset=rows(), processing_class=tokenizer)
    found = ours(RewardModel, pairs(), folder=folder, head="scalar", centering=0.01)
    assert found == pytest.approx(theirs(trainer), abs=1e-5)

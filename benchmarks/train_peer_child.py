"""TRL's side of `train.py`: its trainer, held before each step until the parent says go, telling what it was fed."""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

from train_child import Sample, Spec, conversations, fixed_bytes, forget_peak, heard, preferences, resident, say

warnings.simplefilter("ignore")
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TRL_EXPERIMENTAL_SILENCE="1")

import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import (  # noqa: E402
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainerCallback,
)
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer  # noqa: E402


class Gate(TrainerCallback):  # type: ignore[misc]
    """Times each optimizer step and reports it."""

    def __init__(self, fixed: int) -> None:
        self.fixed, self.fed, self.losses, self.steps = fixed, [], [], 0  # type: ignore[var-annotated]

    def on_step_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        if heard()["do"] == "stop":
            os._exit(0)
        self.fed.clear()
        self.losses.clear()
        self.sample = Sample()
        self.sample.__enter__()

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self.sample.__exit__()
        segments = [segment for fed in self.fed for segment in _segments(fed)]
        slots = sum(fed["input_ids"].numel() for fed in self.fed)
        whole = sum(self.losses) if "labels" in self.fed[0] else sum(self.losses) / len(self.losses)
        say(
            wall=self.sample.wall,
            cpu=self.sample.cpu,
            loss=float(whole),
            slots=slots,
            peak=resident("VmHWM"),
            fixed=self.fixed,
            segments=segments,
        )
        self.steps += 1
        if self.steps == 1:
            forget_peak()


def _segments(fed: dict[str, Any]) -> list[tuple[list[int], list[bool]]]:
    """Token ids and targets of each sample of a micro-batch; of pairs, chosen and rejected in turn."""
    ids = fed["input_ids"]
    if "position_ids" in fed and "attention_mask" not in fed:
        starts = [*torch.nonzero(fed["position_ids"][0] == 0).flatten().tolist(), ids.shape[1]]
        spans = [(ids[0, a:b], fed["labels"][0, a:b] != -100) for a, b in pairwise(starts)]
        return [(part.tolist(), mask.tolist()) for part, mask in spans]
    kept = fed["attention_mask"].bool()
    if "labels" in fed:
        targets = fed["labels"] != -100
    else:
        targets = fed["completion_mask"].bool() if "completion_mask" in fed else kept
    rows = [(row[keep].tolist(), mask[keep].tolist()) for row, keep, mask in zip(ids, kept, targets, strict=True)]
    if "labels" in fed:
        return rows
    half = len(rows) // 2
    return [row for pair in zip(rows[:half], rows[half:], strict=True) for row in pair]


def trainer(spec: Spec, gate_of: Any) -> Any:
    """TRL's trainer of the case, float32, with its own defaults but for what `spec` says."""
    tokenizer = AutoTokenizer.from_pretrained(spec.model)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    kind = AutoModelForSequenceClassification if spec.kind == "reward" else AutoModelForCausalLM
    options: dict[str, Any] = {"num_labels": 1} if spec.kind == "reward" else {}
    before = resident()
    torch.manual_seed(0)
    model = kind.from_pretrained(spec.model, dtype=torch.float32, attn_implementation="sdpa", **options)
    model.config.pad_token_id = tokenizer.pad_token_id
    for parameter in model.parameters():  # out of the mapped file, as ours are
        parameter.data = parameter.data.clone()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    gate = gate_of(fixed_bytes(before, parameters, reference=spec.case == "dpo-live"))
    common: dict[str, Any] = {
        "output_dir": tempfile.mkdtemp(),
        "per_device_train_batch_size": spec.micro,
        "gradient_accumulation_steps": spec.rows // spec.micro,
        "max_length": spec.max_length,
        "max_steps": spec.steps,
        "use_cpu": True,
        "bf16": False,
        "report_to": [],
        "save_strategy": "no",
        "logging_steps": 10_000,
        "gradient_checkpointing": False,
        "learning_rate": 1e-6,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "train_sampling_strategy": "sequential",
    }
    count = spec.rows * (spec.steps + 1)
    if spec.kind == "sft":
        mode = spec.case.split("-")[1]
        if mode == "packing":
            count *= 8
        settings: Any = SFTConfig(
            **common | ({"max_length": None} if mode == "padding_free" else {}),
            packing=mode == "packing",
            padding_free=mode == "padding_free",
        )
        data, make = Dataset.from_list(conversations(Path(spec.data), count)), SFTTrainer
    elif spec.kind == "dpo":
        settings = DPOConfig(**common, precompute_ref_log_probs=spec.case == "dpo-cached", beta=0.1)
        data, make = Dataset.from_list(preferences(Path(spec.data), count)), DPOTrainer
    else:
        settings = RewardConfig(**common)
        data, make = Dataset.from_list(preferences(Path(spec.data), count)), RewardTrainer
    made = make(model=model, args=settings, train_dataset=data, processing_class=tokenizer, callbacks=[gate])
    compute = made.compute_loss

    def watched(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        gate.fed.append(dict(inputs))
        result = compute(model, inputs, *args, **kwargs)
        gate.losses.append(float((result[0] if isinstance(result, tuple) else result).detach()))
        return result

    made.compute_loss = watched
    return made


def main() -> None:
    spec = Spec.read(sys.argv[1])
    torch.set_num_threads(spec.threads)
    made = trainer(spec, Gate)
    head = getattr(made.model, "score", None)
    say(ready=True, head=None if head is None else head.weight.detach().flatten().tolist())
    made.train()


if __name__ == "__main__":
    main()

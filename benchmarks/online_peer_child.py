"""TRL's side of `online.py`: its GRPOTrainer with transformers' generation, held between steps as ours is."""

from __future__ import annotations

import os
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TRL_EXPERIMENTAL_SILENCE="1")

import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from online_child import Gate, Spec, digits, questions  # noqa: E402
from train_child import resident  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback  # noqa: E402
from trl import GRPOConfig, GRPOTrainer  # noqa: E402


class Held(TrainerCallback):  # type: ignore[misc]
    """Tells of each step at its end and holds the next."""

    def __init__(self, before: int, parameters: int, spec: Spec) -> None:
        self._of, self._spec = (before, parameters, spec.steps), spec
        self._gate: Gate | None = None
        self.seconds: dict[str, float] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self._gate = Gate(*self._of)

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        assert self._gate is not None
        timing = dict(self.seconds)
        self.seconds.clear()
        self._gate.done(reply_tokens=self._spec.replies * self._spec.tokens, timing=timing)


def shares(prompts: Any, completions: list[Any], **others: Any) -> list[float]:
    """The reward of both sides."""
    return [digits(turns[0]["content"]) for turns in completions]


def trainer(spec: Spec) -> Any:
    """One step is `spec.prompts` x `spec.samples` replies, generated together, in micro-batches of `spec.micro`."""
    tokenizer = AutoTokenizer.from_pretrained(spec.model)
    before = resident()
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(spec.model, dtype=torch.float32, attn_implementation="sdpa")
    for parameter in model.parameters():  # out of the mapped file, as ours are
        parameter.data = parameter.data.clone()
    held = Held(before, sum(parameter.numel() for parameter in model.parameters()), spec)
    micro = min(spec.micro, spec.replies)
    arguments = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=spec.replies // micro,
        num_generations=spec.samples,
        max_completion_length=spec.tokens,
        max_steps=spec.steps,
        learning_rate=1e-6,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        beta=0.0,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to=[],
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    rows = [{"prompt": [{"role": "user", "content": text}]} for text in questions(spec.questions)]
    made = GRPOTrainer(
        model=model,
        reward_funcs=shares,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[held],
    )
    generate = made._generate_and_score_completions

    def timed(inputs: Any) -> Any:
        start = time.perf_counter()
        result = generate(inputs)
        assert int(result["completion_mask"].sum()) == spec.replies * spec.tokens
        held.seconds["generate"] = held.seconds.get("generate", 0.0) + time.perf_counter() - start
        return result

    made._generate_and_score_completions = timed
    return made


def main() -> None:
    spec = Spec.read(sys.argv[1])
    torch.set_num_threads(spec.threads)
    trainer(spec).train()
    assert Path(spec.model).exists()


if __name__ == "__main__":
    main()

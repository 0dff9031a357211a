"""One side of `online.py`'s `reference PPO update`: ours, or a plain torch loop, on the same fixed rollouts."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import torch
from online_child import Gate, Spec, questions
from torch import Tensor
from train_child import resident
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

CLIP = 0.2
VALUE_COEFFICIENT = 0.1


@dataclass(frozen=True)
class Rollouts:
    """Prompts, and `[replies, tokens]` of what PPO needs of the replies to them, `samples` in a row to each."""

    prompts: Sequence[list[int]]
    samples: int
    replies: Tensor
    old_logprobs: Tensor
    advantages: Tensor
    returns: Tensor
    old_values: Tensor


def rollouts(spec: Spec) -> Rollouts:
    """Replies of random tokens, of the same numbers on both sides."""
    tokenizer = AutoTokenizer.from_pretrained(spec.model)
    draw = torch.Generator().manual_seed(0)
    asked = [[{"role": "user", "content": text}] for text in questions(spec.questions)[: spec.prompts]]
    prompts = tokenizer.apply_chat_template(asked, add_generation_prompt=True)["input_ids"]
    shape = (spec.replies, spec.tokens)
    replies = torch.randint(5, len(tokenizer) - 5, shape, generator=draw)
    advantages, returns, old_values = (torch.randn(shape, generator=draw) for _ in range(3))
    return Rollouts(
        prompts, spec.samples, replies, -8 - torch.rand(shape, generator=draw), advantages, returns, old_values
    )


def ours(spec: Spec, rolled: Rollouts) -> tuple[Callable[[], dict[str, float]], int]:
    """A step of `core.learning` with the torch engine and the loss `ppo`, packing included."""
    from aftertrain.core.engine import AdamW
    from aftertrain.core.learning.seeding import use_determinism
    from aftertrain.core.learning.step import train_step
    from aftertrain.core.packed.packing import Segment, pack
    from aftertrain.registry.builder import ComponentBuilder
    from aftertrain.registry.discovery import installed
    from aftertrain.registry.resolve import SettingsResolver

    use_determinism(spec.threads)
    registry = installed(frozenset())
    resolver, builder = SettingsResolver(registry), ComponentBuilder(registry)
    of_engine = resolver.resolve("engine", {"use": "torch", "device": "cpu"})
    engines = {term: builder.build(of_engine) for term in ("policy", "value")}
    engines["policy"].load(spec.model, optimizer=AdamW(max_grad_norm=1.0))
    engines["value"].load(spec.model, head="scalar", optimizer=AdamW(max_grad_norm=1.0))
    clips = {"clip": CLIP, "value_clip": CLIP, "value_coefficient": VALUE_COEFFICIENT}
    loss = builder.build(resolver.resolve("loss", {"use": "ppo", **clips}))

    def segment(number: int) -> Segment:
        prompt, reply = rolled.prompts[number // rolled.samples], rolled.replies[number].tolist()
        before = [0.0] * len(prompt)
        columns = {
            name: before + getattr(rolled, name)[number].tolist()
            for name in ("old_logprobs", "advantages", "returns", "old_values")
        }
        mask = [False] * len(prompt) + [True] * len(reply)
        return Segment(str(number), prompt + reply, mask, group=number // rolled.samples, columns=columns)

    def step() -> dict[str, float]:
        batches = pack([[segment(number)] for number in range(len(rolled.replies))], spec.micro_tokens, shared=True)
        rates = dict.fromkeys(engines, 1e-6)
        return dict(train_step(engines, loss, batches, rates, step=1, progress=1.0).losses)

    return step, sum(engine.n_parameters for engine in engines.values())


def plain(spec: Spec, rolled: Rollouts) -> tuple[Callable[[], dict[str, float]], int]:
    """What one writes on an afternoon: prompts padded on the left, logits of the replies alone, two fused AdamW."""
    torch.set_num_threads(spec.threads)
    policy = AutoModelForCausalLM.from_pretrained(spec.model, dtype=torch.float32, attn_implementation="sdpa")
    critic = AutoModelForSequenceClassification.from_pretrained(spec.model, num_labels=1, dtype=torch.float32)
    optimizers = [
        torch.optim.AdamW(model.parameters(), lr=1e-6, weight_decay=0.0, fused=True) for model in (policy, critic)
    ]
    longest, size = max(map(len, rolled.prompts)), spec.replies * spec.tokens

    def losses(rows: slice) -> tuple[Tensor, Tensor]:
        replies = rolled.replies[rows]
        prompts = [rolled.prompts[i // rolled.samples] for i in range(rows.start, rows.start + len(replies))]
        padded = [[0] * (longest - len(prompt)) + prompt for prompt in prompts]
        mask = [[0] * (longest - len(prompt)) + [1] * (len(prompt) + spec.tokens) for prompt in prompts]
        given = {
            "input_ids": torch.cat([torch.tensor(padded), replies], 1),
            "attention_mask": torch.tensor(mask),
            "use_cache": False,
        }
        logits = policy(**given, logits_to_keep=spec.tokens + 1).logits[:, :-1]
        logprobs = logits.log_softmax(-1).gather(2, replies.unsqueeze(2)).squeeze(2)
        ratio, advantages = (logprobs - rolled.old_logprobs[rows]).exp(), rolled.advantages[rows]
        loss = torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - CLIP, 1 + CLIP)).sum() / size
        hidden = critic.base_model(**given).last_hidden_state[:, -spec.tokens - 1 : -1]
        values, old, returns = critic.score(hidden).squeeze(2), rolled.old_values[rows], rolled.returns[rows]
        near = old + (values - old).clamp(-CLIP, CLIP)
        error = torch.maximum((values - returns) ** 2, (near - returns) ** 2)
        return loss, 0.5 * VALUE_COEFFICIENT * error.sum() / size

    def step() -> dict[str, float]:
        total = {"policy": 0.0, "value": 0.0}
        for start in range(0, spec.replies, spec.micro):
            parts = losses(slice(start, start + spec.micro))
            sum(parts).backward()  # type: ignore[union-attr]
            total = {name: total[name] + part.item() for name, part in zip(total, parts, strict=True)}
        for model, optimizer in zip((policy, critic), optimizers, strict=True):
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        return total

    return step, sum(p.numel() for model in (policy, critic) for p in model.parameters())


def main() -> None:
    side, spec = sys.argv[1], Spec.read(sys.argv[2])
    before = resident()
    step, parameters = (ours if side == "ours" else plain)(spec, rollouts(spec))
    gate = Gate(before, parameters, spec.steps)
    for _ in range(spec.steps):
        losses = step()
        gate.done(losses=losses, reply_tokens=spec.replies * spec.tokens)


if __name__ == "__main__":
    main()

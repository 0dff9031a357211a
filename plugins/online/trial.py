"""What of an online stage can be checked without a rollout: its loss on an update batch of made-up replies."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import islice
from typing import Any

from aftertrain.core.batch import CHOSEN, REJECTED, SINGLE
from aftertrain.core.learning.seeding import sub_seed
from aftertrain.core.learning.trial import Trial
from aftertrain.core.loss import Loss
from aftertrain.core.packed.packing import Atom, Segment
from aftertrain.core.stage import PlanContext
from aftertrain.core.text.chat import load_tokenizer, render
from aftertrain.plugins.online.models import build_loss
from aftertrain.plugins.online.settings import OnlineSettings

SHORTEST, LONGEST = 4, 24
"""Tokens of a made-up reply."""
UNTRIED = {
    "ranks": "an online stage runs on rank 0 alone",
    "reference": "the stage caches no reference: it scores each step's replies with the reference model itself",
    "resume": "it would need replies of the stage's generator and their verification",
}


def make_trial(settings: OnlineSettings, context: PlanContext, rows: int) -> Trial:
    """The first problems' prompts with random replies; columns that come of a rollout are made up by the checks.

    Raises:
        RunError: the loss does not fit the stage.
        DataError: a row cannot be used.
    """
    builder = context.builder
    loss: Loss[Any] = build_loss(settings, builder)
    tokenizer = load_tokenizer(context.model, context.chat_template)
    prompts = [
        tuple(render(tokenizer, record.prompt, generation_prompt=True, tools=record.tools))
        for record in islice(builder.build(settings.data), rows)
    ]

    def trial(prompts: Sequence[tuple[int, ...]]) -> Trial:
        return Trial(
            about=f"{len(prompts)} problems of {settings.data.name} with made-up replies, log-probs and advantages, "
            f"loss {settings.loss.name}",
            atoms=_atoms(prompts, loss, context.seed),
            budget=max(settings.batch.micro_tokens, *(2 * (len(prompt) + LONGEST) for prompt in prompts)),
            make_loss=lambda: build_loss(settings, builder),
            engine=settings.engine,
            builder=builder,
            models=dict.fromkeys(loss.needs.per, context.model),
            seed=sub_seed(context.seed, "critic head"),
            temperature=settings.sampling.temperature,
            made_up=loss.needs.columns,
            untried=UNTRIED,
            only=lambda places: trial([prompts[place] for place in places]),
        )

    return trial(prompts)


def _atoms(prompts: Sequence[tuple[int, ...]], loss: Loss[Any], seed: int) -> list[Atom]:
    """A reply to each prompt, or two where the loss wants them in groups or pairs, of tokens that its prompts hold."""
    rng = random.Random(seed)
    vocabulary = sorted({token for prompt in prompts for token in prompt})
    roles = {"segment": (SINGLE,), "group": (SINGLE, SINGLE), "pair": (CHOSEN, REJECTED)}[loss.needs.atom]

    def reply(place: int, number: int) -> Segment:
        prompt = prompts[place]
        tokens = [rng.choice(vocabulary) for _ in range(rng.randint(SHORTEST, LONGEST))]
        mask = [False] * len(prompt) + [True] * len(tokens)
        return Segment(f"problem {place}/{number}", (*prompt, *tokens), mask, role=roles[number], group=place)

    return [[reply(place, number) for number in range(len(roles))] for place in range(len(prompts))]

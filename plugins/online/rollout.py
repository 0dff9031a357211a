"""Rollouts: replies of the current policy to one step's problems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aftertrain.core.errors import RunError
from aftertrain.core.generator import GenerationRequest, Generator, Sampling
from aftertrain.core.learning.seeding import sub_seed
from aftertrain.core.packed.packing import Segment
from aftertrain.core.records import Completion
from aftertrain.plugins.online.problems import Prompt


@dataclass(frozen=True, slots=True)
class Rollout:
    """One reply.

    Attributes:
        id: problem's id and the sample's number, unique within a step.
        group: which of the step's problems it answers.
    """

    id: str
    group: int
    prompt: Prompt
    completion: Completion

    @property
    def ended(self) -> bool:
        """Whether it ended by itself."""
        return self.completion.finish_reason == "stop"

    def segment(self) -> Segment:
        """Prompt and reply as one segment whose targets are the reply's sampled ids."""
        n_prompt, reply = len(self.prompt.token_ids), self.completion.token_ids
        return Segment(
            sample_id=self.id,
            token_ids=(*self.prompt.token_ids, *reply),
            loss_mask=(*[False] * n_prompt, *[True] * len(reply)),
            source=self.prompt.problem.source,
            group=self.group,
            columns={"generator_logprobs": (*[0.0] * n_prompt, *self.completion.logprobs)},
        )


def roll_out(
    generator: Generator[Any],
    prompts: Sequence[Prompt],
    sampling: Sampling,
    samples: int,
    *,
    seed: int,
    step: int,
    timeout: float,
    first: int = 0,
) -> list[Rollout]:
    """`samples` replies to each prompt, those to one prompt together; seeds depend on the step and the place alone.

    Args:
        first: number of the first prompt's group, where the step has asked others before.

    Raises:
        RunError: nothing finished in time.
    """
    places = [(group, number) for group in range(len(prompts)) for number in range(samples)]
    requests = [
        GenerationRequest(str(i), prompts[group].token_ids, sampling, sub_seed(seed, "reply", step, i))
        for i, (group, _) in enumerate(places, first * samples)
    ]
    try:
        completions = generator.generate(requests, timeout)
    except TimeoutError as error:
        raise RunError(
            f"the generator finished no reply in {timeout:g} s ({error}); raise the stage's timeout, "
            "or lower sampling.max_new_tokens"
        ) from error
    return [
        Rollout(f"{prompts[group].problem.id}/{number}", first + group, prompts[group], completion)
        for (group, number), completion in zip(places, completions, strict=True)
    ]

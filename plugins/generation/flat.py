"""Decoding without padding: rows of any age side by side, each prompt computed once and kept once.

Rows that enter together are a *cohort*: their replies have equally many tokens, so that these are a level without
padding. A cohort's prompts are another level, shared by the samples of each, and what all waiting prompts begin with is
computed once for all cohorts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from aftertrain.core.errors import ModelError
from aftertrain.core.packed.tree import common
from aftertrain.plugins.generation.attending import Pass, Prefill, Step
from aftertrain.plugins.generation.levels import Level

WORTH_SHARING = 32
"""Shortest beginning that is computed once for all prompts."""
COMPACT_AT = 0.75
"""A level drops what no row reads when at most this share is still read: dropping copies the rest once."""
PREFILL_TOKENS = 4096
"""Most tokens of prompts in one forward, but for one that is longer: bounds the memory of activations."""
Tokens = tuple[int, ...]


@dataclass
class Cohort:
    """Rows that entered together.

    Attributes:
        prompts: a node per distinct prompt.
        replies: a node per row, finished ones among them until they are dropped.
        prompt_of: the node of `prompts` of each node of `replies`.
        live: nodes of `replies` that go on, one per row, ascending.
        positions: int64, of each row's next token.
    """

    common: Level | None
    prompts: Level
    replies: Level
    prompt_of: list[int]
    live: list[int]
    positions: Tensor

    @property
    def path(self) -> list[Level]:
        """What a row reads, beginning first."""
        return [level for level in (self.common, self.prompts, self.replies) if level is not None]

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these, ascending, and the nodes that nobody reads where they are many."""
        self.live = [self.live[row] for row in rows]
        self.positions = self.positions[torch.tensor(rows, device=self.positions.device)]
        if len(self.live) <= COMPACT_AT * len(self.prompt_of):
            self.replies.keep(self.live)
            self.prompt_of = [self.prompt_of[node] for node in self.live]
            self.live = list(range(len(rows)))
            read = sorted(set(self.prompt_of))
            if len(read) <= COMPACT_AT * len(self.prompts.lengths):
                self.prompts.keep(read)
                self.prompt_of = [read.index(node) for node in self.prompt_of]
        self.seat()

    def seat(self) -> None:
        """Tell the levels who reads what."""
        self.prompts.read_by([self.prompt_of[node] for node in self.live])
        self.replies.read_by(self.live)


class FlatNetwork:
    """Rows of one model that enter, take a token each and leave; none is padded.

    Args:
        model: its attention is `attending.NAME`.
        head: hidden states `[rows, hidden]` to logits.
    """

    joins = True

    def __init__(self, model: Any, head: Callable[[Tensor], Tensor]) -> None:
        self._model, self._head = model, head
        self._layers = model.config.get_text_config().num_hidden_layers
        self._cohorts: list[Cohort] = []
        self._begun: Tokens = ()
        self._common: Level | None = None

    def begin(self, prompts: Sequence[Tokens]) -> None:
        """Compute what all of these begin with, where it is long enough; those that enter next read it."""
        self._begun, self._common = (), None
        first, last = min(prompts), max(prompts)  # what the two outermost share, all do
        shared = min(common(first, last), min(map(len, prompts)) - 1)
        if first == last or shared < WORTH_SHARING:
            return
        level = Level([shared], self._model.device)
        self._prefill([first[:shared]], None, 0, level)
        self._begun, self._common = first[:shared], level

    def cost(self, prompts: Sequence[Tokens], limits: Sequence[int]) -> int:
        """Tokens of keys and values that rows of these prompts need at most."""
        begun = len(self._begun)
        return sum(len(prompt) - begun * self._begins(prompt) for prompt in set(prompts)) + sum(limits)

    def admit(self, prompts: Sequence[Tokens], limits: Sequence[int]) -> Tensor:
        """Add a row for each prompt, behind all others; logits `[rows, vocabulary]` of their first tokens."""
        begun = all(map(self._begins, prompts))
        common_level, start = (self._common, len(self._begun)) if begun else (None, 0)
        nodes = {prompt: node for node, prompt in enumerate(dict.fromkeys(prompts))}
        device = self._model.device
        level = Level([len(prompt) - start for prompt in nodes], device)
        last = [
            self._prefill([prompt[start:] for prompt in part], common_level, start, level, nodes[part[0]])
            for part in _parts(list(nodes), start)
        ]
        of = [nodes[prompt] for prompt in prompts]
        positions = torch.tensor([len(prompt) for prompt in prompts], device=device)
        replies = Level([0] * len(prompts), device)
        cohort = Cohort(common_level, level, replies, of, list(range(len(prompts))), positions)
        cohort.seat()
        self._cohorts.append(cohort)
        logits = self._head(torch.cat(last))
        return logits if len(nodes) == len(prompts) else logits[torch.tensor(of, device=device)]

    def step(self, tokens: Tensor) -> Tensor:
        """Take the next token of each row, int64 `[rows]`; logits `[rows, vocabulary]` of the one after."""
        for cohort in self._cohorts:
            cohort.replies.grow()
        positions = torch.cat([cohort.positions for cohort in self._cohorts])
        sizes = [len(cohort.live) for cohort in self._cohorts]
        hidden = self._forward(tokens, positions, Step([cohort.path for cohort in self._cohorts], sizes))
        for cohort in self._cohorts:
            cohort.positions += 1
        return self._head(hidden)

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these, ascending."""
        start, staying = 0, set(rows)
        for cohort in self._cohorts:
            size = len(cohort.live)
            kept = [row for row in range(size) if start + row in staying]
            start += size
            if kept and len(kept) < size:
                cohort.keep(kept)
            elif not kept:
                cohort.live = []
        self._cohorts = [cohort for cohort in self._cohorts if cohort.live]

    def _begins(self, prompt: Tokens) -> bool:
        """Whether it goes on from the common beginning."""
        begun = len(self._begun)
        return 0 < begun < len(prompt) and prompt[:begun] == self._begun

    def _prefill(
        self, endings: Sequence[Tokens], common_level: Level | None, start: int, into: Level, first: int = 0
    ) -> Tensor:
        """Hidden states `[prompts, hidden]` of the last tokens of prompts, which stand from position `start` on."""
        device, lengths = self._model.device, [len(ending) for ending in endings]
        tokens = torch.tensor([token for ending in endings for token in ending], device=device)
        positions = torch.cat([torch.arange(start, start + length, device=device) for length in lengths])
        hidden = self._forward(tokens, positions, Prefill(lengths, common_level, into, first))
        return hidden[torch.tensor(lengths, device=device).cumsum(0) - 1]

    def _forward(self, tokens: Tensor, positions: Tensor, decoding: Pass) -> Tensor:
        """Last hidden states `[N, hidden]`.

        Raises:
            ModelError: not every layer attended by `decoding`.
        """
        output = self._model.base_model(
            input_ids=tokens.unsqueeze(0), position_ids=positions.unsqueeze(0), decoding=decoding, use_cache=False
        )
        if decoding.attended != self._layers:
            raise ModelError(f"{type(self._model).__name__}: {decoding.attended} of {self._layers} layers attended")
        hidden: Tensor = output.last_hidden_state[0]
        return hidden


def _parts(prompts: Sequence[Tokens], start: int) -> Iterator[list[Tokens]]:
    """Prompts, in order, as many together as have at most `PREFILL_TOKENS` from `start` on."""
    part: list[Tokens] = []
    size = 0
    for prompt in prompts:
        if part and size + len(prompt) - start > PREFILL_TOKENS:
            yield part
            part, size = [], 0
        part.append(prompt)
        size += len(prompt) - start
    yield part

"""What a loss sees: one flat vector of tokens with segment ids, and per-token scores aligned with it.

A segment is one sample's tokens (prompt and reply). Segments lie one after the other, without padding, and no segment
sees another. `N` below is the number of tokens, `S` of segments.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Unit = Literal["token", "segment", "pair", "micro_batch"]
SINGLE, CHOSEN, REJECTED, PROBE = 0, 1, 2, 3
"""Values of the segment column `role`. A PROBE is for statistics alone: no loss sees it (see `Needs.probes`)."""


@dataclass(frozen=True)
class PackedBatch:
    """A micro-batch: whole segments laid end to end.

    Attributes:
        token_ids: int64 `[N]`.
        position_ids: int64 `[N]`, restarting at 0 in each segment.
        segment_ids: int64 `[N]`, 0 … S-1, non-decreasing.
        lengths: tokens of each segment; sums to N.
        masks: bool `[N]` by name. `loss_mask[i]` says that token i is a target. The first token of a segment never is.
            A loss may ask for others (see `with_masks`).
        columns: float32 `[N]` by name, aligned with `token_ids`: `reference_logprobs`, `advantages`, `returns` …
        segments: `[S]` by name: `role` (int64: SINGLE, CHOSEN, REJECTED, PROBE), `group` (int64; a pair or a prompt's
            samples share it), and float32 `label` (1: desirable), `margin` (of a pair, 0 where its source has none)
            and `weight`. A weight of 0 marks filler that counts for nothing.
        sample_ids: id of each segment's record.
        sources: data set name of each segment's record.
        statistics: no-gradient sums over the whole step, all ranks (see `Loss.statistics`).
        progress: t/T, the share of the stage's optimizer steps that are done with this one; what a schedule goes by.
    """

    token_ids: Tensor
    position_ids: Tensor
    segment_ids: Tensor
    lengths: tuple[int, ...]
    masks: Mapping[str, Tensor]
    columns: Mapping[str, Tensor]
    segments: Mapping[str, Tensor]
    sample_ids: tuple[str, ...]
    sources: tuple[str, ...]
    statistics: Mapping[str, Tensor] = field(default_factory=dict)
    progress: float = 1.0

    @property
    def loss_mask(self) -> Tensor:
        """Bool `[N]`: the target tokens."""
        return self.masks["loss_mask"]

    @property
    def n_tokens(self) -> int:
        """Number of tokens N."""
        return sum(self.lengths)

    @property
    def n_segments(self) -> int:
        """Number of segments S."""
        return len(self.lengths)

    @property
    def counted(self) -> Tensor:
        """Bool `[S]`: segments of non-zero weight."""
        return self.segments["weight"] > 0

    @property
    def n_counted(self) -> int:
        """Number of tokens of segments of non-zero weight."""
        return sum(compress(self.lengths, self.counted.tolist()))

    @property
    def targets(self) -> Tensor:
        """Bool `[N]`: the target tokens of segments that count."""
        return self.loss_mask & self.counted[self.segment_ids]

    def segment_sum(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """Sum per segment of `values` `[N]` where `mask` (default `loss_mask`): `[S]`, same dtype, differentiable."""
        terms = values.masked_fill(~(self.loss_mask if mask is None else mask), 0)
        return terms.new_zeros(self.n_segments).index_add(0, self.segment_ids, terms)

    def segment_mean(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mean per segment over the masked tokens: `[S]`; 0 where a segment has none."""
        mask = self.loss_mask if mask is None else mask
        counts = self.segment_sum(mask.to(values.dtype), mask)
        return self.segment_sum(values, mask) / counts.clamp(min=1)

    def scored_mask(self) -> Tensor:
        """Bool `[N]`: tokens whose scores some mask asks for; an engine leaves the others' at 0."""
        import torch

        return torch.stack(list(self.masks.values())).any(0)

    def last_token(self) -> Tensor:
        """Int64 `[S]`: index of each segment's last token (where a reward model's score is read)."""
        return self.token_ids.new_tensor(self.lengths).cumsum(0) - 1

    def pairs(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Split per-segment `values` `[S]` into (chosen, rejected), each `[P]`, row p of both from one pair.

        Relies on the packer, which keeps a pair in one micro-batch as chosen followed by rejected.
        """
        role = self.segments["role"]
        return values[role == CHOSEN], values[role == REJECTED]

    def count(self, unit: Unit) -> float:
        """How many tokens, segments or pairs of non-zero weight this batch holds; 1 micro-batch if it has targets."""
        if unit == "token":
            return float(self.targets.sum())
        if unit == "segment":
            return float(self.counted.sum())
        if unit == "micro_batch":
            return float(self.targets.any())
        return float((self.counted & (self.segments["role"] == CHOSEN)).sum())

    def with_columns(self, **columns: Tensor) -> PackedBatch:
        """A copy with token columns added, each float32 `[N]`."""
        for name, column in columns.items():
            if column.shape != self.token_ids.shape:
                raise ValueError(
                    f"column {name!r} has shape {tuple(column.shape)}, needs {tuple(self.token_ids.shape)}"
                )
        return replace(self, columns={**self.columns, **columns})

    def with_masks(self, names: Iterable[str]) -> PackedBatch:
        """A copy with masks added by name.

        `sequence` is every token but the first of its segment, prompts included; `chosen_sequence` those of the pairs'
        chosen samples.
        """
        sequence = self.position_ids > 0
        chosen = (self.segments["role"] == CHOSEN)[self.segment_ids]
        known = {"sequence": sequence, "chosen_sequence": sequence & chosen}
        return replace(self, masks={**self.masks, **{name: known[name] for name in names}})

    def select(self, chosen: Tensor) -> PackedBatch:
        """The segments where `chosen` (bool `[S]`), in their order, as a batch of their own."""
        tokens, flags = chosen[self.segment_ids], chosen.tolist()
        return replace(
            self,
            token_ids=self.token_ids[tokens],
            position_ids=self.position_ids[tokens],
            segment_ids=(chosen.cumsum(0) - 1)[self.segment_ids[tokens]],
            lengths=tuple(compress(self.lengths, flags)),
            masks={name: mask[tokens] for name, mask in self.masks.items()},
            columns={name: column[tokens] for name, column in self.columns.items()},
            segments={name: column[chosen] for name, column in self.segments.items()},
            sample_ids=tuple(compress(self.sample_ids, flags)),
            sources=tuple(compress(self.sources, flags)),
        )

    def to(self, device: torch.device) -> PackedBatch:
        """The same batch with its tensors on `device`; itself if they are there already."""
        if self.token_ids.device == device:
            return self
        moved: dict[str, Any] = {
            name: getattr(self, name).to(device) for name in ("token_ids", "position_ids", "segment_ids")
        }
        for table in ("masks", "columns", "segments", "statistics"):
            moved[table] = {name: vector.to(device) for name, vector in getattr(self, table).items()}
        return replace(self, **moved)

    def with_statistics(self, statistics: Mapping[str, Tensor]) -> PackedBatch:
        """A copy that carries the step's all-reduced statistics."""
        return replace(self, statistics=dict(statistics))


@dataclass(frozen=True)
class TokenScores:
    """A model's per-token scores of one `PackedBatch`, float32 `[N]`, differentiable.

    Scores of the head `lm` are 0 at tokens that no mask of the batch names (`PackedBatch.scored_mask`); values are
    there for all tokens.

    Attributes:
        logprobs: `logprobs[i]` is the log-probability of token i given the tokens before it in its segment.
        entropy: `entropy[i]` is that of the distribution token i was drawn from.
        log_sum_p2: log Σ p² of the same distribution (WPO).
        hits: 1 where token i is the likeliest of that distribution (of equals the first), else 0; no gradient.
        values: `values[i]` is the scalar head *at* token i; V before token i is `values[i-1]`.
    """

    logprobs: Tensor | None = None
    entropy: Tensor | None = None
    log_sum_p2: Tensor | None = None
    hits: Tensor | None = None
    values: Tensor | None = None

    def filled(self) -> dict[str, Tensor]:
        """The scores that are there, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}

    @property
    def device(self) -> torch.device:
        """Where the scores lie (all of a step's models share one device)."""
        return next(iter(self.filled().values())).device

    def merge(self, other: TokenScores) -> TokenScores:
        """The scores of both; `other` wins where it has one (policy scores joined with a critic's values)."""
        return replace(self, **other.filled())

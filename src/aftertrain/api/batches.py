"""What a step of a recipe trains on, without training."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aftertrain.core.errors import RunError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from aftertrain.api.stages import ReadyStage
    from aftertrain.core.batch import PackedBatch


@dataclass(frozen=True)
class StepBatches:
    """The micro-batches of one step.

    Attributes:
        stage: name of the stage.
        step: counted from 1.
        tokenizer: the stage's, to turn ids into text.
        where: finds file and line of sample ids; those not known are absent.
    """

    stage: str
    step: int
    tokenizer: PreTrainedTokenizerBase
    batches: Sequence[PackedBatch]
    where: Callable[[Collection[str]], Mapping[str, str]] = lambda ids: {}


def step_batches(ready: ReadyStage, step: int = 1) -> StepBatches:
    """The micro-batches of one step of a training stage, exactly as a run would form them; no weights are loaded.

    Args:
        step: counted from 1.

    Raises:
        RunError: the stage does not train on a data set, or has no such step.
        DataError: a row cannot be used.
    """
    from aftertrain.core.stage import TrainsOnRows
    from aftertrain.core.text.chat import load_tokenizer

    stage = ready.stage
    if not isinstance(stage, TrainsOnRows):
        raise RunError(f"stage {ready.name!r} does not train on rows that are known before it runs")
    batches = stage.batches(ready.context, step)
    tokenizer = load_tokenizer(ready.context.model, ready.context.chat_template)
    return StepBatches(ready.name, step, tokenizer, batches, stage.where)

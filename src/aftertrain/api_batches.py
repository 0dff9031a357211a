"""What a step of a recipe trains on, without training."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aftertrain.core.errors import RunError, UnknownName

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

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


def step_batches(
    recipe: str | os.PathLike[str],
    stage: str | None = None,
    overrides: Iterable[str] | Mapping[str, Any] = (),
    *,
    step: int = 1,
) -> StepBatches:
    """The micro-batches of one step of a training stage, exactly as a run would form them; no weights are loaded.

    Args:
        stage: its name; None takes the first one that trains on a data set.
        step: counted from 1.

    Raises:
        UnknownName: there is no such stage.
        RunError: it does not train on a data set, or has no such step.
        DataError: a row cannot be used.
    """
    from aftertrain.api import _job
    from aftertrain.core.run.base_model import find_model
    from aftertrain.core.run.graph import build_graph
    from aftertrain.core.stage import PlanContext, TrainsOnRows
    from aftertrain.core.text.chat import load_tokenizer

    job = _job(recipe, overrides, "runs", restart=False, other_machine=False, console=False)
    nodes = {node.name: node.stage for node in build_graph(job.recipe.stages, job.builder, job.locate)}
    if stage is None:
        trained = [name for name, candidate in nodes.items() if isinstance(candidate, TrainsOnRows)]
        if not trained:
            raise RunError(f"recipe {job.recipe.name!r} has no stage that trains on a data set")
        stage = trained[0]
    if stage not in nodes:
        raise UnknownName("stage", stage, nodes)
    chosen = nodes[stage]
    if not isinstance(chosen, TrainsOnRows):
        raise RunError(f"stage {stage!r} does not train on rows that are known before it runs")
    model = str(find_model(job.recipe.model, job.base_folder, weights=False))
    context = PlanContext(stage, model, job.recipe.seed_of(stage), job.builder, job.recipe.chat_template)
    batches = chosen.batches(context, step)
    return StepBatches(stage, step, load_tokenizer(model, job.recipe.chat_template), batches, chosen.where)

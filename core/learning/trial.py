"""What a stage hands over to have its invariants measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from aftertrain.core.engine import AdamW, Engine, Head
from aftertrain.core.loss import Loss
from aftertrain.core.packed.packing import Atom
from aftertrain.core.ranks import ALONE, Ranks
from aftertrain.core.settings import Builder, Use
from aftertrain.core.stage import PlanContext, Stage

END = 4
"""Steps after which a rehearsal is compared with one that was stopped on the way."""


@dataclass(frozen=True)
class Trial:
    """A few rows of a training stage, and all that would train on them.

    Attributes:
        about: what the rows are, for people: `8 pairs of quickstart`.
        atoms: tokenised, without the columns that `reference` or `made_up` give.
        budget: tokens of a micro-batch.
        make_loss: the stage's loss, made anew.
        engine: the stage's.
        models: folder of the model that each term of the loss trains.
        seed: of a scalar head.
        temperature: logits are divided by it.
        reference: the atoms with `reference_logprobs`, by the stage's own cache in the folder that it is given, made
            by these ranks; None where the loss has no reference that is computed beforehand.
        made_up: token columns that only a rollout gives. They are made up: log-probs near the model's own, standard
            normals else.
        rehearsal: the stage made anew, with a few rows, six steps of it and no checkpoints of its own accord; None
            where it cannot run alone.
        untried: why an invariant (by name) is not checked here.
        chat_template: named template that replaces the tokenizer's own, for the rehearsal.
        only: the trial of some of the atoms, by their places; None where the rows are to be taken as they are.
        ranks: those that try it together.
    """

    about: str
    atoms: Sequence[Atom]
    budget: int
    make_loss: Callable[[], Loss[Any]]
    engine: Use[Engine[Any]]
    builder: Builder
    models: Mapping[str, str]
    seed: int = 0
    temperature: float = 1.0
    reference: Callable[[Path, Ranks], Sequence[Atom]] | None = None
    made_up: frozenset[str] = frozenset()
    rehearsal: Callable[[], Stage[Any]] | None = None
    untried: Mapping[str, str] = field(default_factory=dict)
    chat_template: str | None = None
    only: Callable[[Sequence[int]], Trial] | None = None
    ranks: Ranks = ALONE

    def engines(self, optimizer: AdamW | None, **changed: Any) -> dict[str, Engine[Any]]:
        """The models that the loss trains, loaded anew.

        Args:
            changed: settings of the engine to replace; those that it does not have are left out.

        Raises:
            ModelError: a model cannot be loaded.
        """
        settings = self.engine.settings
        known = {name: value for name, value in changed.items() if name in type(settings).model_fields}
        use = Use(self.engine.kind, self.engine.name, settings.model_copy(update=known)) if known else self.engine
        engines: dict[str, Engine[Any]] = {}
        for term, folder in self.models.items():
            engines[term] = self.builder.build(use)
            head: Head = "scalar" if term == "value" else "lm"
            engines[term].load(folder, head=head, optimizer=optimizer, seed=self.seed, ranks=self.ranks)
        return engines


@runtime_checkable
class HasInvariants(Protocol):
    """A stage that `aftertrain check-invariants` can measure."""

    def trial(self, context: PlanContext, rows: int) -> Trial:
        """At most `rows` rows and all that would train on them.

        Weights may be loaded by what the trial's members do, not by this call.

        Raises:
            DataError: a row cannot be used.
        """

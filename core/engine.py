"""The engine interface: one model, its optimizer, and the arithmetic of dividing."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol, TypeVar, runtime_checkable

from pydantic import Field

from aftertrain.core.batch import PackedBatch, TokenScores
from aftertrain.core.component import Component
from aftertrain.core.loss import Score
from aftertrain.core.ranks import ALONE, Ranks
from aftertrain.core.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

S = TypeVar("S", bound=Settings)
Head = Literal["lm", "scalar"]


class AdamW(Settings):
    """AdamW and its clipping. The learning rate comes with each step, from the stage's schedule."""

    beta1: Annotated[float, Field(ge=0, lt=1)] = Field(0.9, description="Decay of the gradient's running mean.")
    beta2: Annotated[float, Field(ge=0, lt=1)] = Field(0.999, description="Decay of its running square.")
    eps: Annotated[float, Field(gt=0)] = Field(1e-8, description="Added to the denominator.")
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.0, description="Decoupled; not applied to biases and norms.")
    max_grad_norm: Annotated[float, Field(gt=0)] | None = Field(
        1.0, description="Clip the global gradient norm to this; null for none."
    )


@dataclass(frozen=True, slots=True)
class StepReport:
    """What an optimizer step did: the global gradient norm before clipping, and the learning rate used."""

    grad_norm: float
    learning_rate: float


@dataclass(frozen=True, slots=True)
class Continuation:
    """Token ids, of which the first `n_context` (at least 1) are given and the others are scored."""

    token_ids: tuple[int, ...]
    n_context: int


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Of a continuation: its summed log-probability in nats, and whether each of its tokens is the likeliest there."""

    logprob: float
    greedy: bool


@runtime_checkable
class ScoresContinuations(Protocol):
    """An engine that has a quicker way to log-likelihoods than `Engine.score` of each sequence."""

    def likelihoods(self, items: Sequence[Continuation], budget: int) -> list[Likelihood]:
        """One an item, in order, computing at most `budget` tokens together."""
        ...


class Engine(Component[S]):
    """Holds one model: packed forward, backward, step, save, load.

    Life: `load`, then per step `score` → `backward` for each micro-batch → `step`. Dropout is off throughout.
    """

    kind: ClassVar[str] = "engine"
    ranks: Ranks = ALONE
    """Those that share the model's work: over these a step's counts, sums and metrics are added up."""

    @property
    def saves(self) -> Literal["model", "adapter"]:
        """What `save_model` writes: a model, or adapters of one, from which no stage can go on."""
        return "model"

    def preflight(self, model: str, *, head: Head = "lm") -> None:
        """Find what `load` and training would refuse here, without weights; nothing by default.

        Args:
            model: folder with the configuration.

        Raises:
            AftertrainError: the machine lacks a device or package, or the model a layer, that the settings ask for.
        """

    def misfits(self, model: str, *, head: Head = "lm") -> Sequence[str]:
        """Why no machine could train the folder `model` as these settings say; nothing by default.

        Raises:
            ModelError: the folder's configuration cannot be read.
        """
        return ()

    def notes(self) -> Sequence[str]:
        """What a user should know of these settings before a run, a sentence each; told in plan and events."""
        return ()

    @abstractmethod
    def load(
        self,
        model: str,
        *,
        head: Head = "lm",
        optimizer: AdamW | None = None,
        seed: int = 0,
        ranks: Ranks = ALONE,
    ) -> None:
        """Load a Hugging Face folder.

        Args:
            model: path of the folder.
            head: `lm` scores tokens; `scalar` has one value per token. A scalar head absent from the folder starts
                from a normal draw of `seed` with standard deviation 1/√(hidden + 1).
            optimizer: None for a model that is only evaluated (a reference).
            ranks: those that train the model together; an engine that can share it out keeps them as `ranks`.

        Raises:
            ModelError: the folder is unreadable, or of a family whose head the engine does not know.
        """

    def facts(self, model: str) -> dict[str, str]:
        """What settings that choose by themselves come to here for the folder `model`, as far as it decides numbers.

        That is the device's type and the attention kernel where a setting is `auto`. Loads no model. Scores that are
        kept on disk serve only where these are the same.
        """
        return {}

    @property
    def shares_prefixes(self) -> bool:
        """Whether it computes once what the segments of a group begin with, so that a packer need count it once."""
        return False

    @abstractmethod
    def score(
        self, batch: PackedBatch, wants: Iterable[Score] = ("logprobs",), *, temperature: float = 1.0, grad: bool = True
    ) -> TokenScores:
        """Per-token scores, float32 `[N]`, never holding `[tokens, vocabulary]` logits in full.

        Args:
            wants: fields of `TokenScores` to fill. `values` needs a scalar head, the others an lm head.
            temperature: logits are divided by it.
            grad: False for reference, old and value passes.
        """

    @abstractmethod
    def backward(self, numerator: Tensor, denominator: float) -> None:
        """Accumulate the gradient of `numerator / denominator`, which is global over micro-batches and ranks."""

    @abstractmethod
    def step(self, learning_rate: float) -> StepReport:
        """Clip, update, clear gradients.

        Raises:
            NumericsError: the gradient is not finite; the weights are left as they were.
        """

    def not_finite(self) -> list[str]:
        """Names of the weights that hold a NaN or an infinity, on any rank; every rank calls it after each step.

        By default looks through `weights`; an engine for which that is dear looks at what it holds itself.
        """
        return [name for name, weight in self.weights() if not bool(weight.isfinite().all())]

    @property
    def lends(self) -> bool:
        """Whether `weights` yields the very tensors that `step` and `load_state` change in place, so that a generator
        in this process may read them and hold no copy."""
        return False

    @abstractmethod
    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Names (as in the Hugging Face folder) and full tensors, for a generator or for saving."""

    @abstractmethod
    def save_model(self, folder: Path) -> None:
        """Write a plain Hugging Face folder (safetensors, config; the tokenizer is the stage's to write)."""

    def saved(self) -> Iterator[tuple[str, Tensor]]:
        """What `save_model` writes, by the names of the model's state (of adapters: by those in their file).

        Stages hold the folder against it before they say that they are done (see `core.learning.saved`). By default
        `weights`; an engine whose model has persistent buffers too yields these as well. On rank 0 what was
        yielded stays whole.
        """
        yield from self.weights()

    @abstractmethod
    def save_state(self, folder: Path) -> None:
        """Write weights and optimizer state exactly, as safetensors and JSON, for a resume to the same bits."""

    @abstractmethod
    def load_state(self, folder: Path) -> None:
        """Restore what `save_state` wrote by copying into the allocated tensors.

        Raises:
            CheckpointError: the state is of another model or optimizer.
        """

    def memory(self, config: Any, parameters: int, tokens: int, targets: int) -> dict[str, int]:
        """What a micro-batch holds at its largest, by name in bytes, for `aftertrain plan`; empty if not predicted.

        The entry `activations` is of this engine's settings; `activations, MODE` of another setting. Loads no model.

        Args:
            config: transformers configuration of the model.
            parameters: its weights.
            tokens: tokens of a micro-batch.
            targets: those that the head scores; 0 for a scalar head.

        Raises:
            ModelError: the configuration lacks a width.
        """
        return {}

    @property
    @abstractmethod
    def n_parameters(self) -> int:
        """Number of weights, each tied weight counted once."""

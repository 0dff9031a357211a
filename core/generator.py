"""The generator interface: asynchronous underneath (submit, collect, cancel), with a synchronous helper on top."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, TypeVar

from pydantic import Field

from aftertrain.core.component import Component
from aftertrain.core.ground.usage import used_unless
from aftertrain.core.records import Completion
from aftertrain.core.settings import Fraction, PositiveInt, Settings

if TYPE_CHECKING:
    from torch import Tensor

S = TypeVar("S", bound=Settings)


class Sampling(Settings):
    """How a reply is drawn. Temperature 0 is greedy."""

    max_new_tokens: PositiveInt = Field(256, description="Tokens after which a reply is cut (finish reason 'length').")
    temperature: Annotated[float, Field(ge=0)] = Field(1.0, description="Softmax temperature; 0 takes the argmax.")
    top_p: Annotated[Fraction, used_unless("temperature", 0)] = Field(
        1.0, description="Nucleus mass kept. Below 1 the importance ratios of RL are biased."
    )
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (),
        description="Strings that end a reply where they first appear, in one token or across several; special tokens "
        "are seen. They are kept in its token ids, not its text.",
    )


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One reply to make.

    Attributes:
        prompt_ids: token ids of the prompt, special tokens included; never empty.
        seed: the reply depends on this, the prompt, the sampling and the weights, not on its neighbours in a batch
            (to rounding of the logits).
    """

    id: str
    prompt_ids: tuple[int, ...]
    sampling: Sampling
    seed: int


class Generator(Component[S]):
    """Makes completions with one model."""

    kind: ClassVar[str] = "generator"

    @abstractmethod
    def open(self, model: str, version: int = 0) -> None:
        """Load a Hugging Face folder (or connect to its server); call before `submit`.

        Args:
            model: path of the model folder, tokenizer included.
            version: stamped on tokens until `update_weights`.
        """

    @abstractmethod
    def submit(self, requests: Sequence[GenerationRequest]) -> None:
        """Queue requests; ids must be unique among those in flight."""

    @abstractmethod
    def collect(self, timeout: float | None = None) -> list[Completion]:
        """Finished completions, in any order, at least one unless nothing is in flight.

        Raises:
            TimeoutError: nothing finished within `timeout` seconds.
        """

    @abstractmethod
    def cancel(self, ids: Iterable[str] | None = None) -> None:
        """Drop queued or running requests (all of them by default); they are not collected."""

    @abstractmethod
    def update_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Replace weights by name; tokens made from now on carry `version`. Any prefix cache is dropped."""

    def close(self) -> None:
        """Free the model."""

    def generate(self, requests: Sequence[GenerationRequest], timeout: float | None = None) -> list[Completion]:
        """Submit, wait for all, return in the order of `requests`."""
        self.submit(requests)
        completions: dict[str, Completion] = {}
        while len(completions) < len(requests):
            completions.update((completion.id, completion) for completion in self.collect(timeout))
        return [completions[request.id] for request in requests]

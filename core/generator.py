"""The generator interface: asynchronous underneath (submit, collect, cancel), with a synchronous helper on top."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import Field

from aftertrain.core.component import Component
from aftertrain.core.errors import ModelError, RunError
from aftertrain.core.ground.endpoint import FORM, is_endpoint
from aftertrain.core.ground.usage import used_unless
from aftertrain.core.records import Completion, Message
from aftertrain.core.settings import Fraction, PositiveInt, Settings

if TYPE_CHECKING:
    from torch import Tensor

    from aftertrain.core.engine import ScoresContinuations

Takes = Literal["tokens", "text", "messages"]
"""In which form a generator reads a prompt."""
S = TypeVar("S", bound=Settings)


class Sampling(Settings):
    """How a reply is drawn. Temperature 0 is greedy."""

    max_new_tokens: PositiveInt = Field(256, description="Tokens after which a reply is cut (finish reason 'length').")
    temperature: Annotated[float, Field(ge=0)] = Field(1.0, description="Softmax temperature; 0 takes the argmax.")
    top_p: Annotated[Fraction, used_unless("temperature", 0)] = Field(
        1.0, description="Nucleus mass kept. Below 1 the importance ratios of RL are biased."
    )
    top_k: Annotated[PositiveInt | None, used_unless("temperature", 0)] = Field(
        None, description="Likeliest tokens kept, before top_p; null: all. Not for online learning."
    )
    min_p: Annotated[Fraction, used_unless("temperature", 0)] = Field(
        0.0,
        description="Tokens less likely than this share of the likeliest one's probability are left out, after top_k "
        "and top_p. Not for online learning.",
    )
    repetition_penalty: Annotated[float, Field(gt=0)] = Field(
        1.0,
        description="Divides the positive logits of tokens that prompt or reply hold already, and multiplies the "
        "negative ones; 1 changes nothing. Not for online learning.",
    )
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (),
        description="Strings that end a reply where they first appear, in one token or across several; special tokens "
        "are seen. They are kept in its token ids, not its text.",
    )

    @property
    def deciding(self) -> dict[str, Any]:
        """What decides a reply beside the temperature, by name; for digests, which a setting not used leaves as is."""
        # Each by name: what a settings class writes of itself leaves out what is not used at its temperature.
        later = {"top_k": None, "min_p": 0.0, "repetition_penalty": 1.0}
        chosen = {name: value for name in later if (value := getattr(self, name)) != later[name]}
        return {"max_new_tokens": self.max_new_tokens, "top_p": self.top_p, "stop": self.stop, **chosen}

    @property
    def reshapes(self) -> list[str]:
        """Settings by which replies are drawn from another distribution than the model's under the temperature.

        Their log-probabilities are the model's all the same, so that nothing can learn from such replies by the ratio
        of two models' probabilities. At temperature 0 only what changes the argmax counts.
        """
        drawn = {"top_p": self.top_p < 1, "top_k": self.top_k is not None, "min_p": self.min_p > 0}
        names = [name for name, cuts in drawn.items() if cuts and self.temperature > 0]
        return [*names, *(["repetition_penalty"] if self.repetition_penalty != 1 else [])]


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One reply to make. Its prompt has the form that the generator `takes`; other forms may be there too.

    Attributes:
        prompt_ids: token ids of the prompt, special tokens included; never empty for a generator that takes tokens.
        seed: the reply depends on this, the prompt, the sampling and the weights, not on its neighbours in a batch
            (to rounding of the logits).
        messages: the prompt as a conversation, no template applied; a last one of the assistant is a begun reply.
        text: the prompt as plain text, to which whoever runs the model adds its tokenizer's own special tokens.
        likeliest: so many of the likeliest first tokens are asked for (`Completion.likeliest`); a generator that cannot
            tell them leaves them out.
    """

    id: str
    prompt_ids: tuple[int, ...]
    sampling: Sampling
    seed: int
    messages: tuple[Message, ...] = ()
    text: str | None = None
    likeliest: int = 0


class Generator(Component[S]):
    """Makes completions with one model."""

    kind: ClassVar[str] = "generator"
    remote: ClassVar[bool] = False
    """Whether it asks an endpoint (`http://HOST/v1#NAME`) and not a model folder."""

    @property
    def takes(self) -> Takes:
        """The form of prompts that it reads: token ids, unless a class says otherwise."""
        return "tokens"

    @property
    def tokenizer_folder(self) -> str | None:
        """Folder or hub name of the model's tokenizer where the model is no folder, None where there is none."""
        return None

    @property
    def context_size(self) -> int | None:
        """Most tokens of prompt and reply together, where it knows of a limit beside that of a model folder."""
        return None

    @property
    def cost(self) -> float:
        """What its requests have cost so far, by its prices; 0 where it has none."""
        return 0.0

    def price(self, prompt: int, reply: int) -> float:
        """Of so many tokens, by its prices; 0 where it has none."""
        return 0.0

    def preflight(self, model: str) -> None:
        """Find what `open` and `submit` would refuse, without loading or asking anything.

        Raises:
            AftertrainError: the model is an endpoint and this runs folders, or the other way about; something that the
                settings ask for is not here.
        """
        if is_endpoint(model) == self.remote:
            return
        if self.remote:
            raise ModelError(
                f"{type(self).__name__} asks an endpoint, and the model {model} is none: write it as {FORM}"
            )
        raise ModelError(
            f"{type(self).__name__} runs a model folder, and {model} is an endpoint: set generator: openai"
        )

    def scorer(self) -> ScoresContinuations:
        """What takes log-likelihoods of continuations with the opened model, for a generator that asks an endpoint.

        Raises:
            ModelError: log-likelihoods cannot be had, and why; told before anything is opened, too.
        """
        raise ModelError(f"{type(self).__name__} takes no log-likelihoods")

    def refuses(self, messages: Sequence[Message]) -> str:
        """Why a conversation cannot be sent to a generator that takes messages; "" where it can."""
        return ""

    def borrow(self, weights: Mapping[str, Tensor]) -> None:
        """Offer, before `open`, a trainer's own tensors by name to read in place of a copy.

        The trainer changes them in place and calls `update_weights` with the same tensors before the next request. A
        generator may decline by doing nothing; then it loads weights and copies updates as ever.
        """

    @abstractmethod
    def open(self, model: str, version: int = 0) -> None:
        """Load a Hugging Face folder, or connect to an endpoint; call before `submit`.

        Args:
            model: path of the model folder, tokenizer included; the endpoint's `http://HOST/v1#NAME` of a remote one.
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

    def checksums(self) -> Mapping[str, tuple[str, int]] | None:
        """Of the weights of the last `update_weights`, as they are held or as they arrived: by name, the name of the
        dtype and `core.packed.checksum.checksum` of each; a tied one may be left out.

        None where it cannot tell, or where it reads a trainer's own tensors.
        """
        return None

    def close(self) -> None:
        """Free the model."""

    def generate(self, requests: Sequence[GenerationRequest], timeout: float | None = None) -> list[Completion]:
        """Submit, wait for all, return in the order of `requests`.

        Raises:
            TimeoutError: nothing finished within `timeout` seconds. RunError: a request was lost.
        """
        self.submit(requests)
        completions: dict[str, Completion] = {}
        while missing := [request.id for request in requests if request.id not in completions]:
            if not (finished := self.collect(timeout)):
                raise RunError(f"the generator lost the request {missing[0]!r}: it has nothing more in flight")
            completions.update((completion.id, completion) for completion in finished)
        return [completions[request.id] for request in requests]

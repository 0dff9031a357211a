"""The generator `openai`: replies of any OpenAI-compatible endpoint.

What an endpoint says of itself is all that is known of it: its replies are drawn by its own code, ids are told only by
their number, a seed may be ignored, and the weights behind a name may change (`revision`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from aftertrain.core.errors import ModelError
from aftertrain.core.generator import GenerationRequest, Generator, Takes
from aftertrain.core.ground.endpoint import endpoint_of
from aftertrain.core.records import Completion, Message
from aftertrain.core.settings import Builder
from aftertrain.plugins.endpoints.answers import Usage, completion_of
from aftertrain.plugins.endpoints.body import PATHS, begins_reply, body_of, longest
from aftertrain.plugins.endpoints.crew import Crew
from aftertrain.plugins.endpoints.line import Line, Refused, check_packages, key_of
from aftertrain.plugins.endpoints.pace import Purse
from aftertrain.plugins.endpoints.scoring import EchoScorer
from aftertrain.plugins.endpoints.settings import OpenAISettings

if TYPE_CHECKING:
    from torch import Tensor


class OpenAI(Generator[OpenAISettings]):
    """Requests go out as they are submitted, `concurrency` at once."""

    Config = OpenAISettings
    remote: ClassVar[bool] = True

    def __init__(self, settings: OpenAISettings, builder: Builder) -> None:
        super().__init__(settings, builder)
        self._line: Line | None = None
        self._crew: Crew[Completion] | None = None
        self._version = 0
        self._cost = 0.0

    @property
    def takes(self) -> Takes:
        """Conversations, or whole prompts: as token ids where the tokenizer is known, else as text."""
        if self.settings.api == "chat":
            return "messages"
        return "text" if self.settings.tokenizer is None else "tokens"

    @property
    def cost(self) -> float:
        """By the setting `prices`, over all connections."""
        return self._cost + (0.0 if self._line is None else self._line.purse.spent)

    def price(self, prompt: int, reply: int) -> float:
        """By the setting `prices`."""
        return Purse(self.settings.prices, None).price(prompt, reply)

    @property
    def tokenizer_folder(self) -> str | None:
        """The setting."""
        return self.settings.tokenizer

    @property
    def context_size(self) -> int | None:
        """The setting."""
        return self.settings.context

    def preflight(self, model: str) -> None:
        """See that the model is an endpoint, its key is set and the packages are there; the server is not asked.

        Raises:
            ModelError: no endpoint, or no key. MissingExtra: a package is not installed.
        """
        super().preflight(model)
        endpoint_of(model)
        check_packages()
        key_of(self.settings)

    def scorer(self) -> EchoScorer:
        """Log-likelihoods from /completions, which echoes a prompt with its log-probabilities.

        Raises:
            ModelError: /chat/completions tells nothing of given text; or the tokenizer is not known.
        """
        if self.settings.api == "chat":
            raise ModelError(
                "a chat endpoint gives log-probabilities of its own replies only, never of a given continuation: score "
                "log-likelihoods with generator.api: completions, where the server has it (echo), or a model folder"
            )
        if self.settings.tokenizer is None:
            raise ModelError(
                "where a context ends and its continuation begins is known in tokens only: set generator.tokenizer to "
                "the folder or hub name of the served model's tokenizer"
            )
        return EchoScorer(self.settings, lambda: self._opened()[0])

    def refuses(self, messages: Sequence[Message]) -> str:
        """A begun reply, unless the settings say what becomes of it."""
        if self.settings.api == "chat" and self.settings.prefill == "refuse" and begins_reply(messages):
            return (
                f"the task begins the reply ({messages[-1].content!r}), and a chat endpoint begins its own: set "
                "generator.prefill to 'continue' (vLLM, SGLang) or 'drop', or generator.api: completions"
            )
        return ""

    def open(self, model: str, version: int = 0) -> None:
        """Connect with the first request.

        Raises:
            ModelError: no endpoint, or no key. MissingExtra: a package is not installed.
        """
        self.preflight(model)
        self.close()
        self._line, self._crew = Line(endpoint_of(model), self.settings), Crew(self.settings.concurrency)
        self._version = version

    def submit(self, requests: Sequence[GenerationRequest]) -> None:
        """Send requests, or queue them behind others.

        Raises:
            ValueError: an id is in flight already, or a prompt is empty.
            ModelError: a begun reply that the endpoint would not go on with.
        """
        line, crew = self._opened()
        in_flight = set(crew.in_flight)
        for request in requests:
            prompt = {"messages": request.messages, "text": request.text, "tokens": request.prompt_ids}[self.takes]
            if request.id in in_flight or not prompt:
                why = "is in flight already" if request.id in in_flight else f"has no prompt ({self.takes})"
                raise ValueError(f"request {request.id!r} {why}")
            if why := self.refuses(request.messages):
                raise ModelError(f"request {request.id!r}: {why}")
            in_flight.add(request.id)
        for request in requests:
            crew.add(request.id, partial(self._reply, line, request))

    def collect(self, timeout: float | None = None) -> list[Completion]:
        """Replies as they come. A failure is raised once those on their way are there.

        Raises:
            TimeoutError: none came within `timeout` seconds.
            ModelError: the server refuses a request, another model answers, or no attempt succeeded.
            RunError: the cost ceiling.
        """
        return self._opened()[1].collect(timeout)

    def cancel(self, ids: Iterable[str] | None = None) -> None:
        """Forget requests; those on their way are paid for all the same."""
        self._opened()[1].drop(ids)

    def update_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """An endpoint's weights are its server's.

        Raises:
            ModelError: always.
        """
        raise ModelError("an endpoint's weights cannot be replaced: learn online with a generator that runs a folder")

    def close(self) -> None:
        """Hang up; requests on their way are forgotten."""
        if self._crew is not None:
            self._crew.close()
        if self._line is not None:
            self._line.close()
            self._cost += self._line.purse.spent
        self._line = self._crew = None

    def _reply(self, line: Line, request: GenerationRequest) -> Completion:
        def use(answer: dict[str, Any], usage: Usage) -> Completion:
            return completion_of(answer, request, self.settings.api, usage, self._version)

        body = body_of(request, self.settings, line.endpoint.model)
        try:
            completion: Completion = line.call(PATHS[self.settings.api], body, longest(request, self.settings), use)
        except Refused as error:
            return Completion(request.id, request.prompt_ids, (), (), (), "refused", "", why=str(error))
        return completion

    def _opened(self) -> tuple[Line, Crew[Completion]]:
        if self._line is None or self._crew is None:
            raise RuntimeError("open the generator before using it")
        return self._line, self._crew

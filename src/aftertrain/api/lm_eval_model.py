"""A model as lm-eval's `LM`: log-likelihoods from our engine, replies from our generator."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from lm_eval.api.model import LM

from aftertrain.core.engine import Continuation, Engine, Likelihood, ScoresContinuations
from aftertrain.core.errors import DataError
from aftertrain.core.eval_task import Instance
from aftertrain.core.generator import GenerationRequest, Generator
from aftertrain.core.ground.model_folder import context_window
from aftertrain.core.learning.seeding import sub_seed
from aftertrain.core.packed.likelihoods import likelihoods
from aftertrain.core.records import Message
from aftertrain.core.text.chat import load_tokenizer, prompt_text
from aftertrain.plugins.evaluation.asking import fit_prompt
from aftertrain.plugins.evaluation.choices import encode_text
from aftertrain.plugins.evaluation.prompts import encode, encode_choices
from aftertrain.plugins.lm_eval_tasks.asking import sampling_of


class AftertrainModel(LM):  # type: ignore[misc]  # lm-eval has no types
    """A model for `lm_eval.simple_evaluate(model=…)`; see `aftertrain.lm_eval_model`.

    The engine and the generator are loaded when they are first asked, and never both at once.
    """

    def __init__(
        self,
        folder: Path,
        *,
        generator: Generator[Any],
        engine: Engine[Any],
        chat_template: str | None,
        micro_tokens: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.folder = folder
        self._generator = generator
        self._unloaded = engine
        self._open = False
        self._micro_tokens = micro_tokens
        self._seed = seed
        self._window = context_window(str(folder))
        self._rendered: set[str] = set()
        self.tokenizer = load_tokenizer(str(folder), chat_template, needs_template=False)

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """By context and continuation, encoded together; what is too long is cut at its start, as lm-eval does."""
        items = [self._continuation(*request.args) for request in requests]
        results = [(scored.logprob, scored.greedy) for scored in self._scored(items)]
        for request, result in zip(requests, results, strict=True):
            self.cache_hook.add_partial("loglikelihood", request.args, result)
        return results

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Of whole texts, from the first token on, in windows."""
        window = self._window
        if window is not None and not isinstance(self._engine, ScoresContinuations):
            window -= 1  # an engine that scores whole sequences reads the last token of a window, too
        texts = [Instance("", (Message("user", request.args[0]),), None, chat=False) for request in requests]
        encoded = [[item.continuation for item in encode_text(self.tokenizer, text, window)] for text in texts]
        scored = iter(self._scored([item for items in encoded for item in items]))
        results = [sum(next(scored).logprob for _ in items) for items in encoded]
        for request, result in zip(requests, results, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, result)
        return results

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Replies; a prompt that leaves too little room shortens its reply."""
        if not self._open:
            self._generator.open(str(self.folder))
            self._open = True
        asked = [self._request(place, *request.args) for place, request in enumerate(requests)]
        replies = [completion.text for completion in self._generator.generate(asked)]
        for request, reply in zip(requests, replies, strict=True):
            self.cache_hook.add_partial("generate_until", request.args, reply)
        return replies

    def apply_chat_template(self, chat_history: Sequence[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A conversation as text; a last turn of the assistant is a begun reply."""
        messages = [Message(turn["role"], turn["content"]) for turn in chat_history]  # type: ignore[arg-type]
        text = prompt_text(self.tokenizer, messages, chat=True)
        self._rendered.add(text)
        return text

    def chat_template(self, chat_template: bool | str = False) -> str:
        """The template in force."""
        return str(self.tokenizer.chat_template or "")

    @property
    def tokenizer_name(self) -> str:
        """The model's folder, with slashes that lm-eval can put into a file's name."""
        return str(self.folder).replace("/", "__")

    @cached_property
    def _engine(self) -> Engine[Any]:
        if self._open:
            self._generator.close()
            self._open = False
        self._unloaded.load(str(self.folder), seed=sub_seed(self._seed, "evaluate", "engine"))
        return self._unloaded

    def _scored(self, items: Sequence[Continuation]) -> list[Likelihood]:
        return likelihoods(self._engine, items, self._micro_tokens)

    def _continuation(self, context: str, continuation: str) -> Continuation:
        (item,) = encode_choices(self.tokenizer, context, [continuation], chat=context in self._rendered)
        surplus = 0 if self._window is None else max(0, len(item.token_ids) - self._window)
        if surplus >= item.n_context:
            raise DataError(f"a continuation of {len(item.token_ids) - item.n_context} tokens does not fit the context")
        return Continuation(item.token_ids[surplus:], item.n_context - surplus)

    def _request(self, place: int, context: str, options: dict[str, Any]) -> GenerationRequest:
        sampling = sampling_of(options, "lm-eval's request")
        ids = encode(self.tokenizer, context, chat=context in self._rendered)
        fitted, length = fit_prompt(ids, sampling.max_new_tokens, self._window)
        drawn = sampling.model_copy(update={"max_new_tokens": length})
        return GenerationRequest(str(place), tuple(fitted), drawn, sub_seed(self._seed, "lm-eval", place, context))

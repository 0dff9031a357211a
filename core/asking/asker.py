"""Asking a model: prompts in, replies out, with a cache, retries, a budget and prices.

The same question gets the same reply: greedy decoding by default, else a seed made of the setting, the case and the
prompt; and a reply once given is kept, on disk too where there is a store. What cannot be asked (too long, no budget
left, time-out) is a verdict. Threads take turns. A copy (out of pickle) has a budget and a cache of its own.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from aftertrain.core.asking.exchange import Answer, Question, Spent
from aftertrain.core.asking.prompting import Prompting, clean
from aftertrain.core.asking.settings import AskingSettings, Prices
from aftertrain.core.asking.transcript import add_lines, line
from aftertrain.core.completions.keeping import Keeping, shared_store
from aftertrain.core.completions.store import CompletionStore, StoreDamaged, StoreUnusable
from aftertrain.core.errors import AftertrainError, ModelError
from aftertrain.core.generator import GenerationRequest, Sampling
from aftertrain.core.ground.endpoint import is_endpoint
from aftertrain.core.learning.seeding import sub_seed
from aftertrain.core.records import Completion, Verdict
from aftertrain.core.run.base_model import find_model, model_digest
from aftertrain.core.settings import Builder

KEPT = 65_536
"""Replies kept; the oldest is dropped, and asked for again when its question comes back."""

ONE_TOKEN = Sampling(max_new_tokens=1, temperature=1.0)
"""Where the likeliest tokens are wanted and not what is drawn: at temperature 1, at which no server changes them."""

_Key = tuple[Question, int]


class Asker:
    """A model, loaded when it is first asked."""

    def __init__(
        self, settings: AskingSettings, builder: Builder, *, needs_template: bool, begins_reply: bool = False
    ) -> None:
        self.settings, self.spent = settings, Spent()
        self._calls = self._tokens = 0  # counted towards the budget
        self._builder, self._needs_template, self._begins_reply = builder, needs_template, begins_reply
        self._prompting: Prompting | None = None
        self._keeping: Keeping | None = None
        self._store: CompletionStore | None = None
        self._kept: OrderedDict[_Key, Completion] = OrderedDict()
        self._lock = threading.RLock()

    @property
    def prompting(self) -> Prompting:
        """The model's tokenizer and limits, loaded once.

        Raises:
            ModelError: see `Prompting`.
        """
        with self._lock:
            if self._prompting is None:
                self._prompting = Prompting(
                    self.settings,
                    self._builder.build(self.settings.generator),
                    needs_template=self._needs_template,
                    begins_reply=self._begins_reply,
                )
            return self._prompting

    @property
    def cost(self) -> float:
        """So far: by `prices`, else by those of the generator."""
        if self.settings.prices != Prices():
            return self.spent.cost
        return 0.0 if self._keeping is None else self._keeping.generator.cost

    def preflight(self) -> None:
        """Find model folder, tokenizer and transcript, without loading weights.

        Raises:
            ModelError: the model cannot be used. RunError: the transcript cannot be written.
        """
        assert self.prompting.limit > 0
        if self.settings.transcript is not None:
            add_lines(self.settings.transcript, [])

    def ask(
        self, asked: Sequence[Question | Verdict], read: Callable[[str], str | None], *, likeliest: int = 0
    ) -> list[Answer | Verdict]:
        """An answer to each question, or the verdict on a case that was not, or could not be, asked about.

        Args:
            read: what is looked for in a reply; None has it asked again, up to `retries` times.
            likeliest: 0, or how many of the likeliest first tokens are asked for, in place of a reply: one token is
                drawn, once, at temperature 1, as AlpacaEval does.

        Raises:
            ModelError: the model cannot be loaded.
        """
        with self._lock:
            answers: list[Answer | Verdict] = [entry if isinstance(entry, Verdict) else Answer() for entry in asked]
            for attempt in range(1 if likeliest else self.settings.retries + 1):
                unanswered = [
                    (place, question, answer)
                    for place, (question, answer) in enumerate(zip(asked, answers, strict=True))
                    if isinstance(question, Question) and isinstance(answer, Answer) and answer.usable is None
                ]
                replies = self._replies([question for _, question, _ in unanswered], attempt, likeliest)
                for (place, _, before), reply in zip(unanswered, replies, strict=True):
                    if isinstance(reply, Verdict):
                        answers[place] = reply
                    else:
                        spent = before.spent.with_reply(reply, self.settings.prices)
                        answers[place] = Answer(reply.text, read(reply.text), spent, reply.likeliest)
            return answers

    def record(
        self, asked: Sequence[Question | Verdict], answers: Sequence[Answer | Verdict], verdicts: Sequence[Verdict]
    ) -> None:
        """Add what was asked, said and judged to the transcript, if one is kept; what was never asked is left out."""
        if self.settings.transcript is None:
            return
        lines = [
            line(question, answer if isinstance(answer, Answer) else Answer(), verdict)
            for question, answer, verdict in zip(asked, answers, verdicts, strict=True)
            if isinstance(question, Question)
        ]
        with self._lock:
            add_lines(self.settings.transcript, lines)

    def close(self) -> None:
        """Free the model and the store's file; the next question opens them again."""
        with self._lock:
            if self._keeping is not None:
                self._keeping.close()
            if self._store is not None:
                self._store.close()
            self._keeping = self._store = None

    def _replies(self, questions: Sequence[Question], attempt: int, likeliest: int) -> list[Completion | Verdict]:
        """Replies kept from before, and new ones for the others: each distinct question is asked once.

        What a model in this process says is rounded by what is asked beside it. Its call of which a reply is missing is
        asked whole, so that the new replies do not depend on which were there; those that were there stay.
        """
        sampling = ONE_TOKEN if likeliest else self._sampling(attempt)
        keys = [self._key(question, attempt, sampling) for question in questions]
        by_key: dict[_Key, Completion | Verdict] = {}
        requests: dict[_Key, GenerationRequest] = {}
        for place, key in enumerate(dict.fromkeys(keys)):
            request = self._request(str(place), *key, sampling, likeliest)
            if isinstance(request, Verdict):
                by_key[key] = request
            else:
                requests[key] = request
        kept = self._recalled(requests)
        missing = requests.keys() - kept.keys()
        asks = any(self._over_budget(0, _longest(requests[key])) is None for key in missing)
        again = kept.keys() if asks and not self.prompting.remote else set[_Key]()
        asked: dict[str, _Key] = {}
        waiting = reserved = 0
        for key, request in requests.items():
            if key in again:
                if self._submitted(request) is None:
                    asked[request.id] = key
            elif key in missing:
                refused = self._over_budget(waiting, reserved + _longest(request)) or self._submitted(request)
                if refused is not None:
                    by_key[key] = refused
                    continue
                asked[request.id] = key
                waiting += 1
                reserved += _longest(request)
        self.spent = replace(self.spent, from_cache=self.spent.from_cache + len(kept.keys() - again))
        by_key |= self._collected(asked, kept)
        by_key |= kept
        return [by_key[key] for key in keys]

    def _recalled(self, requests: Mapping[_Key, GenerationRequest]) -> dict[_Key, Completion]:
        """Replies kept in memory, and from the store what that lacks: of a model in this process all of it or none."""
        kept = {key: self._kept[key] for key in requests if key in self._kept}
        for key in kept:
            self._kept.move_to_end(key)
        lacking = {key: request for key, request in requests.items() if key not in kept}
        if lacking:
            found = self._opened().recalled(list(lacking.values()), whole=not self.prompting.remote)
            for key, request in lacking.items():
                if reply := found.get(request.id):
                    kept[key] = reply
                    self._keep(key, reply)
                    self._count(reply)
        return kept

    def _opened(self) -> Keeping:
        """The generator, opened when a reply is first missing, and where its replies are kept."""
        if self._keeping is None:
            if self.settings.store is not None:
                self._store = CompletionStore(Path(self.settings.store))
            use = self.settings.generator
            self._keeping = Keeping(
                use, self._builder.build(use), self._model, shared_store() if self._store is None else self._store
            )
        return self._keeping

    def content(self) -> str:
        """Digest of the model's files; "" for an endpoint, and where they are not here, which `preflight` tells."""
        if is_endpoint(self.settings.model):
            return ""
        try:
            return model_digest(find_model(self.settings.model, Path.cwd()))
        except ModelError:
            return ""

    def _model(self) -> str:
        """Folder, weights included, or address."""
        named = self.settings.model
        return named if is_endpoint(named) else str(find_model(named, Path.cwd()))

    def _request(
        self, id_: str, question: Question, seed: int, sampling: Sampling, likeliest: int
    ) -> GenerationRequest | Verdict:
        """What is sent, in the form that the generator takes."""
        ids = self.prompting.encoded(question.text, add_special=question.add_special)
        if isinstance(ids, Verdict):
            return ids
        return GenerationRequest(id_, ids, sampling, seed, question.messages, question.text, likeliest)

    def _submitted(self, request: GenerationRequest) -> Verdict | None:
        """Hand the request to the generator, alone: one that it refuses is an error of its case and no other."""
        keeping = self._opened()
        keeping.open()
        try:
            keeping.submit([request])
        except AftertrainError as error:
            return Verdict.error(f"the model cannot be asked: {error}")
        return None

    def _collected(
        self, requests: Mapping[str, _Key], kept: Mapping[_Key, Completion]
    ) -> dict[_Key, Completion | Verdict]:
        """Wait for all; what is not there when the generator fails or says nothing for too long is a verdict.

        What was kept and is asked again is paid, and counts no second time towards the budget.

        Raises:
            StoreUnusable, StoreDamaged: replies cannot be kept, which is no model's fault: a disk is full.
        """
        replies: dict[_Key, Completion | Verdict] = {}
        failure: Verdict | None = None
        while failure is None and len(replies) < len(requests):
            try:
                completions = self._opened().collect(self.settings.timeout)
            except TimeoutError:
                failure = Verdict.timeout(f"the model finished no reply in {self.settings.timeout:g} s")
            except (StoreUnusable, StoreDamaged):
                raise
            except AftertrainError as error:
                failure = Verdict.error(f"the model failed: {error}")
            else:
                failure = None if completions else Verdict.error("the generator lost the request")
                for completion in completions:
                    key = requests[completion.id]
                    self.spent = self.spent.with_reply(completion, self.settings.prices)
                    if key in kept:
                        replies[key] = kept[key]
                        continue
                    self._count(completion)
                    if completion.finish_reason == "refused":
                        replies[key] = Verdict.error(f"the server refused: {completion.why}")
                        continue
                    replies[key] = completion
                    self._keep(key, completion)
        if failure is not None:
            self._opened().cancel()
            replies |= {key: failure for key in requests.values() if key not in replies}
        return replies

    def _count(self, reply: Completion) -> None:
        """Towards the budget, paid now or found in the store: a resumed run ends its budget where another would."""
        self._calls += 1
        self._tokens += len(reply.prompt_ids) + len(reply.token_ids)

    def _keep(self, key: _Key, reply: Completion) -> None:
        self._kept[key] = reply
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    def _over_budget(self, waiting: int, tokens: int) -> Verdict | None:
        """An error where one more call could pass a limit, calls that are on their way counted at their longest."""
        budget = self.settings.budget
        if budget.calls is not None and self._calls + waiting >= budget.calls:
            return Verdict.error(f"budget spent: {budget.calls} calls")
        tokens += self._tokens
        if budget.tokens is not None and tokens > budget.tokens:
            return Verdict.error(
                f"budget spent: {budget.tokens} tokens would be {tokens} with this call at its longest"
            )
        return None

    def _sampling(self, attempt: int) -> Sampling:
        sampling = self.settings.sampling
        if attempt == 0 or sampling.temperature > 0:
            return sampling
        return sampling.model_copy(update={"temperature": self.settings.retry_temperature})

    def _key(self, question: Question, attempt: int, sampling: Sampling) -> _Key:
        """Text, special tokens and seed: of the case where the reply is drawn, else of the prompt alone."""
        drawn = sampling.temperature > 0 and sampling is not ONE_TOKEN
        name = clean(question.case_id) if drawn else ""
        seed = sub_seed(self.settings.seed, "ask", attempt, name, question.text)
        return replace(question, case_id=""), seed


def _longest(request: GenerationRequest) -> int:
    """Most tokens that prompt and reply can have.

    No tokenizer makes more tokens than bytes: what goes out as a text is counted at its longest.
    """
    return (len(request.prompt_ids) or len((request.text or "").encode())) + request.sampling.max_new_tokens

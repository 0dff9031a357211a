"""The generator `vllm`: a server of ours in an environment that has vLLM, token ids in and token ids out (F42).

Replies are drawn by vLLM from each request's seed; what ends them, what their text is and whether they are what was
asked for is decided here, as by the generator `transformers`. Weights are replaced in place over the server's line,
without a file and without a restart, while replies are under way too: these go on with the new ones, their prompts and
beginnings computed anew, and each token says whose it is.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from aftertrain.core.errors import ModelError
from aftertrain.core.generator import GenerationRequest, Generator
from aftertrain.core.ground.model_folder import check_weights, read_config
from aftertrain.core.records import Completion
from aftertrain.core.settings import Builder
from aftertrain.core.text.stopping import folder_stop_ids
from aftertrain.core.text.tokenizer_files import read_tokenizer
from aftertrain.plugins.vllm_generator.environment import find
from aftertrain.plugins.vllm_generator.replies import Replies
from aftertrain.plugins.vllm_generator.server import Server
from aftertrain.plugins.vllm_generator.settings import VllmSettings
from aftertrain.plugins.vllm_generator.weights import Expected, described, raw

if TYPE_CHECKING:
    from torch import Tensor

VARIABLES = {
    # The engine stays in the server's own process, so that its steps and what it is handed are ours.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
}
RENEWED = ("heads", "cache")
"""What the server makes anew once weights are replaced: tied heads that a CPU keeps a copy of, and the prefix cache."""


class Opened:
    """A server with a model, and what is known of both.

    Raises:
        ModelError: the folder's tokenizer or weights cannot be read, or nothing ends a reply.
        RunError: the server did not come up; says with what last words.
    """

    def __init__(self, settings: VllmSettings, model: str, version: int) -> None:
        place = find(settings.python)
        check_weights(Path(model), needed=True)
        tokenizer = read_tokenizer(model)
        end_ids = folder_stop_ids(model, tokenizer)
        if not end_ids:
            raise ModelError(f"{model}: neither tokenizer nor generation_config.json names an end-of-sequence token")
        self.expected = Expected(model)
        # Said here as well: whatever its engine is told, vLLM's sampler would be compiled, for seconds, by a compiler.
        compiles = {} if settings.compile else {"TORCHDYNAMO_DISABLE": "1"}
        variables = {**VARIABLES, "OMP_NUM_THREADS": str(torch.get_num_threads()), **compiles}
        own = settings.python is None
        self.server = Server(place, own=own, variables=variables, patience=settings.patience)
        try:
            self.server.expect("hello", settings.start_timeout, "its start")
            self.server.tell({"do": "open", "model": model, "version": version, "options": _options(settings)})
            facts = self.server.expect("ready", settings.start_timeout, f"the model {model}, loaded")
            self.context, self.vocabulary = int(facts["context"]), int(facts["vocabulary"])
        except BaseException:
            self.server.close()
            raise
        self.replies = Replies(tokenizer, end_ids, self.vocabulary, self.server.fail)
        self.finished: list[Completion] = []
        self.arrived: dict[str, int] | None = None

    @property
    def in_flight(self) -> set[str]:
        """Ids of requests that were submitted and neither collected nor cancelled."""
        return {*self.replies.names, *(completion.id for completion in self.finished)}

    def hear(self, waited_for: str, timeout: float | None = None) -> bool:
        """Take the next message: tokens, or the word that an update is done, which is told by true."""
        message = self.server.hear(waited_for, timeout)
        if message.get("said") == "updated":
            sums = message.get("checksums")
            if not isinstance(sums, dict) or not all(isinstance(value, int) for value in sums.values()):
                raise self.server.fail(f"said {sums!r:.100} where checksums of weights were to come")
            self.arrived = sums
            return True
        told = message.get("replies")
        if message.get("said") != "tokens" or not isinstance(told, list):
            raise self.server.fail(f"said {message!r:.100} where replies were to come")
        finished, cancelled = self.replies.take(told)
        self.finished += finished
        if cancelled:
            self.server.tell({"do": "cancel", "ids": cancelled})
        return False


class Vllm(Generator[VllmSettings]):
    """Continuous batching in vLLM; each reply from its own seed."""

    Config = VllmSettings

    def __init__(self, settings: VllmSettings, builder: Builder) -> None:
        super().__init__(settings, builder)
        self._open: Opened | None = None

    @property
    def context_size(self) -> int | None:
        """Of the opened model, as vLLM runs it (`context`)."""
        return None if self._open is None else self._open.context

    def preflight(self, model: str) -> None:
        """See that the model is no endpoint, and that vLLM of a tested version is where the settings say.

        Raises:
            ModelError: an endpoint. RunError, MissingExtra: no vLLM there, or another version; says what to install.
        """
        super().preflight(model)
        find(self.settings.python)

    def open(self, model: str, version: int = 0) -> None:
        """Start a server and load the model there.

        Raises:
            ModelError: the folder has no readable model, tokenizer or end-of-sequence token.
            RunError: there is no vLLM of a tested version, or the server did not come up in `start_timeout`.
        """
        self.close()
        read_config(model)
        self._open = Opened(self.settings, str(Path(model).resolve()), version)

    def submit(self, requests: Sequence[GenerationRequest]) -> None:
        """Send requests; the server begins at once. A reply is cut ('length') where the model's context ends.

        Raises:
            ValueError: an id is in flight already, or a prompt is empty.
            ModelError: a prompt fills the model's context, or has a token that the model does not know.
            RunError: the server has failed.
        """
        opened = self._opened()
        in_flight = opened.in_flight
        for request in requests:
            size = len(request.prompt_ids)
            if request.id in in_flight or size == 0:
                raise ValueError(f"request {request.id!r} {'has no prompt' if size == 0 else 'is in flight already'}")
            in_flight.add(request.id)
            if size >= opened.context:
                raise ModelError(
                    f"request {request.id!r}: a prompt of {size} tokens fills the context of {opened.context}"
                )
            if (highest := max(request.prompt_ids)) >= opened.vocabulary or min(request.prompt_ids) < 0:
                raise ModelError(
                    f"request {request.id!r}: a prompt with token {highest}, the model knows {opened.vocabulary}"
                )
        limits = [min(r.sampling.max_new_tokens, opened.context - len(r.prompt_ids)) for r in requests]
        told = [opened.replies.add(request, limit) for request, limit in zip(requests, limits, strict=True)]
        opened.server.tell({"do": "submit", "requests": told})

    def collect(self, timeout: float | None = None) -> list[Completion]:
        """Replies as they are finished.

        Raises:
            TimeoutError: none was within `timeout` seconds; they go on.
            RunError: the server died, hangs (`patience`), or said what was not asked for; it is ended.
            NumericsError: a log-probability is not finite.
        """
        opened = self._opened()
        deadline = None if timeout is None else time.monotonic() + timeout
        while opened.replies.names and not opened.finished:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            opened.hear(f"a reply ({len(opened.replies.names)} under way)", left)
        finished, opened.finished = opened.finished, []
        return finished

    def cancel(self, ids: Iterable[str] | None = None) -> None:
        """Drop requests, under way or finished; the server stops making them."""
        opened = self._opened()
        dropped = opened.in_flight if ids is None else set(ids)
        opened.finished = [completion for completion in opened.finished if completion.id not in dropped]
        if numbers := opened.replies.drop(dropped):
            opened.server.tell({"do": "cancel", "ids": numbers})

    def update_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Replace weights in place, by name, in any order; a tied head may be given or left out.

        All are checked before the first is sent, so that a wrong update leaves the server as it was. Replies under way
        go on with the new weights: what the old ones computed of them is computed anew.

        Raises:
            ModelError: a name is unknown or given twice, a shape differs, or a weight is missing.
            RunError: the server failed at it.
        """
        opened = self._opened()
        dtype = self.settings.dtype
        checked = opened.expected.checked(weights)
        opened.server.tell({"do": "update", "version": version, "weights": described(checked, dtype), "renew": RENEWED})
        for name, data in raw(checked, dtype):
            opened.server.tell({"weight": name}, data)
        while not opened.hear(f"the weights of version {version}, replaced,"):
            pass

    def checksums(self) -> Mapping[str, tuple[str, int]] | None:
        """Of the last update's weights, as the server received them; None before the first."""
        sums = self._opened().arrived
        return None if sums is None else {name: (self.settings.dtype, value) for name, value in sums.items()}

    def close(self) -> None:
        """End the server; requests in flight are dropped."""
        if self._open is not None:
            self._open.server.close()
        self._open = None

    @property
    def in_flight(self) -> set[str]:
        """Ids of requests that were submitted and neither collected nor cancelled."""
        return self._opened().in_flight

    def wait(self, timeout: float) -> None:
        """Take the server's next word on replies.

        Raises:
            TimeoutError: it said none within `timeout` seconds. RunError: the server failed.
        """
        self._opened().hear("a word on replies", timeout)

    def replies_so_far(self) -> dict[str, tuple[int, ...]]:
        """Token ids of replies under way, as far as they were told: of those that may end by a stop string."""
        return self._opened().replies.so_far

    @property
    def server_process(self) -> int:
        """Number of the server's process, which leads a group of its own."""
        return self._opened().server.process_id

    def _opened(self) -> Opened:
        if self._open is None:
            raise RuntimeError("open the generator before using it")
        self._open.server.check()
        return self._open


def _options(settings: VllmSettings) -> dict[str, Any]:
    """Arguments of vLLM's engine."""
    return {
        "dtype": settings.dtype,
        "max_num_seqs": settings.batch,
        "max_num_batched_tokens": settings.step_tokens,
        "max_model_len": settings.context,
        "kv_cache_memory_bytes": int(settings.cache_gib * 2**30),
        "enable_prefix_caching": settings.prefix_cache,
        "enforce_eager": not settings.compile,
    }

"""A package that has what the server asks of vLLM, with its traps: a stand-in that starts at once.

`FAKE_MODEL=toy` computes nothing: token i of a reply follows from its prompt, its seed and the weights' version.
`FAKE_MODEL=torch` runs the folder by transformers, keeps what it computed of each prefix, and copies of heads as vLLM
does on a CPU. `FAKE_FAULT` names what goes wrong.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from vllm import sampling_params

__version__ = "0.32.0"
FAULT = os.environ.get("FAKE_FAULT", "")
VOCABULARY, CONTEXT = 320, 64

if FAULT == "import":
    raise ImportError("libcuda.so.1: cannot open shared object file")


@dataclass
class SamplingParams:
    temperature: float
    top_p: float
    max_tokens: int
    seed: int
    stop_token_ids: list[int]
    ignore_eos: bool
    detokenize: bool
    logprobs: int
    output_kind: Any


class EngineArgs:
    def __init__(self, **arguments: Any) -> None:
        self.arguments = arguments


@dataclass
class Request:
    prompt: tuple[int, ...]
    sampling: SamplingParams
    ids: list[int] = field(default_factory=list)


class LLMEngine:
    """Each step makes a token of each request."""

    @classmethod
    def from_engine_args(cls, arguments: EngineArgs) -> LLMEngine:
        print(f"loading with {sorted(arguments.arguments)}")
        if FAULT == "load":
            raise ValueError("To serve at least one request with the model's max seq len (64), more is needed")
        if FAULT == "slow load":
            time.sleep(600)
        return cls(arguments.arguments)

    def __init__(self, arguments: dict[str, Any]) -> None:
        assert arguments["logprobs_mode"] == "processed_logprobs"
        assert arguments["skip_tokenizer_init"]
        self.model = Network(arguments["model"]) if os.environ["FAKE_MODEL"] == "torch" else Toy()
        context = arguments["max_model_len"] or self.model.context
        facts = SimpleNamespace(max_model_len=context, get_vocab_size=lambda: self.model.vocabulary)
        self.vllm_config = SimpleNamespace(model_config=facts)
        self.requests: dict[str, Request] = {}
        self.steps = 0

    def add_request(self, name: str, prompt: dict[str, list[int]], sampling: SamplingParams) -> None:
        assert sampling.ignore_eos
        assert not sampling.detokenize
        assert sampling.output_kind is sampling_params.RequestOutputKind.DELTA
        self.requests[name] = Request(tuple(prompt["prompt_token_ids"]), sampling)

    def abort_request(self, names: list[str]) -> None:
        for name in names:
            self.requests.pop(name, None)

    def step(self) -> list[SimpleNamespace]:
        self.steps += 1
        if self.steps == 3:
            trouble()
        return [] if FAULT == "idle" else [self.grow(name) for name in list(self.requests)]

    def grow(self, name: str) -> SimpleNamespace:
        request = self.requests[name]
        token, logprob = self.model.next(request)
        if FAULT == "nan":
            logprob = float("nan")
        if FAULT == "alien":
            token = VOCABULARY + 7
        request.ids.append(token)
        reason = None
        if token in request.sampling.stop_token_ids and FAULT != "goes on":
            reason = "stop"
        elif len(request.ids) == request.sampling.max_tokens - (FAULT == "short"):
            reason = "abort" if FAULT == "abort" else "length"
        if reason is not None:
            del self.requests[name]
        told = SimpleNamespace(token_ids=[token], logprobs=[{token: SimpleNamespace(logprob=logprob)}])
        told.finish_reason = reason
        return SimpleNamespace(request_id=name, finished=reason is not None, outputs=[told])

    def collective_rpc(self, method: str, kwargs: dict[str, Any]) -> None:
        assert method == "reload_weights"
        if FAULT.startswith("update "):
            trouble(FAULT.removeprefix("update "))
        self.model.load(kwargs["weights_iterator"])

    def apply_model(self, function: Callable[[Any], Any]) -> list[Any]:
        return [function(self.model.network)] if isinstance(self.model, Network) else [0]

    def reset_prefix_cache(self, *, reset_running_requests: bool) -> bool:
        assert reset_running_requests
        self.model.prefixes.clear()
        return FAULT != "remembers"


class Toy:
    """Tokens 100 to 199, log-probability -1; never an end token unless it is to go on after one."""

    context, vocabulary = CONTEXT, VOCABULARY

    def __init__(self) -> None:
        self.version = 0
        self.prefixes: dict[Any, Any] = {}

    def next(self, request: Request) -> tuple[int, float]:
        if FAULT == "goes on" and len(request.ids) == 1:
            return request.sampling.stop_token_ids[0], -1.0
        number = sum(request.prompt) + 7 * request.sampling.seed + 31 * len(request.ids) + 13 * self.version
        return 100 + number % 100, -1.0

    def load(self, weights: Iterator[tuple[str, Any]]) -> None:
        self.version += sum(1 for _ in weights)


class Network:
    """The folder by transformers, every token by a whole forward; draws as `transformers` does, from the same seed."""

    def __init__(self, folder: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm

        self.torch = torch
        self.network: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.context, self.vocabulary = self.network.config.max_position_embeddings, self.network.config.vocab_size
        self.prefixes: dict[tuple[int, ...], Any] = {}
        self.network.lm_head.num_embeddings_padded = self.vocabulary
        dispatch_cpu_unquantized_gemm(self.network.lm_head, remove_weight=False)

    def next(self, request: Request) -> tuple[int, float]:
        torch, sampling = self.torch, request.sampling
        ids = (*request.prompt, *request.ids)
        if ids not in self.prefixes:
            with torch.no_grad():
                hidden = self.network.model(torch.tensor([ids])).last_hidden_state[0, -1]
                self.prefixes[ids] = self.network.lm_head.cpu_linear(hidden)
        logits = self.prefixes[ids]
        table = torch.log_softmax(logits / (sampling.temperature or 1.0), -1)
        if sampling.temperature == 0:
            token = int(logits.argmax())
        else:
            draw = torch.Generator().manual_seed((sampling.seed + 4096 * len(request.ids)) % 2**63)
            token = int(torch.multinomial(table.exp(), 1, generator=draw))
        return token, float(table[token])

    def load(self, weights: Iterator[tuple[str, Any]]) -> None:
        own = dict(self.network.named_parameters())
        with self.torch.no_grad():
            for name, weight in weights:
                own[name].copy_(weight)


def trouble(fault: str = FAULT) -> None:
    if fault == "dies":
        os._exit(3)
    elif fault == "is killed":
        os.kill(os.getpid(), 9)
    elif fault == "raises":
        raise RuntimeError("the cache is full")
    elif fault == "hangs":
        time.sleep(600)
    elif fault == "garbage":
        import sys

        os.write(int(sys.argv[1]), b"INFO 12-01 02:36:53 [model.py:733] Resolved architecture\n" * 9)
    elif fault == "prints":
        print("x" * 1_000_000, flush=True)

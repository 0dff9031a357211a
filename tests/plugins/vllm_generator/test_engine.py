"""What every generator promises, and what a server adds to it, over the stand-in and over vLLM itself (F42).

One server serves all of it: a model that a promise opens becomes an update of weights. vLLM is run where
AFTERTRAIN_VLLM_PYTHON names an interpreter that has it; `bash .ci/vllm DIR` makes one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from aftertrain.core.generator import GenerationRequest, Sampling
from aftertrain.core.records import Completion
from aftertrain.plugins.vllm_generator import generator
from aftertrain.plugins.vllm_generator.generator import Vllm
from aftertrain.plugins.vllm_generator.settings import VllmSettings
from aftertrain.testing import generator as promises
from aftertrain.testing.promise import promises_in

pytestmark = pytest.mark.slow
PATIENCE = 120.0
SHOTS = tuple(5 + i % 80 for i in range(300))
"""A beginning of prompts, longer than a block of vLLM's cache (128 tokens on a CPU)."""


def network(folder: str) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, make_model: Callable[..., str]) -> list[str]:
    """Two models of one shape."""
    return [make_model(tmp_path_factory.mktemp("models") / str(seed), seed=seed) for seed in range(2)]


@pytest.fixture(scope="module")
def served(engine_python: str, folders: list[str]) -> Iterator[Vllm]:
    """A server of either."""
    settings = VllmSettings(python=engine_python, cache_gib=0.25, step_tokens=1024)
    opened = Vllm(settings, builder=None)  # type: ignore[arg-type]  # it builds nothing
    opened.preflight(folders[0])
    opened.open(folders[0])
    yield opened
    opened.close()


class Reopened:
    """The one server as a new generator: opening a folder replaces the weights."""

    def __init__(self, generator: Vllm) -> None:
        self._generator = generator

    def open(self, folder: str, version: int = 0) -> None:
        self._generator.update_weights(network(folder).named_parameters(), version)

    def close(self) -> None:
        self._generator.cancel()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generator, name)


@pytest.mark.parametrize("promise", promises_in(promises), ids=lambda promise: promise.__name__)
def test_promise(
    served: Vllm,
    promise: Callable[[Any], None],
    make_model: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(promises, "tiny_model", make_model)
    promise(SimpleNamespace(component=lambda: Reopened(served), folder=tmp_path))


def requests(n: int = 4, length: int = 6, **sampling: Any) -> list[GenerationRequest]:
    drawn = Sampling(max_new_tokens=length, **sampling)
    return [GenerationRequest(f"r{i}", (*SHOTS, 5 + i, 9), drawn, 70 + i) for i in range(n)]


def differences(replies: list[Completion], judge: Any, since: int = 0) -> Tensor:
    """How far log-probabilities of tokens of versions from `since` on are from those of one forward."""
    apart = []
    for reply in replies:
        ids = torch.tensor([reply.prompt_ids + reply.token_ids])
        with torch.no_grad():
            table = torch.log_softmax(judge(ids).logits[0, :-1], -1)
        theirs = table.gather(1, ids[0, 1:, None]).squeeze(1)[len(reply.prompt_ids) - 1 :]
        new = torch.tensor(reply.versions) >= since
        apart.append((theirs - torch.tensor(reply.logprobs))[new].abs())
    return torch.cat(apart)


def test_new_weights_leave_nothing_of_the_old(
    served: Vllm, folders: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Log-probabilities are the new model's at prompts that were asked before. With the cache kept they are not."""
    old, new = map(network, folders)
    served.update_weights(old.named_parameters(), 1)
    before = served.generate(requests(), PATIENCE)
    assert differences(before, old).max() < 1e-3
    assert differences(before, new).mean() > 0.1
    served.update_weights(new.named_parameters(), 2)
    after = served.generate(requests(), PATIENCE)
    assert {version for reply in after for version in reply.versions} == {2}
    assert differences(after, new).max() < 1e-3

    with monkeypatch.context() as patch:
        patch.setattr(generator, "RENEWED", ("heads",))
        served.update_weights(old.named_parameters(), 3)
        assert differences(served.generate(requests(), PATIENCE), old).max() > 0.05
    served.update_weights(old.named_parameters(), 4)
    assert differences(served.generate(requests(), PATIENCE), old).max() < 1e-3


def test_a_head_that_is_not_made_anew_is_found(
    served: Vllm, folders: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM's own reload leaves a tied head on a CPU as it was: what is refreshed is needed."""
    old, new = map(network, folders)
    served.update_weights(new.named_parameters(), 5)
    with monkeypatch.context() as patch:
        patch.setattr(generator, "RENEWED", ("cache",))
        served.update_weights(old.named_parameters(), 6)
    assert differences(served.generate(requests(), PATIENCE), old).mean() > 0.05
    served.update_weights(old.named_parameters(), 7)
    assert differences(served.generate(requests(), PATIENCE), old).max() < 1e-3


def test_replies_under_way_go_on_with_new_weights(served: Vllm, folders: list[str]) -> None:
    """Each token says whose it is, and its log-probability is that model's, given all tokens before it."""
    old, new = map(network, folders)
    served.update_weights(old.named_parameters(), 8)
    served.submit(requests(8, length=200, stop=("none of its tokens",)))
    while not any(served.replies_so_far().values()):
        served.wait(PATIENCE)
    served.update_weights(new.named_parameters(), 9)
    replies = []
    while served.in_flight:
        replies += served.collect(PATIENCE)
    both = [reply for reply in replies if set(reply.versions) == {8, 9}]
    assert both, "no reply was under way: the test shows nothing"
    assert all(list(reply.versions) == sorted(reply.versions) for reply in both)
    assert differences(both, new, since=9).max() < 1e-3
    assert differences(both, new).max() > 0.05, "the first tokens are the new model's too"


def test_replies_are_those_of_transformers(served: Vllm, folders: list[str]) -> None:
    """Greedy replies are equal token by token, what ends them too, but for logits that are equal to rounding."""
    from aftertrain.plugins.generation.settings import TransformersSettings
    from aftertrain.plugins.generation.transformers import Transformers

    served.update_weights(network(folders[0]).named_parameters(), 0)
    asked = requests(6, length=40, temperature=0.0, stop=("e", "a b"))
    ours = Transformers(TransformersSettings(device="cpu"), builder=None)  # type: ignore[arg-type]
    ours.open(folders[0])
    for theirs, mine in zip(served.generate(asked, PATIENCE), ours.generate(asked), strict=True):
        assert theirs.token_ids == mine.token_ids
        assert (theirs.text, theirs.finish_reason) == (mine.text, mine.finish_reason)
        assert theirs.logprobs == pytest.approx(mine.logprobs, abs=1e-3)
    ours.close()

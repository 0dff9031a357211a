"""A generator that breaks its word in mid-run: named, nothing learnt of it, and the run goes on to the same bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aftertrain.cli import main
from aftertrain.core.completions.delivered import deliver
from aftertrain.core.errors import NumericsError, RunError
from aftertrain.core.generator import GenerationRequest, Sampling
from aftertrain.core.records import Completion

RECIPE = """
name: faulty
model: {model}
threads: 1
stages:
  rl:
    use: online
    advantages: group
    data: {{use: quickstart, split: problems, rows: 8}}
    rewards: [{{use: gsm8k, extract: flexible}}]
    verification: {{workers: 1}}
    reward: {{on_unparsable: -1.0}}
    kl: {{beta: 0.0}}
    generator: {{use: "./faulty.py:Faulty"}}
    sampling: {{max_new_tokens: 8}}
    batch: {{prompts: 4, samples_per_prompt: 2}}
    steps: 3
    checkpoint_every: 1
    timeout: 0.5
    optimizer: {{lr: 1.0e-3}}
"""
FAULTY = '''"""The generator `transformers`, until the third step."""

import os
import time
from dataclasses import replace

from aftertrain.core.completions import delivered
from aftertrain.plugins.generation.settings import TransformersSettings
from aftertrain.plugins.generation.transformers import Transformers

CHANGES = {
    "nan": lambda reply: {"logprobs": (float("nan"), *reply.logprobs[1:])},
    "above": lambda reply: {"logprobs": (0.5, *reply.logprobs[1:])},
    "short": lambda reply: {
        "finish_reason": "length", "token_ids": reply.token_ids[:1], "logprobs": reply.logprobs[:1],
        "versions": reply.versions[:1],
    },
    "long": lambda reply: {
        "token_ids": reply.token_ids * 9, "logprobs": reply.logprobs * 9, "versions": reply.versions * 9
    },
    "uneven": lambda reply: {"versions": reply.versions[1:]},
    "empty": lambda reply: {"token_ids": (), "logprobs": (), "versions": ()},
    "silent": lambda reply: {"logprobs": ()},
    "prompt": lambda reply: {"prompt_ids": reply.prompt_ids[1:]},
    "cancelled": lambda reply: {"finish_reason": "cancelled"},
    "old": lambda reply: {"versions": (0,) * len(reply.versions)},
    "new": lambda reply: {"versions": (9,) * len(reply.versions)},
    "stranger": lambda reply: {"id": "nobody"},
    "lies": lambda reply: {"logprobs": tuple(value - 1.0 for value in reply.logprobs)},
}


class Faulty(Transformers):
    Config = TransformersSettings

    def collect(self, timeout=None):
        fault = os.environ.get("FAULT", "") if self._version == 2 else ""
        if fault == "dies":
            raise ConnectionResetError("the engine is gone")
        if fault == "hangs":
            raise TimeoutError("8 replies unfinished")
        if fault == "sleeps":
            delivered.GRACE = 0.0  # read when the next wait begins
            if not self.__dict__.setdefault("slept", 0):
                self.slept = 1
                return super().collect(60.0)
            time.sleep(60)
        if fault == "loses":
            self.cancel()
            return []
        done = super().collect(60.0)
        if fault == "twice":
            return [*done, *done]
        return [replace(reply, **CHANGES[fault](reply)) if fault else reply for reply in done]
'''
FAULTS = {
    "dies": "ConnectionResetError: the engine is gone",
    "hangs": "the generator finished no reply in 0.5 s (8 replies unfinished)",
    "loses": "the generator './faulty.py:Faulty' lost the request '0'",
    "twice": "which was there already",
    "stranger": "gave a reply to request 'nobody', which nobody asked for",
    "nan": "broke its word on request '0': a log-probability of nan",
    "above": "a log-probability of 0.5, above 0",
    "short": "it was cut after 1 tokens of 8, and neither they nor the context were full",
    "long": "tokens of 8 that were asked for",
    "uneven": "versions",
    "empty": "no token, not even one that ends a reply",
    "silent": "tells no log-probabilities of replies, and the stage learns from them",
    "prompt": "its prompt is another one",
    "cancelled": "it ended as 'cancelled', which nobody asked for",
    "old": "with weights of version 0, and was given version 2 before (parity.staleness: 0)",
    "new": "with weights of version 9, and was given version 2 before which are not there yet",
    "lies": "disagree by 1 nats on average",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """With the recipe, and what an undisturbed run of it leaves."""
    folder = tmp_path_factory.mktemp("faulty")
    (folder / "recipe.yaml").write_text(RECIPE.format(model=tiny_model))
    (folder / "faulty.py").write_text(FAULTY)
    assert main(["run", str(folder / "recipe.yaml"), "--out", str(folder / "whole")]) == 0
    return folder


def outcome(runs: Path) -> dict[str, bytes]:
    (stage,) = runs.glob("faulty/stages/rl-*")
    kept = [*stage.glob("samples/*"), *stage.glob("rollouts/*"), stage / "model" / "model.safetensors"]
    return {path.name: path.read_bytes() for path in kept}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_word_is_named_and_costs_no_bit(
    folder: Path, tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Two steps are kept; with a generator that does as it should the same command ends as if nothing had been."""
    command = ["run", str(folder / "recipe.yaml"), "--out", str(tmp_path)]
    monkeypatch.setenv("FAULT", fault)
    try:
        assert main(command) == 1
    except ConnectionResetError as error:  # a stranger's own error keeps its traceback
        assert fault == "dies"
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    assert FAULTS[fault] in capfd.readouterr().err
    (checkpoints,) = tmp_path.glob("faulty/stages/rl-*/checkpoints")
    assert sorted(path.name[-1] for path in checkpoints.iterdir()) == ["1", "2"]
    assert not [*checkpoints.parent.glob("samples/step-00003*")]
    monkeypatch.delenv("FAULT")
    assert main(command) == 0
    assert outcome(tmp_path) == outcome(folder / "whole")


@pytest.mark.slow
def test_one_that_never_comes_back_ends_the_process_and_the_run_goes_on(folder: Path, tmp_path: Path) -> None:
    """No exception reaches a thread that sleeps: the watchdog names the wait and shows where it is stuck."""
    code = "import sys; from aftertrain.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "run", str(folder / "recipe.yaml"), "--out", str(tmp_path)]
    environment = {**os.environ, "FAULT": "sleeps", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
    assert done.returncode == 75, done.stderr
    assert "for the generator './faulty.py:Faulty' to come back from collect(): the deadline has passed" in done.stderr
    assert "faulty.py" in done.stderr
    events = [json.loads(line) for line in (tmp_path / "faulty" / "events.jsonl").read_text().splitlines()]
    assert "to come back from collect()" in events[-1]["data"]["error"]
    environment.pop("FAULT")
    assert subprocess.run(command, capture_output=True, env=environment, timeout=120, check=False).returncode == 0
    assert outcome(tmp_path) == outcome(folder / "whole")


class Given:
    """Gives what it is told to, at once."""

    context_size: int | None = None

    def __init__(self, *replies: Completion) -> None:
        self.replies = list(replies)

    def submit(self, requests: Any) -> None: ...

    def collect(self, timeout: float) -> list[Completion]:
        given, self.replies = self.replies, []
        return given


ASKED = GenerationRequest("a", (1, 2), Sampling(max_new_tokens=4), 0)
REPLY = Completion("a", (1, 2), (3, 4, 5, 6), (-1.0,) * 4, (0,) * 4, "length", "x")
Change = Callable[[Given], None]


def test_a_full_context_may_cut_a_reply() -> None:
    """The model's, or a smaller one of the generator's."""
    cut = replace(REPLY, token_ids=(3, 4), logprobs=(-1.0,) * 2, versions=(0,) * 2)
    with pytest.raises(RunError, match="cut after 2 tokens of 4"):
        deliver(Given(cut), "g", [ASKED], 1.0, context=5)  # type: ignore[arg-type]
    assert deliver(Given(cut), "g", [ASKED], 1.0, context=4) == [cut]  # type: ignore[arg-type]
    smaller = Given(cut)
    smaller.context_size = 4
    assert deliver(smaller, "g", [ASKED], 1.0, context=5) == [cut]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"logprobs": (-1.0, float("-inf"), -1.0, -1.0)}, NumericsError),
        ({"token_ids": (3, -1, 5, 6)}, RunError),
        ({"token_ids": (3, 4.0, 5, 6)}, RunError),
        ({"versions": (0, None, 0, 0)}, RunError),
        ({"finish_reason": "refused"}, RunError),
    ],
)
def test_what_is_no_reply_is_refused(changes: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match="broke its word on request 'a'"):
        deliver(Given(replace(REPLY, **changes)), "g", [ASKED], 1.0)  # type: ignore[arg-type]


def test_replies_come_in_the_order_of_the_requests() -> None:
    other = replace(ASKED, id="b")
    made = deliver(Given(replace(REPLY, id="b"), REPLY), "g", [ASKED, other], 1.0)  # type: ignore[arg-type]
    assert [reply.id for reply in made] == ["a", "b"]


@pytest.mark.parametrize("keeps", ["model.norm.weight", "nothing"])
def test_weights_that_did_not_arrive_stop_the_stage(bench: Any, keeps: str) -> None:
    """A generator with a copy of its own, one weight of which stays as it was; its replies would hardly tell."""
    from aftertrain.plugins.generation.settings import TransformersSettings
    from aftertrain.plugins.generation.transformers import Transformers

    class Forgetful(Transformers):
        def borrow(self, weights: Any) -> None: ...

        def update_weights(self, weights: Any, version: int) -> None:
            given = list(weights)
            assert self._weights is not None
            old = {name: tensor.clone() for name, tensor in self._weights._tensors.items() if name == keeps}
            super().update_weights([(name, old.get(name, weight)) for name, weight in given], version)

    run = bench(keeps, {"parity": None, "steps": 2})
    run.builder.table["generator", "transformers"] = (Forgetful, TransformersSettings)
    if keeps == "nothing":
        run.run()
        return
    with pytest.raises(RunError, match=r"weights than version 1 .* of 1 of \d+ differ, the first of 'model\.norm"):
        run.run()

"""A small builder with fake components, so that the stage is tested without other plugins."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.book import Book
from aftertrain.core.component import Component
from aftertrain.core.dataset import Dataset
from aftertrain.core.engine import Engine
from aftertrain.core.generator import GenerationRequest, Generator
from aftertrain.core.records import Artifact, Check, Completion, Message, Problem, Verdict, VerificationCase
from aftertrain.core.run.checkpoint import Checkpoints
from aftertrain.core.run.ledger import Ledger
from aftertrain.core.settings import Settings, Use
from aftertrain.core.stage import StageContext
from aftertrain.core.verifier import Verifier


class Sums(Dataset[Settings]):
    """`1 + 0 = ?` … with the sum as ground truth."""

    record_type = Problem
    rows = 12

    def __iter__(self) -> Iterator[Problem]:
        for i in range(self.rows):
            yield Problem(f"sum-{i}", (Message("user", f"{i} + 1 ="),), (Check("equal", str(i + 1)),), "sums")

    def fingerprint(self) -> str:
        return f"sums-{self.rows}"


class Equal(Verifier[Settings]):
    """The last number of the reply equals the ground truth."""

    isolated = False

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        return [self._one(case) for case in cases]

    def _one(self, case: VerificationCase) -> Verdict:
        numbers = re.findall(r"\d+", case.response)
        if not numbers:
            return Verdict.unparsable("no number")
        return Verdict.scored(float(numbers[-1] == case.ground_truth), numbers[-1], "last number")


@dataclass
class Replies:
    """What the fake generator did, and how often it may reply before it dies."""

    requests: list[GenerationRequest] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    closed: int = 0
    die_after: int | None = None
    skill: float = 0.5
    finish: str = "stop"


class FakeGenerator(Generator[Settings]):
    """Answers `i + 1 =` rightly as the request's seed decides (skill = chance to be right; greedy: even i)."""

    builder: Any

    def open(self, model: str, version: int = 0) -> None:
        from transformers import AutoTokenizer

        self.builder.replies.opened.append(model)
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self.queue: list[GenerationRequest] = []

    def submit(self, requests: Sequence[GenerationRequest]) -> None:
        self.queue += requests

    def collect(self, timeout: float | None = None) -> list[Completion]:
        log = self.builder.replies
        if log.die_after is not None and len(log.requests) + len(self.queue) > log.die_after:
            raise KeyboardInterrupt
        done = [self._reply(request) for request in self.queue]
        log.requests += self.queue
        self.queue = []
        return done[::-1]

    def _reply(self, request: GenerationRequest) -> Completion:
        log = self.builder.replies
        prompt = self.tokenizer.decode(request.prompt_ids)
        log.prompts.append(prompt)
        number = int(re.findall(r"(\d+) \+ 1", prompt)[-1])
        if request.sampling.temperature == 0:
            right = number % 2 == 0
        else:
            right = random.Random(request.seed).random() < log.skill
        text = f"It is {number + 1 if right else number}."
        return Completion(request.id, request.prompt_ids, (5, 2), (-0.5, -0.1), (0, 0), log.finish, text)

    def cancel(self, ids: Iterable[str] | None = None) -> None:
        self.queue = []

    def update_weights(self, weights: Any, version: int) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self.builder.replies.closed += 1


class ReferenceEngine(Engine[Settings]):
    """Scores each segment alone, with a plain transformers forward: the reference for packed engines."""

    def load(self, model: str, **options: Any) -> None:
        from transformers import AutoModelForCausalLM

        self.model = AutoModelForCausalLM.from_pretrained(model).eval()

    def score(self, batch: Any, wants: Any = ("logprobs",), *, temperature: float = 1.0, grad: bool = True) -> Any:
        import torch

        from aftertrain.core.batch import TokenScores

        logprobs, hits = [], []
        with torch.no_grad():
            for ids in batch.token_ids.split(list(batch.lengths)):
                logits = self.model(ids[None]).logits[0].float()
                picked = logits.log_softmax(-1)[:-1].gather(1, ids[1:, None])[:, 0]
                zero = picked.new_zeros(1)
                logprobs.append(torch.cat([zero, picked]))
                hits.append(torch.cat([zero, (logits[:-1].argmax(-1) == ids[1:]).float()]))
        return TokenScores(logprobs=torch.cat(logprobs), hits=torch.cat(hits))

    def _unused(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    backward = step = weights = save_model = save_state = load_state = _unused
    n_parameters = 0  # type: ignore[assignment]


class FakeBuilder:
    """Builds fakes by name; `add` replaces or adds one."""

    def __init__(self) -> None:
        self.replies = Replies()
        self.classes: dict[tuple[str, str], Callable[[Any, Any], Any]] = {
            ("dataset", "sums"): Sums,
            ("verifier", "equal"): Equal,
            ("generator", "fake"): FakeGenerator,
            ("engine", "reference"): ReferenceEngine,
        }

    def build(self, use: Use[Any]) -> Any:
        return self.classes[use.kind, use.name](use.settings, self)

    def use(self, cls: Callable[[Any, Any], Component[Any]], kind: str, name: str, settings: Settings) -> Use[Any]:
        """Add a component under a name."""
        self.classes[kind, name] = cls
        return Use(kind, name, settings)


@pytest.fixture
def builder() -> FakeBuilder:
    """Fakes: dataset `sums`, verifier `equal`, generator `fake`, engine `reference`."""
    return FakeBuilder()


@pytest.fixture
def sums_task() -> Use[Any]:
    """The task `problems` over the fake sums."""
    from aftertrain.plugins.evaluation.settings import ProblemsSettings

    data, verifier = Use("dataset", "sums", Settings()), Use("verifier", "equal", Settings())
    return Use("eval_task", "problems", ProblemsSettings(data=data, verifier=verifier, max_new_tokens=8))


@pytest.fixture
def evaluate(builder: FakeBuilder, sums_task: Use[Any]) -> Callable[..., Any]:
    """Makes the stage with fakes; keyword arguments are settings."""
    from aftertrain.plugins.evaluation.evaluate import Evaluate
    from aftertrain.plugins.evaluation.problems import Problems
    from aftertrain.plugins.evaluation.settings import EvaluateSettings

    builder.classes["eval_task", "problems"] = Problems

    def make(**settings: Any) -> Evaluate:
        chosen = {
            "tasks": (sums_task,),
            "generator": Use("generator", "fake", Settings()),
            "engine": Use("engine", "reference", Settings()),
            **settings,
        }
        return Evaluate(EvaluateSettings(**chosen), builder)

    return make


@dataclass
class Stand:
    """A stage's context with its events kept."""

    context: StageContext
    events: list[tuple[str, int | None, dict[str, Any]]]

    def named(self, name: str) -> list[dict[str, Any]]:
        """Data of the events of one name."""
        return [data for event, _, data in self.events if event == name]


@pytest.fixture
def stand(tmp_path: Path, tiny_model: Path, builder: FakeBuilder) -> Callable[..., Stand]:
    """Makes a stage's context in a folder of its own."""

    def make(
        name: str = "eval",
        inputs: dict[str, Artifact] | None = None,
        stopping: Callable[[], bool] = lambda: False,
        folder: str | None = None,
    ) -> Stand:
        events: list[tuple[str, int | None, dict[str, Any]]] = []
        place = tmp_path / (folder or name)
        place.mkdir(exist_ok=True)
        ledger = Ledger(Book())
        checkpoints = Checkpoints(place / "checkpoints", beside=ledger.save)
        if (latest := checkpoints.latest()) is not None:
            ledger.restore(latest[1])
        context = StageContext(
            name=name,
            folder=place,
            seed=0,
            inputs={"model": Artifact("model", str(tiny_model), "base", "0"), **(inputs or {})},
            builder=builder,
            checkpoints=checkpoints,
            book=ledger.book,
            emit=lambda event, step=None: events.append((event.event, step, event.facts())),
            stopping=stopping,
        )
        return Stand(context, events)

    return make

"""An online stage that runs on the tiny model without a recipe or a runner."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from pydantic import Field, TypeAdapter

from aftertrain.core.book import Book
from aftertrain.core.dataset import Dataset
from aftertrain.core.events import Books, Event
from aftertrain.core.records import Artifact, Check, Message, Problem, Verdict, VerificationCase
from aftertrain.core.run.checkpoint import Checkpoints
from aftertrain.core.run.ledger import Ledger
from aftertrain.core.settings import Settings, Use
from aftertrain.core.stage import PlanContext, StageContext
from aftertrain.core.verifier import Verifier


class SumsSettings(Settings):
    rows: int = Field(12, description="Problems.")
    long: int = Field(0, description="Further problems with long prompts.")
    start: int = Field(0, description="First number.")
    sources: int = Field(1, description="Data sets that they come from, in turn.")
    check: str = Field("contains", description="Name of the check.")
    ids: int = Field(10**6, description="How many different ids the problems have.")


class Sums(Dataset[SumsSettings]):
    """Sums whose replies must contain a digit."""

    Config = SumsSettings

    @property
    def record_type(self) -> type[Problem]:
        return Problem

    def __iter__(self) -> Iterator[Problem]:
        check = Check(self.settings.check, "3")
        start = self.settings.start
        for i in range(start, start + self.settings.rows + self.settings.long):
            text = f"What is {i} + {i * i}?" * (1 if i < start + self.settings.rows else 100)
            yield Problem(f"sum-{i % self.settings.ids}", (Message("user", text),), (check,), self._source(i))

    def _source(self, i: int) -> str:
        return f"sums-{i % self.settings.sources}" if self.settings.sources > 1 else "sums"

    def fingerprint(self) -> str:
        return f"{self.settings.rows:016x}"


class Contains(Verifier[Settings]):
    """1 where the reply contains the ground truth."""

    isolated = False

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        return [Verdict.scored(float(case.ground_truth in case.response)) for case in cases]


class Lowercase(Verifier[Settings]):
    """1 where the reply is lower-case letters only."""

    isolated = False

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        return [Verdict.scored(float(bool(re.fullmatch("[a-z]+", case.response)))) for case in cases]


class Spaced(Verifier[Settings]):
    """1 for any reply without two spaces in a row and without a line feed at its end."""

    isolated = False

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        return [Verdict.scored(float("  " not in c.response and not c.response.endswith("\n"))) for c in cases]


class Mixed(Verifier[Settings]):
    """0, ½ or 1 by the bytes of the reply: replies to one prompt fare differently, for no reason."""

    isolated = False

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        return [Verdict.scored(crc32(case.response.encode()) % 3 / 2) for case in cases]


class Failing(Verifier[Settings]):
    """An error on every reply."""

    isolated = False

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        return [Verdict.error("set up wrongly") for _ in cases]


class Picky(Contains):
    """Cannot judge questions about 1 + 1, 10 + 100 and 11 + 121, whatever the reply."""

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        return [
            Verdict.error("not this one") if "is 1" in case.prompt else verdict
            for case, verdict in zip(cases, super().verify(cases), strict=True)
        ]


class Found:
    """Takes down what a plugin registers, in place of the registry."""

    def __init__(self, *plugins: Any) -> None:
        self.table: dict[tuple[str, str], tuple[type, type]] = {}
        for plugin in plugins:
            plugin.aftertrain_register(self)

    def add(self, kind: str, name: str, component: str, settings: str, summary: str) -> None:
        places = (place.split(":") for place in (component, settings))
        component_class, settings_class = (getattr(import_module(module), name) for module, name in places)
        self.table[kind, name] = component_class, settings_class


def components() -> dict[tuple[str, str], tuple[type, type]]:
    """Component and settings by kind and name."""
    from aftertrain.plugins import advantages, environments, losses, selection
    from aftertrain.plugins.generation import settings as generator_settings
    from aftertrain.plugins.generation import transformers
    from aftertrain.plugins.torch_engine import engine
    from aftertrain.plugins.torch_engine import settings as engine_settings

    return Found(advantages, environments, losses, selection).table | {
        ("dataset", "sums"): (Sums, SumsSettings),
        ("verifier", "contains"): (Contains, Settings),
        ("verifier", "mixed"): (Mixed, Settings),
        ("verifier", "failing"): (Failing, Settings),
        ("verifier", "picky"): (Picky, Settings),
        ("verifier", "spaced"): (Spaced, Settings),
        ("verifier", "lowercase"): (Lowercase, Settings),
        ("engine", "torch"): (engine.TorchEngine, engine_settings.TorchSettings),
        ("generator", "transformers"): (transformers.Transformers, generator_settings.TransformersSettings),
    }


class DirectBuilder:
    """Resolves and builds from a table given here, in place of the registry."""

    def __init__(self) -> None:
        self.table = components()

    def resolve(self, kind: str, value: dict[str, Any]) -> Use[Any]:
        value = dict(value)
        name = value.pop("use")
        return Use(kind, name, self.table[kind, name][1].model_validate(value, context={"resolver": self}))

    def build(self, use: Use[Any]) -> Any:
        return self.table[use.kind, use.name][0](use.settings, self)


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


@dataclass
class Bench:
    """One stage with its folder; `run` may be called again to resume. Its books must balance at each end.

    Attributes:
        books: by unit, what the ledger says of the last run that came to its end.
        stop_after: ask to stop after so many steps of this run.
        kill_at: die when this event of that step is written.
    """

    folder: Path
    model: Path
    settings: dict[str, Any]
    stop_after: int | None = None
    kill_at: tuple[str, int] | None = None
    critic: Path | None = None
    reward_model: Path | None = None
    seed: int = 0
    events: list[tuple[str, int | None, dict[str, Any]]] = field(default_factory=list)
    books: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from aftertrain.plugins.online.settings import OnlineSettings
        from aftertrain.plugins.online.stage import Online

        self.builder = DirectBuilder()
        settings = TypeAdapter(OnlineSettings).validate_python(self.settings, context={"resolver": self.builder})
        self.stage = Online(settings, self.builder)

    def emit(self, event: Event, step: int | None = None, /) -> None:
        if (event.event, step) == self.kill_at:
            raise Killed(f"{event.event} {step}")
        self.events.append((event.event, step, event.facts()))

    def stopping(self) -> bool:
        return self.stop_after is not None and len(self.of("metrics")) >= self.stop_after

    def of(self, name: str) -> list[dict[str, Any]]:
        """Data of the events of one name, clocks left out."""
        return [{k: v for k, v in data.items() if k != "timing"} for event, _, data in self.events if event == name]

    def run(self) -> Artifact:
        self.folder.mkdir(parents=True, exist_ok=True)
        inputs = {"model": Artifact("model", str(self.model), "base", "digest")}
        if self.critic is not None:
            inputs["critic"] = Artifact("reward_model", str(self.critic), "rm", "digest")
        if self.reward_model is not None:
            inputs["reward.base"] = Artifact("reward_model", str(self.reward_model), "rm", "digest")
        ledger = Ledger(Book())
        checkpoints = Checkpoints(self.folder / "checkpoints", beside=ledger.save)
        if (latest := checkpoints.latest()) is not None:
            ledger.restore(latest[1])
        made = self.stage.run(
            StageContext(
                name="rl",
                folder=self.folder,
                seed=self.seed,
                inputs=inputs,
                builder=self.builder,
                checkpoints=checkpoints,
                emit=self.emit,
                stopping=self.stopping,
                book=ledger.book,
            )
        )
        self.books = Books(ledger.close("rl")).facts()
        return made

    def plan(self) -> list[Any]:
        return self.stage.plan(PlanContext("rl", str(self.model), 0, self.builder))

    def outcome(self) -> dict[str, bytes]:
        """Bytes of the final model, of all samples and of their tokens."""
        kept = [path for name in ("samples", "rollouts") for path in sorted((self.folder / name).iterdir())]
        files = [self.folder / "model" / "model.safetensors", *kept]
        return {path.name: path.read_bytes() for path in files}


def settings(**changes: Any) -> dict[str, Any]:
    """Settings of a small run; nested ones are merged one level deep."""
    base: dict[str, Any] = {
        "data": {"use": "sums"},
        "rewards": [{"use": "contains"}],
        "loss": {"use": "ppo"},
        "sampling": {"max_new_tokens": 8},
        "batch": {"prompts": 5, "samples_per_prompt": 2, "updates": 2, "minibatches": 2, "micro_tokens": 256},
        "steps": 4,
        "optimizer": {"lr": 1e-3},
        "checkpoint_every": 2,
    }
    for name, value in changes.items():
        base[name] = {**base[name], **value} if isinstance(value, dict) and isinstance(base.get(name), dict) else value
    return base


@pytest.fixture
def bench(tmp_path: Path, tiny_model: Path) -> Callable[..., Bench]:
    """Makes a bench in a folder of the given name."""

    def make(
        name: str = "run", changes: dict[str, Any] | None = None, *, model: Path = tiny_model, **options: Any
    ) -> Bench:
        return Bench(tmp_path / name, model, settings(**(changes or {})), **options)

    return make

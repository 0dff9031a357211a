"""A toy stage (a random walk, checkpointed) and a builder without a registry."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import Field

from aftertrain.core.errors import DataError, Interrupted
from aftertrain.core.events import Metrics
from aftertrain.core.learning.seeding import sub_seed
from aftertrain.core.recipe import Recipe
from aftertrain.core.records import Artifact, PlanItem
from aftertrain.core.run.job import Job
from aftertrain.core.settings import Settings, Use, unhashed
from aftertrain.core.stage import PlanContext, Stage, StageContext, StageInput, StageSettings


class WalkSettings(StageSettings):
    """Settings of the toy stage."""

    steps: int = Field(6, description="Steps.")
    width: float = Field(1.0, description="Width of a step.")
    every: int = unhashed(2, description="Steps between checkpoints.")
    data: str = unhashed("", description="A data file.")
    critic: str | None = Field(None, description="Another parent.")


class Walk(Stage[WalkSettings]):
    """A random walk whose end is its 'model'. `trouble` is called after each step with its number."""

    Config = WalkSettings
    trouble: Callable[[StageContext, int], None] = staticmethod(lambda context, step: None)
    ran: ClassVar[list[tuple[str, int]]] = []

    def inputs(self) -> Sequence[StageInput]:
        parents = [StageInput("model", self.settings.from_, frozenset({"model"}))]
        if self.settings.critic:
            parents.append(StageInput("critic", self.settings.critic, frozenset({"reward_model"})))
        return parents

    @property
    def output(self) -> str:
        return "model"

    def fingerprints(self) -> Mapping[str, str]:
        if not self.settings.data:
            return {}
        try:
            return {"data": Path(self.settings.data).read_text()}
        except OSError as error:
            raise DataError(f"{self.settings.data}: cannot be read: {error.strerror}") from error

    def run(self, context: StageContext) -> Artifact:
        found = context.checkpoints.latest()
        step, at = 0, 0.0
        if found is not None:
            step, at = found[0], json.loads((found[1] / "state.json").read_text())["at"]
        while step < self.settings.steps:
            if context.stopping():
                context.checkpoints.save(step, partial(_write, at))
                raise Interrupted(f"stopped after step {step}")
            draw = random.Random(sub_seed(context.seed, step)).uniform(-1, 1)
            at, step = at + self.settings.width * draw, step + 1
            self.ran.append((context.name, step))
            context.emit(Metrics({"loss": at}, {"seconds": random.random()}), step)
            if step % self.settings.every == 0:
                context.checkpoints.save(step, partial(_write, at))
            type(self).trouble(context, step)
        model = context.folder / "model"
        model.mkdir()
        (model / "config.json").write_text("{}")
        (model / "weights.txt").write_text(repr(at))
        return Artifact("model", str(model), context.name, "")

    def plan(self, context: PlanContext) -> list[PlanItem]:
        return [PlanItem("steps", str(self.settings.steps))]


class RewardWalk(Walk):
    """The same, calling its end a reward model."""

    @property
    def output(self) -> str:
        return "reward_model"

    def run(self, context: StageContext) -> Artifact:
        made = super().run(context)
        return Artifact("reward_model", made.path, made.stage, "")


def _write(at: float, folder: Path) -> None:
    (folder / "state.json").write_text(json.dumps({"at": at}))


class PlainBuilder:
    """Constructs what `classes` names."""

    def __init__(self, classes: Mapping[str, type[Any]]) -> None:
        self.classes = classes

    def build(self, use: Use[Any]) -> Any:
        return self.classes[use.name](use.settings, self)


@pytest.fixture(autouse=True)
def _calm() -> None:
    """No trouble unless a test makes some."""
    Walk.trouble = staticmethod(lambda context, step: None)
    Walk.ran = []


@pytest.fixture
def walk() -> type[Walk]:
    """The toy stage's class, for its `trouble` and `ran`."""
    return Walk


@pytest.fixture
def make_job(tmp_path: Path) -> Callable[..., Job]:
    """A job over toy stages: `make_job({"a": {"steps": 3}, "b": {"from": "a", "use": "reward"}}, seed=1)`."""
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text('{"model_type": "llama"}')
    (base / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")

    def make(
        stages: Mapping[str, Mapping[str, Any]],
        *,
        folder: Path | None = None,
        job: Mapping[str, Any] = {},
        **recipe: Any,
    ) -> Job:
        uses = {}
        for name, given in stages.items():
            values = dict(given)
            kind = values.pop("use", "walk")
            settings: Settings = WalkSettings.model_validate(values)
            uses[name] = Use[Any]("stage", kind, settings)
        fields: dict[str, Any] = {"name": "toy", "model": "./base", "threads": 1, "stages": uses, **recipe}
        return Job(
            recipe=Recipe(**fields),
            builder=PlainBuilder({"walk": Walk, "reward": RewardWalk}),
            folder=folder or tmp_path / "runs" / "toy",
            base_folder=tmp_path,
            **job,
        )

    return make

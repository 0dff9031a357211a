"""A train stage that runs on the tiny model without a recipe or a runner."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
from pydantic import TypeAdapter

from aftertrain.core.book import Book
from aftertrain.core.events import Books, Event
from aftertrain.core.ranks import ALONE, Ranks
from aftertrain.core.records import Artifact
from aftertrain.core.run.checkpoint import Checkpoints
from aftertrain.core.run.ledger import Ledger
from aftertrain.core.settings import Use
from aftertrain.core.stage import PlanContext, StageContext


def components() -> dict[tuple[str, str], tuple[type, type]]:
    """Component and settings by kind and name."""
    from aftertrain.plugins.data import jsonl
    from aftertrain.plugins.data import settings as data_settings
    from aftertrain.plugins.losses import ROWS
    from aftertrain.plugins.torch_engine import engine
    from aftertrain.plugins.torch_engine import settings as engine_settings

    return {
        ("dataset", "jsonl"): (jsonl.Jsonl, data_settings.JsonlSettings),
        **{
            ("loss", name): (made := resolve_name(f"aftertrain.plugins.losses.{path}"), made.Config)
            for name, path, *_ in ROWS
        },
        ("engine", "torch"): (engine.TorchEngine, engine_settings.TorchSettings),
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


@dataclass
class Bench:
    """One stage with its folder; `run` may be called again to resume. Its books must balance at each end.

    Attributes:
        books: by unit, what the ledger says of the last run that came to its end.
    """

    folder: Path
    model: Path
    settings: dict[str, Any]
    stop_after: int | None = None
    seed: int = 0
    ranks: Ranks = ALONE
    events: list[tuple[str, int | None, dict[str, Any]]] = field(default_factory=list)
    books: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from aftertrain.plugins.training.settings import TrainSettings
        from aftertrain.plugins.training.train import Train

        self.builder = DirectBuilder()
        settings = TypeAdapter(TrainSettings).validate_python(self.settings, context={"resolver": self.builder})
        self.stage = Train(settings, self.builder)

    def emit(self, event: Event, step: int | None = None, /) -> None:
        self.events.append((event.event, step, event.facts()))

    def stopping(self) -> bool:
        return self.stop_after is not None and len(self.of("metrics")) >= self.stop_after

    def of(self, name: str) -> list[dict[str, Any]]:
        """Data of the events of one name, clocks left out."""
        return [{k: v for k, v in data.items() if k != "timing"} for event, _, data in self.events if event == name]

    def run(self) -> Artifact:
        self.folder.mkdir(parents=True, exist_ok=True)
        ledger = Ledger(Book())
        checkpoints = Checkpoints(self.folder / "checkpoints", beside=ledger.save)
        if (latest := checkpoints.latest()) is not None:
            ledger.restore(latest[1])
        made = self.stage.run(
            StageContext(
                name="stage",
                folder=self.folder,
                seed=self.seed,
                inputs={"model": Artifact("model", str(self.model), "base", "digest-of-base")},
                builder=self.builder,
                checkpoints=checkpoints,
                emit=self.emit,
                stopping=self.stopping,
                book=ledger.book,
                ranks=self.ranks,
            )
        )
        self.books = Books(ledger.close("stage")).facts()
        return made

    def plan_context(self) -> PlanContext:
        return PlanContext("stage", str(self.model), self.seed, self.builder)

    def plan(self) -> list[Any]:
        return self.stage.plan(self.plan_context())


@pytest.fixture
def conversations(tmp_path: Path) -> Path:
    """Twelve short sums as conversations."""
    rows = [
        {
            "id": f"sum-{i}",
            "messages": [
                {"role": "user", "content": f"What is {i} + {i * i}?"},
                {"role": "assistant", "content": f"The answer is {i + i * i}." * (1 + i % 3)},
            ],
        }
        for i in range(12)
    ]
    return _write(tmp_path / "conversations.jsonl", rows)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Ten preference pairs."""
    rows = [
        {
            "id": f"pair-{i}",
            "prompt": f"What is {i} + 3?",
            "chosen": f"The sum is {i + 3}.",
            "rejected": "I do not know" + " at all" * (i % 4),
        }
        for i in range(10)
    ]
    return _write(tmp_path / "pairs.jsonl", rows)


@pytest.fixture
def bench(tmp_path: Path, tiny_model: Path) -> Callable[..., Bench]:
    """`bench("name", loss=…, data=…, …)`: a stage in its own folder with quick defaults."""

    def make(name: str, *, stop_after: int | None = None, model: Path = tiny_model, **settings: Any) -> Bench:
        settings.setdefault("optimizer", {"lr": 1e-2})
        settings.setdefault("batch", {"sequences": 4, "max_tokens": 128})
        settings.setdefault("engine", {"use": "torch", "device": "cpu"})
        return Bench(tmp_path / name, model, settings, stop_after)

    return make


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path

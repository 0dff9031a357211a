"""A stage that is stopped and started again ends with the bits of one that was not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from aftertrain.core.errors import Interrupted, RunError
from aftertrain.core.events import Event, Metrics, Skipped
from aftertrain.core.learning.trial import END, Trial
from aftertrain.core.records import Artifact
from aftertrain.core.run.checkpoint import CHECKSUMS, Checkpoints
from aftertrain.core.stage import BASE, StageContext
from aftertrain.invariants.bench import Bench
from aftertrain.invariants.finding import EXACT, Finding, Measure, NotChecked

STOP = 2
"""Steps after which a rehearsal is stopped."""


@dataclass
class Diary:
    """What a rehearsal says, and whether it should stop."""

    stop: int
    step: int = 0
    metrics: dict[int, dict[str, Any]] = field(default_factory=dict)

    def emit(self, event: Event, step: int | None = None, /) -> None:
        """As a stage's `emit`."""
        if step is not None:
            self.step = step
            if isinstance(event, Metrics | Skipped):
                self.metrics[step] = {name: value for name, value in event.facts().items() if name != "timing"}

    def stopping(self) -> bool:
        """After the step's events."""
        return self.step >= self.stop


def check_resume(bench: Bench) -> Finding:
    """Four steps in one go, and two, a checkpoint, a new process's worth of objects, and two more."""
    trial = bench.trial
    if trial.rehearsal is None:
        raise NotChecked(trial.untried.get("resume", "the stage cannot be run by itself"))
    through, metrics = _rehearse(trial, bench.folder / "through", (END,))
    resumed, metrics_again = _rehearse(trial, bench.folder / "resumed", (STOP, END))
    names, apart = _differing(through, resumed)
    others = [
        f"{name} of step {step}"
        for step, values in metrics.items()
        for name, value in values.items()
        if step > STOP and repr(value) != repr(metrics_again.get(step, {}).get(name))
    ]
    size = sum(path.stat().st_size for path in through.iterdir())
    notes = [f"{', '.join(names[:3])} by up to {apart:.3g}"] if names else []
    notes += [", ".join(others[:3])] if others else []
    return Finding(
        "resume",
        f"checkpoint of step {END} ({size:,} bytes) and metrics of steps {STOP + 1} to {END}, run through and stopped "
        f"after step {STOP} (bits)",
        (Measure("tensors that differ", len(names), EXACT), Measure("metrics that differ", len(others), EXACT)),
        f"differ: {'; '.join(notes)}" if notes else "",
    )


def _rehearse(trial: Trial, folder: Path, stops: tuple[int, ...]) -> tuple[Path, Mapping[int, Mapping[str, Any]]]:
    """The last checkpoint, and metrics by step, of a stage started as often as there are stops."""
    assert trial.rehearsal is not None
    metrics: dict[int, dict[str, Any]] = {}
    folder.mkdir(parents=True)
    inputs = {"model": Artifact("model", next(iter(trial.models.values())), BASE, digest="")}
    for stop in stops:
        diary = Diary(stop)
        context = StageContext(
            name="rehearsal",
            folder=folder,
            seed=trial.seed,
            inputs=inputs,
            builder=trial.builder,
            checkpoints=Checkpoints(folder / "checkpoints"),
            emit=diary.emit,
            stopping=diary.stopping,
            chat_template=trial.chat_template,
        )
        try:
            trial.rehearsal().run(context)
        except Interrupted:
            metrics |= diary.metrics
            continue
        raise RunError(f"the stage was asked to stop after step {stop} and did not")
    latest = Checkpoints(folder / "checkpoints").latest()
    if latest is None or latest[0] != END:
        raise RunError(f"the stage was stopped after step {END}; its last checkpoint is of step {latest and latest[0]}")
    return latest[1], metrics


def _differing(through: Path, resumed: Path) -> tuple[list[str], float]:
    """Tensors (and files that hold none) whose bytes differ between two checkpoints, and by how much at most."""
    files = {path.relative_to(folder) for folder in (through, resumed) for path in folder.rglob("*") if path.is_file()}
    differing: list[str] = []
    apart = 0.0
    for file in sorted(files - {Path(CHECKSUMS)}):
        if not (through / file).is_file() or not (resumed / file).is_file():
            differing.append(f"{file} is there only once")
        elif (through / file).read_bytes() == (resumed / file).read_bytes():
            continue
        elif file.suffix != ".safetensors":
            differing.append(str(file))
        else:
            ours, theirs = load_file(through / file), load_file(resumed / file)
            for name in sorted(ours.keys() | theirs.keys()):
                a, b = ours.get(name), theirs.get(name)
                if a is None or b is None or a.shape != b.shape:
                    differing.append(f"{file}: {name}")
                elif not a.equal(b):
                    differing.append(name)
                    apart = max(apart, float((a.float() - b.float()).abs().max()))
    return differing, apart

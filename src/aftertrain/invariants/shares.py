"""One step by two ranks: what each of them does, and the comparison with one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from aftertrain.core.ground.reading import read_json
from aftertrain.core.ground.wording import counted
from aftertrain.core.packed.packing import pack, pack_share
from aftertrain.invariants.bench import Bench
from aftertrain.invariants.finding import Finding, Measure, NotChecked
from aftertrain.invariants.outcome import Outcome, outcome
from aftertrain.invariants.steps import step_measures

RANKS, UNEVEN = 2, 3
Together = Callable[[Path], None]
"""Has `write_share` run by two ranks of new processes, with the folder that it is given.

Raises:
    NotChecked: two ranks cannot be started here.
"""
FIGURES, GRADIENT = "figures.json", "gradient.safetensors"


def write_share(bench: Bench) -> None:
    """This rank's part of the steps that are compared; rank 0 writes what came of them into the bench's folder."""
    ranks = bench.trial.ranks
    for name, rows in _steps(bench).items():
        batches = pack_share([bench.atoms[i] for i in rows], bench.trial.budget, rank=ranks.rank, ranks=ranks.size)
        step = outcome(bench.trial, batches)
        if ranks.first:
            folder = bench.folder / name
            folder.mkdir(parents=True, exist_ok=True)
            save_file(dict(step.gradients), folder / GRADIENT)
            figures = {"losses": dict(step.losses), "metrics": dict(step.metrics)}
            (folder / FIGURES).write_text(json.dumps(figures), encoding="utf-8")


def check_ranks(bench: Bench, together: Together | None) -> Finding:
    """A few rows dealt out to two ranks; and one row, so that the other rank has none."""
    if "ranks" in bench.trial.untried:
        raise NotChecked(bench.trial.untried["ranks"])
    if together is None:
        raise NotChecked("left out (--no-ranks)")
    cuda = torch.cuda.is_available() and any(
        t.is_cuda for engine in bench.engines.values() for _, t in engine.weights()
    )
    if cuda and torch.cuda.device_count() < RANKS:
        raise NotChecked(
            f"a rank needs a GPU of its own and there is {torch.cuda.device_count()}; set engine.device=cpu"
        )
    folder = bench.folder / "two"
    folder.mkdir()
    together(folder)
    worst: dict[str, Measure] = {}
    note = ""
    for name, rows in _steps(bench).items():
        alone = outcome(bench.trial, pack([bench.atoms[i] for i in rows], bench.trial.budget))
        shared = _read(folder / name)
        measures, where = step_measures(shared, alone, bench.precision)
        for measure in measures:
            if not measure.deviation <= worst.setdefault(measure.name, measure).deviation:
                worst[measure.name] = measure
        if where:
            note = f"with {name}: {where}"
    compared = f"loss, metrics and gradient of a step on {' and of one on '.join(_steps(bench))}, by {RANKS} processes"
    return Finding("ranks", compared, tuple(worst.values()), note)


def _steps(bench: Bench) -> dict[str, list[int]]:
    """Rows of each step: some that two ranks cannot share evenly, and one, so that a rank has none. Short ones do."""
    shortest = bench.shortest(UNEVEN)
    return {counted(len(shortest), "row"): sorted(shortest), "one row": shortest[:1]}


def _read(folder: Path) -> Outcome:
    figures: dict[str, dict[str, float]] = read_json(folder / FIGURES, dict[str, dict[str, float]])
    return Outcome(figures["losses"], figures["metrics"], load_file(folder / GRADIENT))

"""Every invariant of one trial, one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch

from aftertrain.core.errors import MissingExtra, NumericsError
from aftertrain.core.learning.trial import Trial
from aftertrain.invariants.bench import Bench
from aftertrain.invariants.finding import INVARIANTS, Finding, NotChecked
from aftertrain.invariants.modes import check_dropout, check_finite, check_gradient
from aftertrain.invariants.reference import check_reference
from aftertrain.invariants.resume import check_resume
from aftertrain.invariants.saved import check_saved
from aftertrain.invariants.scores import check_chunked, check_neighbours, check_packed
from aftertrain.invariants.shares import Together, check_ranks
from aftertrain.invariants.steps import check_accumulation, check_filler, check_order


def check(
    trial: Trial,
    folder: Path,
    *,
    together: Together | None = None,
    on_start: Callable[[str], None] = lambda invariant: None,
) -> Iterator[Finding]:
    """One finding for each of `INVARIANTS`, in their order, as they come.

    Args:
        folder: scratch, empty.
        together: see `shares.Together`; None leaves ranks out.
        on_start: told each invariant when its check begins.

    Raises:
        ModelError: the models cannot be loaded.
        MissingExtra: the engine needs a package that is not installed.
    """
    bench = Bench(trial, folder)
    _ = bench.engines  # what cannot be loaded is no finding
    checks: dict[str, Callable[[], Finding]] = {
        "finite": lambda: check_finite(bench),
        "gradient": lambda: check_gradient(bench),
        "dropout": lambda: check_dropout(bench),
        "packed": lambda: check_packed(bench),
        "neighbours": lambda: check_neighbours(bench),
        "chunked": lambda: check_chunked(bench),
        "accumulation": lambda: check_accumulation(bench),
        "order": lambda: check_order(bench),
        "filler": lambda: check_filler(bench),
        "ranks": lambda: check_ranks(bench, together),
        "reference": lambda: check_reference(bench),
        "resume": lambda: check_resume(bench),
        "saved": lambda: check_saved(bench),
    }
    for name in INVARIANTS:
        on_start(name)
        started = time.perf_counter()
        finding = _tried(name, checks[name], trial)
        yield replace(finding, seconds=time.perf_counter() - started)


def _tried(name: str, run: Callable[[], Finding], trial: Trial) -> Finding:
    """The finding; what a component raises on the way breaks the invariant that it was tried for."""
    try:
        if name in trial.untried:
            raise NotChecked(trial.untried[name])
        return run()
    except NotChecked as reason:
        return Finding(name, note=str(reason), unchecked=True)
    except MissingExtra:
        raise
    except torch.OutOfMemoryError as error:
        first = str(error).splitlines()[0]
        return Finding(name, note=f"out of memory ({first}); try --rows 2 or a lower batch.max_tokens", unchecked=True)
    except NumericsError as error:
        if name == "finite":
            return Finding(name, note=str(error), failed=True)
        return Finding(name, note=f"loss or gradient is not finite: {error}", unchecked=True)
    except Exception as error:  # noqa: BLE001  a stranger's component may raise anything
        return Finding(name, note=f"{type(error).__name__}: {error}", failed=True)

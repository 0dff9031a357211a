"""Scores of a finished evaluation for others: results as lm-eval writes them, and a table for a model card."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.core.clusters import told
from aftertrain.core.errors import RunError
from aftertrain.core.ground.wording import at_temperature, identity
from aftertrain.core.statistics import Z95, Interval

if TYPE_CHECKING:
    from aftertrain.api.finished import FinishedEvaluation
    from aftertrain.core.events import ScoreRow

NOT_AVAILABLE = "N/A"
"""lm-eval's word for a standard error that there is none of."""
FAMILY = "lm_eval/"
"""Begins the names of lm-eval's own tasks here."""


def check_names(files: Iterable[Path]) -> None:
    """See that each file's name says how to write it, before hours go into what is to be written.

    Raises:
        RunError: one does not.
    """
    for file in files:
        if file.suffix not in WRITERS:
            raise RunError(f"{file}: results are written by the end of a file's name, {' or '.join(WRITERS)}")


def write_results(run: str | os.PathLike[str], path: Path) -> None:
    """Write a finished evaluation's scores by the end of the file's name: `.json` as lm-eval does, `.md` as a table.

    Args:
        run: its folder, its name under `runs/`, or `RUN:STAGE`.

    Raises:
        RunError: there is no such evaluation, or the name ends otherwise.
    """
    from aftertrain.api.finished import finished_evaluation

    check_names([path])
    text = WRITERS[path.suffix](finished_evaluation(run))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def lm_eval_results(evaluation: FinishedEvaluation) -> dict[str, Any]:
    """What lm-eval's `results_*.json` holds, so that its own tools read it.

    A standard error is that of a normal interval as wide as ours. A score that is withheld is not among the results,
    nor is a row that is missing: both stand in `config`, with the reason. There, too, stands of each score how many
    replies have no verdict, and between what it lies: a score is over the questions that have one, which `effective`
    counts. `versions` are fingerprints: scores compare only if they are equal.
    """
    asked = _Asked(evaluation)
    results: dict[str, dict[str, Any]] = {}
    tasks: dict[str, str] = {}
    given: dict[str, int] = {}
    for row in evaluation.scores:
        name = _place(evaluation, row).removeprefix(FAMILY)
        tasks[name] = row.task
        given.setdefault(name, row.n if row.of is None else row.of)
        entry = results.setdefault(name, {"name": name, "alias": name, "sample_len": row.n})
        if (found := row.interval) is not None:
            metric, _, named = row.metric.partition(",")
            entry[f"{metric},{named or 'none'}"] = found.mean
            entry[f"{metric}_stderr,{named or 'none'}"] = _standard_error(found)
    configs = {name: {"task": name, **asked.settings(task)} for name, task in tasks.items()}
    prints = {row.task: row.fingerprint for row in evaluation.scores}
    manifest = evaluation.manifest
    return {
        "results": results,
        "group_subtasks": {name: [] for name in results},
        "configs": configs,
        "versions": {name: identity(prints[task]) for name, task in tasks.items()},
        "n-shot": {name: config.get("shots") or 0 for name, config in configs.items()},
        "higher_is_better": {name: {} for name in results},
        "n-samples": {
            name: {"original": asked.split(task, given[name]), "effective": results[name]["sample_len"]}
            for name, task in tasks.items()
        },
        "config": {
            "model": "aftertrain",
            "model_args": {"pretrained": manifest.recipe["model"]},
            "model_sha": manifest.base.digest,
            "limit": asked.limit,
            "random_seed": manifest.seed,
            "stderr": "half of the 95 % interval / 1.96",
            "withheld": [f"{row.task}: {row.metric}" for row in evaluation.scores if row.interval is None],
            "unjudged": {
                f"{row.task}: {row.metric}": {"replies": row.unjudged, "lowest": row.lowest, "highest": row.highest}
                for row in evaluation.scores
                if row.unjudged
            },
            "clustered": {
                row.task: told(row.clustered_by, row.clusters)
                for row in evaluation.scores
                if row.primary is not False and row.clusters is not None
            },
            "missing": {row.task: row.why for row in evaluation.missing},
        },
        "git_hash": None,
        "date": time.time(),
        "aftertrain_version": manifest.packages.get("aftertrain", ""),
        "transformers_version": manifest.packages.get("transformers", ""),
        "model_name": manifest.recipe["model"],
        "model_source": "aftertrain",
    }


def model_card(evaluation: FinishedEvaluation) -> str:
    """A Markdown table of the main figures, with how each was asked, its interval, and what it may be compared with."""
    asked = _Asked(evaluation)
    header = "| task | shots | metric | score | 95 % | n | contamination | fingerprint |"
    lines = [header, "|---|---:|---|---:|---|---:|---|---|"]
    known = evaluation.contaminations
    for row in evaluation.scores:
        if row.primary is False:
            continue
        shots = asked.settings(row.task).get("shots")
        shown, interval = "withheld", ""
        if (found := row.interval) is not None:
            shown, interval = _written(found.mean, row), f"{_written(found.low, row)} – {_written(found.high, row)}"
        cells = (
            _place(evaluation, row),
            "" if shots is None else shots,
            row.metric,
            shown + _open(row),
            interval,
            row.counted + ("" if row.clusters is None else f", {told(row.clustered_by, row.clusters)}"),
            known.get(row.task, ""),
        )
        lines.append(f"| {' | '.join(map(str, cells))} | `{identity(row.fingerprint)}` |")
    lines += [f"| {row.task} | | | missing | {' '.join(row.why.split())} | | | |" for row in evaluation.missing]
    manifest = evaluation.manifest
    limited = "" if asked.limit is None else f" At most {asked.limit:,} questions of each task."
    return "\n".join(lines) + (
        f"\n\nScored with aftertrain {manifest.packages.get('aftertrain', '')}, seed {manifest.seed}.{limited} "
        "Shares in per cent; scores compare where the fingerprint is the same.\n"
    )


def _json(evaluation: FinishedEvaluation) -> str:
    return json.dumps(lm_eval_results(evaluation), indent=2, ensure_ascii=False) + "\n"


WRITERS: Mapping[str, Callable[[FinishedEvaluation], str]] = {".json": _json, ".md": model_card}
"""By the end of a file's name."""


class _Asked:
    """How an evaluation asked its tasks."""

    def __init__(self, evaluation: FinishedEvaluation) -> None:
        from aftertrain.core.benchmark.suite import named_tasks

        self._stage = evaluation.built()
        self._tasks = {named.name: named for named in named_tasks(self._stage.settings.tasks)}
        self.limit: int | None = self._stage.settings.limit

    def settings(self, task: str) -> dict[str, Any]:
        """Of a task, as plain data."""
        return self._tasks[task].use.dump() if task in self._tasks else {}

    def split(self, task: str, n: int) -> int:
        """Questions of its split; it is read only where fewer than all could have been asked."""
        from aftertrain.core.benchmark.source import with_folder

        named = self._tasks.get(task)
        if named is None or not (named.limit or self.limit):
            return n
        return len(self._stage.builder.build(with_folder(named.use, self._stage.settings.data)).instances())


def _place(evaluation: FinishedEvaluation, row: ScoreRow) -> str:
    """A task's name, with the temperature where it was run at several."""
    several = len({other.temperature for other in evaluation.scores if other.task == row.task}) > 1
    return f"{row.task}{at_temperature(row.temperature)}" if several else row.task


def _open(row: ScoreRow) -> str:
    """What replies without a verdict leave open."""
    if not row.unjudged or row.lowest is None or row.highest is None:
        return ""
    return f" ({_written(row.lowest, row)} – {_written(row.highest, row)} by what could not be judged)"


def _standard_error(row: Interval) -> float | str:
    error = (row.high - row.low) / (2 * Z95)
    return error if math.isfinite(error) else NOT_AVAILABLE


def _written(value: float, row: ScoreRow) -> str:
    return f"{100 * value:.1f}" if row.share is not False else f"{value:.4g}"

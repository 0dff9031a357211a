"""`aftertrain rescore`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from aftertrain.cli.table import echo_safely, echo_table, interval_text, mean_text
from aftertrain.core.ground.wording import at_temperature, counted

if TYPE_CHECKING:
    from aftertrain.api.rescoring import RescoredStage
    from aftertrain.core.events import ScoreRow

SHOWN = 20


@click.command()
@click.argument("run", metavar="RUN[:STAGE]")
@click.argument("settings", nargs=-1, metavar="[TASK.SETTING=VALUE]...")
@click.option("--out", type=click.Path(path_type=Path), help="Write outputs with their new scores into this folder.")
@click.option("--all", "every", is_flag=True, help=f"List every changed output, not the first {SHOWN}.")
def rescore(run: str, settings: tuple[str, ...], out: Path | None, every: bool) -> None:
    """Score the outputs that RUN's evaluations saved once more, without a model, and say what changed.

    RUN is a run's folder or its name under runs/; RUN:STAGE is one evaluation of it. Settings are those of a task that
    decide how an output is read, not what is asked: aftertrain rescore math-run:eval problems.verifier.equality=string.
    The run itself stays as it is.
    """
    from aftertrain.api.rescoring import rescore as rescore_run

    for stage in rescore_run(run, settings, out=out):
        click.secho(stage.stage, bold=True)
        echo_table(list(map(list, _rows(stage))), ("task", "metric", "temperature", "recorded", "now", "95 %", "n"))
        for (task, temperature), (total, changed) in stage.now.rows.items():
            echo_safely(f"{task}{at_temperature(temperature)}: {changed:,} of {counted(total, 'output')} changed")
        for line in stage.now.changes[: None if every else SHOWN]:
            echo_safely(f"  {line}")
        if not every and len(stage.now.changes) > SHOWN:
            echo_safely(f"  … and {len(stage.now.changes) - SHOWN:,} more; --all lists them")


def _rows(stage: RescoredStage) -> list[tuple[str, ...]]:
    before = {(row.task, row.metric, row.temperature): row for row in stage.before}
    return [_row(row, before.get((row.task, row.metric, row.temperature))) for row in stage.now.scores]


def _row(now: ScoreRow, before: ScoreRow | None) -> tuple[str, ...]:
    found = now.interval
    return (
        now.task,
        now.metric,
        at_temperature(now.temperature, ""),
        "" if before is None else mean_text(before),
        mean_text(now),
        "" if found is None else interval_text(found.low, found.high, share=now.share is not False),
        now.counted + ("" if not now.unjudged or now.withheld else _open(now)),
    )


def _open(row: ScoreRow) -> str:
    """What the outputs without a verdict leave open of a score that is shown."""
    if row.lowest is None or row.highest is None:
        return ""
    return f", between {interval_text(row.lowest, row.highest, share=row.share is not False)}"

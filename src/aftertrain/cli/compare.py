"""`aftertrain compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from aftertrain.cli.certificates import certify_prompts, certify_verdicts
from aftertrain.cli.table import echo_safely, echo_table, score_text

if TYPE_CHECKING:
    from aftertrain.api.comparing import Comparison
    from aftertrain.core.events import Difference

SHOWN = 10


@click.command()
@click.argument("words", metavar="RUN[:STAGE]|FILE...", nargs=-1, required=True)
@click.option(
    "--flips", type=click.IntRange(0), default=SHOWN, show_default=True, help="Changed questions listed a side."
)
@click.option(
    "--prompts", type=click.Path(path_type=Path), metavar="FILE", help="Requests that TASK's are held against."
)
@click.option("--verdicts", type=click.Path(path_type=Path), metavar="FILE", help="Replies and what they were worth.")
@click.option("--where", multiple=True, metavar="COLUMN=VALUE", help="Of FILE only these lines; repeatable.")
@click.option("--column", "columns", multiple=True, metavar="PART=COLUMN", help="Of --verdicts: what a column is.")
@click.option("--metric", help="Of --verdicts: the task's metric that is compared.  [the task's first]")
@click.option("--data", type=click.Path(), help="Of a task: folder of benchmarks in the hub's columns.")
@click.option("--model", help="Of a task that is asked by a chat template: the model that has it.")
@click.option(
    "--json", "out", type=click.Path(path_type=Path), metavar="FILE", help="Write what was found for machines."
)
def compare(  # noqa: PLR0917  click hands over options by name
    words: tuple[str, ...],
    flips: int,
    prompts: Path | None,
    verdicts: Path | None,
    where: tuple[str, ...],
    columns: tuple[str, ...],
    metric: str | None,
    data: str | None,
    model: str | None,
    out: Path | None,
) -> None:
    """Set finished evaluations side by side, or hold a task against someone else's requests or verdicts.

    \b
    aftertrain compare quickstart:base-eval quickstart:sft-eval quickstart:dpo-eval
    aftertrain compare --prompts requests.jsonl arc_easy formulation=mc --data DIR
    aftertrain compare --verdicts samples_gsm8k.jsonl gsm8k path=test.jsonl --where filter=flexible-extract
    aftertrain compare --verdicts replies.jsonl verifier math --column verdict=score

    RUN is a run's folder or its name under runs/; :STAGE is needed where it has several evaluations. Each is tested
    against the first over the same questions: differences are paired, with 95 % intervals, and p-values adjusted by
    Holm's method over the table. A FILE's questions are paired with ours by what they ask, else by their ids; the exit
    status is 1 when one differs.
    """
    if prompts is not None and verdicts is not None:
        raise click.UsageError("--prompts and --verdicts are two comparisons; ask for one at a time")
    if prompts is not None:
        certify_prompts(prompts, words, data=data, model=model, where=where, out=out, shown=flips)
        return
    if verdicts is not None:
        certify_verdicts(verdicts, words, data=data, columns=columns, metric=metric, where=where, out=out, shown=flips)
        return
    runs = words
    if len(runs) < 2:
        raise click.UsageError("compare needs at least two evaluations, as RUN:STAGE each")
    from aftertrain.api.comparing import compare as compare_runs

    found = compare_runs(*runs)
    names = [f"{chr(ord('A') + number)}" for number in range(len(found.sides))]
    for name, side in zip(names, found.sides, strict=True):
        echo_safely(f"{name}  {side}")
    echo_table(_rows(found), ("task", "metric", "temperature", *names, *_headers(names), "n"))
    for name, side in zip(names[1:], found.sides[1:], strict=True):
        lines = found.flips[side]
        if flips and lines:
            click.secho(f"{name} against A: {len(lines):,} questions changed", bold=True)
            for line in lines[:flips]:
                echo_safely(f"  {line}")
            if len(lines) > flips:
                echo_safely(f"  … and {len(lines) - flips:,} more; --flips {len(lines)} lists them")


def _headers(names: list[str]) -> list[str]:
    return [text for name in names[1:] for text in (f"{name} - A", "95 %", "p", "better, worse")]


def _rows(found: Comparison) -> list[list[str]]:
    by_key = {
        (row.task, row.metric, row.temperature, side): row for side, rows in found.differences.items() for row in rows
    }
    rows = []
    for key, cells in found.scores.items():
        first = next(cell for cell in cells if cell is not None)
        share = first.share is not False
        scores = ["" if cell is None else score_text(cell.mean, share=share) for cell in cells]
        differences = [text for side in found.sides[1:] for text in _difference(by_key.get((*key, side)), share=share)]
        temperature = "" if key[2] is None else f"{key[2]:g}"
        rows.append([key[0], key[1], temperature, *scores, *differences, str(first.n)])
    return rows


def _difference(row: Difference | None, *, share: bool) -> list[str]:
    """Of one side to the first: mean, interval, adjusted p-value, questions that changed."""
    if row is None:
        return ["", "", "", ""]
    mean, low, high = (score_text(value, share=share, signed=True) for value in (row.mean, row.low, row.high))
    p = "" if row.adjusted is None else "< 0.001" if row.adjusted < 0.001 else f"{row.adjusted:.3f}"
    return [mean, f"{low} to {high}", p, f"{row.better}, {row.worse}"]

"""`aftertrain compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from aftertrain.cli.certificates import certify_prompts, certify_verdicts
from aftertrain.cli.table import echo_safely, echo_table, mean_text, score_text
from aftertrain.core.clusters import told
from aftertrain.core.ground.cleaning import json_text, worded
from aftertrain.core.ground.wording import at_temperature, sides_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aftertrain.api.comparison import Comparison
    from aftertrain.core.events import Difference

SHOWN = 10
REPLY = 400
"""Characters of a reply that are shown."""
LEGEND = (
    "p: adjusted by Holm's method over the tasks' main figures; in parentheses of other figures, as it is. finds: the "
    "least difference that so many questions, so many of them changed, find with power 80 %"
)
FILE = click.Path(path_type=Path)


@click.command()
@click.argument("words", metavar="RUN[:STAGE]|FILE...", nargs=-1, required=True)
@click.option("--flips", type=click.IntRange(0), default=SHOWN, show_default=True, help="Changed questions listed.")
@click.option("--replies", is_flag=True, help="With each changed question what either model replied.")
@click.option("--html", type=FILE, metavar="FILE", help="Write the comparison as a page.")
@click.option("--json", "out", type=FILE, metavar="FILE", help="Write what was found for machines.")
@click.option("--prompts", type=FILE, metavar="FILE", help="Requests that TASK's are held against.")
@click.option("--verdicts", type=FILE, metavar="FILE", help="Replies and what they were worth.")
@click.option("--where", multiple=True, metavar="COLUMN=VALUE", help="Of FILE only these lines; repeatable.")
@click.option("--column", "columns", multiple=True, metavar="PART=COLUMN", help="Of --verdicts: what a column is.")
@click.option("--metric", "metrics", multiple=True, metavar="OURS[=THEIRS]", help="Our metric, and what FILE calls it.")
@click.option("--data", type=click.Path(), help="Of a task: folder of benchmarks in the hub's columns.")
@click.option("--model", help="Of a task asked by a chat template, or of differing replies in a FILE: the model.")
def compare(  # noqa: PLR0917  click hands over options by name
    words: tuple[str, ...],
    flips: int,
    replies: bool,
    html: Path | None,
    out: Path | None,
    prompts: Path | None,
    verdicts: Path | None,
    where: tuple[str, ...],
    columns: tuple[str, ...],
    metrics: tuple[str, ...],
    data: str | None,
    model: str | None,
) -> None:
    """Set finished evaluations side by side, or hold a task against someone else's requests or verdicts.

    \b
    aftertrain compare quickstart:base-eval quickstart:sft-eval quickstart:dpo-eval
    aftertrain compare my-run:eval lm-eval-results/model --metric acc_raw=acc
    aftertrain compare --prompts requests.jsonl arc_easy formulation=mc --data DIR
    aftertrain compare --verdicts samples_gsm8k.jsonl gsm8k path=test.jsonl --where filter=flexible-extract
    aftertrain compare --verdicts replies.jsonl verifier math --column verdict=score

    RUN is a run's folder or its name under runs/; :STAGE is needed where it has several evaluations. Each is tested
    against the first over the same questions: differences are paired, with 95 % intervals, and the p-values of the
    tasks' main figures are adjusted by Holm's method. A FILE is another evaluator's: lm-eval's samples, or the folder
    that has them, OLMES's predictions beside their requests, a log of inspect; it is compared where it asked the same,
    character by character.

    With --prompts or --verdicts, a FILE's questions are paired with ours by what they ask, else by their ids; the exit
    status is 1 when one differs.
    """
    if prompts is not None and verdicts is not None:
        raise click.UsageError("--prompts and --verdicts are two comparisons; ask for one at a time")
    named = {ours: theirs for ours, _, theirs in (text.partition("=") for text in metrics)}
    if prompts is not None:
        certify_prompts(prompts, words, data=data, model=model, where=where, out=out, shown=flips)
    elif verdicts is not None:
        if len(named) > 1:
            raise click.UsageError("--verdicts compares one metric at a time")
        ours, theirs = next(iter(named.items()), (None, ""))
        said = (*columns, *([f"verdict={theirs}"] if theirs else []))
        certify_verdicts(verdicts, words, data=data, columns=said, metric=ours, where=where, out=out, shown=flips)
    elif len(words) < 2:
        raise click.UsageError("compare needs at least two evaluations, as RUN:STAGE each")
    else:
        found = _compared(words, named, where, model)
        _echo(found, flips, replies=replies)
        _write(found, html, out)


def _compared(
    sides: tuple[str, ...], metrics: Mapping[str, str], where: tuple[str, ...], model: str | None
) -> Comparison:
    from aftertrain.api.comparing import compare as compare_sides

    named = {ours: theirs or ours for ours, theirs in metrics.items()}
    return compare_sides(*sides, metrics=named, where=where, model=model)


def _write(found: Comparison, html: Path | None, out: Path | None) -> None:
    if html is not None:
        from aftertrain.plugins.report.comparison import write

        echo_safely(str(write(html, found)))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json_text(found.facts(), indent=1) + "\n", encoding="utf-8")


def _echo(found: Comparison, shown: int, *, replies: bool) -> None:
    names = [f"{chr(ord('A') + number)}" for number in range(len(found.sides))]
    for name, side in zip(names, found.sides, strict=True):
        echo_safely(f"{name}  {side}")
    for note in found.notes:
        echo_safely(f"note: {note}")
    for name, side in zip(names[1:], found.sides[1:], strict=True):
        if unlike := found.unlike.get(side):
            echo_safely(f"note: {', '.join(unlike)} of A and {name} differ in data, prompts or rules, and are left out")
    echo_table(_rows(found, names), ("task", "metric", "temperature", *names, *_headers(names), "n", "contamination"))
    echo_safely(LEGEND)
    _echo_gaps(found, shown)
    for name, side in zip(names[1:], found.sides[1:], strict=True):
        flips = found.flips[side]
        if shown and flips:
            click.secho(f"{name} against A: {len(flips):,} questions changed", bold=True)
            for flip in flips[:shown]:
                echo_safely(f"  {flip}")
                for letter, reply in zip(("A", name), flip.replies, strict=True) if replies else ():
                    echo_safely(f"    {letter}: {worded(reply, REPLY)}")
            if len(flips) > shown:
                echo_safely(f"  … and {len(flips) - shown:,} more; --flips {len(flips)} lists them")


def _echo_gaps(found: Comparison, shown: int) -> None:
    """Replies of another evaluator that differ, where the two likeliest tokens are told."""
    for side, gaps in found.reply_gaps.items():
        if gaps:
            click.secho(f"{side}: {len(gaps):,} greedy replies differ", bold=True)
        for gap in gaps[:shown]:
            echo_safely(f"  {gap}")
        if len(gaps) > shown:
            echo_safely(f"  … and {len(gaps) - shown:,} more; --flips {len(gaps)} lists them")


def _headers(names: list[str]) -> list[str]:
    return [text for name in names[1:] for text in (f"{name} - A", "95 %", "p", "up, down", "finds")]


def _rows(found: Comparison, names: list[str]) -> list[list[str]]:
    by_key = {
        (row.task, row.metric, row.temperature, side): row for side, rows in found.differences.items() for row in rows
    }
    rows = []
    for key, cells in found.scores.items():
        first = next(cell for cell in cells if cell is not None)
        share = first.share is not False
        scores = ["" if cell is None else mean_text(cell) for cell in cells]
        differences = [text for side in found.sides[1:] for text in _difference(by_key.get((*key, side)), share=share)]
        temperature = at_temperature(key[2], "")
        pairs = [_pairs(by_key[*key, side]) for side in found.sides[1:] if (*key, side) in by_key]
        n = ", ".join(dict.fromkeys(pairs)) or first.counted
        contamination = sides_text(names, found.contaminated(key[0])) if key[:2] in found.headlines else ""
        rows.append([key[0], key[1], temperature, *scores, *differences, n, contamination])
    return rows


def _pairs(row: Difference) -> str:
    """Pairs, how they hang together, and those that are left out since a side has no verdict."""
    clustered = "" if row.clusters is None else f", {told(row.clustered_by, row.clusters)}"
    return f"{row.n}{clustered}" + (f" ({row.unjudged} left out, not judged)" if row.unjudged else "")


def _difference(row: Difference | None, *, share: bool) -> list[str]:
    """Of one side to the first: mean, interval, p-value, questions that changed, and what so many would find."""
    from aftertrain.api.comparison import detects

    if row is None:
        return [""] * 5
    mean, low, high = (score_text(value, share=share, signed=True) for value in (row.mean, row.low, row.high))
    p = "" if row.adjusted is None else "< 0.001" if row.adjusted < 0.001 else f"{row.adjusted:.3f}"
    shown = f"({p})" if p and row.p_holm is None else p
    least = detects(row) if share else None
    finds = "" if not share else "none" if least is None else score_text(least, share=True)
    return [mean, f"{low} to {high}", shown, f"{row.better}, {row.worse}", finds]

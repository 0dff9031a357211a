"""`aftertrain plan MODEL TASK…`: what an evaluation would cost, and what it could show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from aftertrain.cli.evaluate import split_tasks
from aftertrain.cli.table import echo_safely, echo_table

if TYPE_CHECKING:
    from aftertrain.api.power import EvaluationPlan, PlannedRow
    from aftertrain.api.rates import Rate

LARGE = 10**9
"""Bytes of saved outputs from which on a plan tells them."""
NOT_MEASURED = "no evaluation of this model under runs/ has measured one"
NONE = "none"
"""In place of a difference: that no number of wins among these questions is enough."""


def echo_evaluation_plan(
    model: str,
    words: Sequence[str],
    settings: dict[str, Any],
    stage: Sequence[str],
    *,
    chat_template: str | None,
    earlier: tuple[str, ...],
    detect: str | None,
    rate: str | None,
) -> None:
    """Print the plan as a table; exits with 1 when no task could be run."""
    from aftertrain.api.evaluation import STAGE
    from aftertrain.api.power import plan_evaluation

    names, overrides = split_tasks(words)
    overrides += [f"stages.{STAGE}.{text}" for text in stage]
    found = plan_evaluation(
        model,
        names,
        settings,
        overrides,
        chat_template=chat_template,
        earlier=earlier,
        difference=None if detect is None else points(detect),
        rate=None if rate is None else stated_rate(rate),
    )
    shares = list(dict.fromkeys(share for row in found.rows for share in row.detects if row.earlier is None))
    detects = [f"at d = {share:g}" for share in shares] or []
    measured = any(row.earlier for row in found.rows)
    header = ["task", "n", "prompt tokens", "reply tokens, at most", "minutes, about", *detects]
    header += ["cost, at most"] * any(row.cost for row in found.rows)
    header += ["measured d"] * measured + [f"n for {detect}"] * (detect is not None)
    echo_table([_cells(row, shares, found, measured=measured) for row in found.rows if row.n], header)
    for row in found.rows:
        for words_, mark in ((row.missing, "missing"), (row.notes, "note")):
            for text in words_:
                echo_safely(f"{row.name}: {mark}: {text}")
    _echo_sums(found, earlier=bool(earlier))
    if not found.ready:
        click.get_current_context().exit(1)


def _cells(row: PlannedRow, shares: Sequence[float], plan: EvaluationPlan, *, measured: bool) -> list[str]:
    cells = [row.name, f"{row.n:,}" + (f" of {row.of:,}" if row.n < row.of else ""), _prompts(row)]
    cells += [f"{row.reply_tokens:,}" if row.reply_tokens else "", "" if row.minutes is None else _minutes(row.minutes)]
    cells += [_points(row.detects[share]) if share in row.detects and row.earlier is None else "" for share in shares]
    if any(other.cost for other in plan.rows):
        cells.append(f"{row.cost:.4g}")
    if measured:
        e = row.earlier
        effect = 1.0 if row.clustering is None else row.clustering.effect
        clusters = f", {effect:.1f}× for clusters" if 1 < effect < math.inf else ""
        cells.append("" if e is None else f"{_points(row.detects[e.discordant])} at d = {e.discordant:.2g}{clusters}")
    if plan.difference is not None:
        more = "" if row.needed is None or row.needed <= row.of else f", more than the {row.of:,} there are"
        cells.append(NONE if row.needed is None else f"{row.needed:,}{more}")
    return cells


def _prompts(row: PlannedRow) -> str:
    return f"{row.characters:,} characters" if row.characters else f"{row.prompt_tokens:,}"


def _echo_sums(plan: EvaluationPlan, *, earlier: bool) -> None:
    ready = plan.ready
    prompts, replies = sum(row.prompt_tokens for row in ready), sum(row.reply_tokens for row in ready)
    known = plan.rate is not None and all(row.minutes is not None for row in ready)
    time = f", about {_minutes(sum(row.minutes or 0 for row in ready))} minutes" if known else ""
    tokens = f"{prompts:,} tokens of prompts, {replies:,} of replies"
    echo_safely(f"{len(ready)} of {len(plan.rows)} tasks can be run: {tokens}{time}")
    if any(row.characters for row in ready):
        echo_safely("tokens of an endpoint's prompts are counted where generator.tokenizer names its tokenizer")
    if plan.rate is None:
        echo_safely(
            f"minutes need a rate: {'the runs of --from tell none' if earlier else NOT_MEASURED}; --rate READ/WRITE "
            "tokens a second states it, --from takes that of another model's"
        )
    else:
        written = "replies not measured" if plan.rate.write is None else f"{plan.rate.write:,.0f} written"
        echo_safely(f"{plan.rate.read:,.0f} tokens/s read, {written}: {plan.rate.source}")
    saved = sum(row.saved for row in ready)
    if saved > plan.free:
        click.secho(f"saved outputs take up to {_size(saved)}, and {_size(plan.free)} are free", fg="yellow")
    elif saved > LARGE:
        echo_safely(f"saved outputs take up to {_size(saved)} of {_size(plan.free)} that are free")
    clustered = ", or by the clustered one" if any(row.clustering for row in plan.rows) else ""
    echo_safely(
        f"a difference is found with power 80 % by McNemar's test at 5 %{clustered}; d is the share of questions that "
        "one model answers and the other does not"
    )
    needed = [row.needed for row in ready if row.needed is not None]
    if needed:
        few = [row.name for row in ready if row.needed is not None and row.needed > row.of]
        lacking = f"; {', '.join(few)} {'has' if len(few) == 1 else 'have'} fewer" if few else ""
        echo_safely(f"--limit {max(needed)} asks for enough{lacking}")


def points(text: str) -> float:
    """A difference in points.

    >>> points("2pt"), points("1.5"), points("3 %")
    (0.02, 0.015, 0.03)

    Raises:
        UsageError: it is none.
    """
    number = text.strip().removesuffix("pt").removesuffix("%").strip()
    try:
        value = float(number) / 100
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise click.UsageError(f"--detect {text!r}: a difference is given in points, as in 2pt")
    return value


def stated_rate(text: str) -> Rate:
    """`READ/WRITE` tokens a second.

    Raises:
        UsageError: it is none.
    """
    from aftertrain.api.rates import Rate

    read, _, write = text.partition("/")
    try:
        speeds = float(read), float(write or read)
    except ValueError:
        speeds = (0.0, 0.0)
    if min(speeds) <= 0:
        raise click.UsageError(f"--rate {text!r}: tokens a second are given as READ/WRITE, as in 20000/900")
    return Rate(*speeds, "as stated")


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"


def _points(difference: float | None) -> str:
    return NONE if difference is None else f"{100 * difference:.1f} pt"


def _minutes(minutes: float) -> str:
    return f"{minutes:,.0f}" if minutes >= 10 else f"{minutes:.2g}"

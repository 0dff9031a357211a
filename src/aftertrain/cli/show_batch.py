"""`aftertrain show-batch`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from aftertrain.core.batch import PackedBatch

ROLES = {1: "chosen", 2: "rejected", 3: "probe"}
OPEN, CLOSE = "⟦", "⟧"
"""Stand around targets where there are no colours."""


@click.command("show-batch")
@click.argument("recipe")
@click.argument("stage_and_overrides", nargs=-1, metavar="[STAGE] [PATH=VALUE]...")
@click.option("--step", default=1, show_default=True, metavar="N", help="Optimizer step, counted from 1.")
@click.option("--segments", default=8, show_default=True, metavar="N", help="Segments to show; 0 shows all.")
@click.option("--ids", is_flag=True, help="One token a line, with its id.")
@click.option("--color/--no-color", default=None, help="Colours, or marks around targets; by default as the output is.")
def show_batch(  # noqa: PLR0917  click hands over options by name
    recipe: str, stage_and_overrides: tuple[str, ...], step: int, segments: int, ids: bool, color: bool | None
) -> None:
    """Show what a step of RECIPE trains on: the tokens of its micro-batches, segment by segment. Loads no weights.

    Tokens that are learnt are bold and green, those that are only context dim; without colours the learnt ones stand
    in ⟦ ⟧. STAGE is the first training stage unless it is named.
    """
    from aftertrain.api_batches import step_batches

    names = [word for word in stage_and_overrides if "=" not in word]
    if len(names) > 1:
        raise click.UsageError(f"one STAGE at a time, not {', '.join(names)}")
    overrides = [word for word in stage_and_overrides if "=" in word]
    found = step_batches(recipe, names[0] if names else None, overrides, step=step)
    coloured = sys.stdout.isatty() if color is None else color
    every = [(micro, batch, place) for micro, batch in enumerate(found.batches, 1) for place in range(batch.n_segments)]
    click.secho(f"{found.stage}, step {step}: {summary(found.batches)}", bold=coloured, color=coloured)
    shown = every if segments == 0 else every[:segments]
    places = found.where([batch.sample_ids[place] for _, batch, place in shown])
    for micro, batch, place in shown:
        if place == 0:
            head = f"\nmicro-batch {micro} of {len(found.batches)}: {counted(batch.n_tokens, 'token')} in "
            click.secho(f"{head}{counted(batch.n_segments, 'segment')}, no padding", bold=coloured, color=coloured)
        for line in segment_lines(found.tokenizer, batch, place, places, ids=ids, coloured=coloured):
            click.echo(line, color=coloured)
    if len(shown) < len(every):
        click.echo(f"\n… and {counted(len(every) - len(shown), 'more segment')} (--segments 0 shows all)")


def summary(batches: Any) -> str:
    """Segments, tokens and targets of a step."""
    segments, tokens = sum(b.n_segments for b in batches), sum(b.n_tokens for b in batches)
    targets = sum(int(b.targets.sum()) for b in batches)
    return (
        f"{counted(segments, 'segment')}, {counted(tokens, 'token')}, {targets:,} of them learnt "
        f"({targets / tokens:.1%}), in {counted(len(batches), 'micro-batch', 'es')}"
    )


def counted(count: int, noun: str, plural: str = "s") -> str:
    """A count with its noun.

    >>> counted(1, "token"), counted(1200, "token")
    ('1 token', '1,200 tokens')
    """
    return f"{count:,} {noun}{'' if count == 1 else plural}"


def segment_lines(
    tokenizer: Any, batch: PackedBatch, place: int, places: Mapping[str, str], *, ids: bool, coloured: bool
) -> Iterator[str]:
    """A segment: a heading, then its text or its tokens."""
    start = sum(batch.lengths[:place])
    tokens = batch.token_ids[start : start + batch.lengths[place]].tolist()
    learnt = batch.loss_mask[start : start + batch.lengths[place]].tolist()
    role = ROLES.get(int(batch.segments["role"][place]))
    name = batch.sample_ids[place]
    words = [
        name,
        *([role] if role else []),
        f"source {batch.sources[place]}",
    ]
    heading = f"── {visible(' · '.join(words))} · {len(tokens):,} tokens, {sum(learnt):,} learnt "
    if name in places:
        heading += f"· {visible(places[name])} "
    yield click.style(f"{heading:─<78}", fg="cyan") if coloured else f"{heading:─<78}"
    if ids:
        for position, (token, target) in enumerate(zip(tokens, learnt, strict=True)):
            text = visible(repr(tokenizer.decode([token])))
            line = f"{position:>6}  {token:>7}  {'learnt ' if target else 'context'}  {text}"
            yield styled(line, target) if coloured else line
        return
    text = ""
    for target, run in groupby(zip(tokens, learnt, strict=True), key=lambda pair: pair[1]):
        part = visible(tokenizer.decode([token for token, _ in run]))
        text += styled(part, target) if coloured else f"{OPEN}{part}{CLOSE}" if target else part
    yield text


def styled(text: str, target: bool) -> str:
    """Bold and green what is learnt, dim what is context; each line by itself, for pagers."""
    style = {"fg": "green", "bold": True} if target else {"dim": True}
    return "\n".join(click.style(line, **style) if line else line for line in text.split("\n"))


def visible(text: str) -> str:
    """Control characters other than line breaks and tabs as escapes: data must not steer the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)

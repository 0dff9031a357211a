"""Batches, rows, prompts and samples as text for a terminal, for `aftertrain show`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from aftertrain.core.ground.wording import counted

if TYPE_CHECKING:
    from aftertrain.api.batches import StepBatches
    from aftertrain.api.stages import Shown
    from aftertrain.core.batch import PackedBatch

SINGLE, PROBE = 0, 3
ROLES = {1: "chosen", 2: "rejected", PROBE: "probe, for the KL estimate only, not learnt"}
"""Values of a batch's segment column `role` (`core.batch`, which is imported with torch)."""
OPEN, CLOSE = "⟦", "⟧"
"""Stand around targets where there are no colours."""


def echo_batches(step: StepBatches, most: int, *, ids: bool, coloured: bool) -> None:
    """Print the micro-batches of a step, segment by segment.

    Args:
        most: segments to show; 0 shows all.
    """
    every = [(micro, batch, place) for micro, batch in enumerate(step.batches, 1) for place in range(batch.n_segments)]
    click.secho(f"{step.stage}, step {step.step}: {summary(step.batches)}", bold=coloured, color=coloured)
    shown, hidden = (every, []) if most == 0 else (every[:most], every[most:])
    labels = labelled(step.batches)
    places = step.where([batch.sample_ids[place] for _, batch, place in shown if not is_probe(batch, place)])
    for micro, batch, place in shown:
        if place == 0:
            head = f"\nmicro-batch {micro} of {len(step.batches)}: {contents(batch)}, no padding"
            click.secho(head, bold=coloured, color=coloured)
        for line in segment_lines(step.tokenizer, batch, place, places, ids=ids, coloured=coloured, labels=labels):
            click.echo(line, color=coloured)
    if hidden:
        probes = sum(is_probe(batch, place) for _, batch, place in hidden)
        more = counted(len(hidden) - probes, "more segment") + (f" and {counted(probes, 'probe')}" if probes else "")
        click.echo(f"\n… and {more} (-n 0 shows all)")


def echo_shown(things: Iterable[Shown]) -> None:
    """Print rows, prompts or samples: a heading each, then its parts; control characters as escapes."""
    for thing in things:
        click.secho(f"{f'── {visible(thing.name)} ':─<78}", fg="cyan")
        for name, text in thing.parts:
            if name:
                click.secho(f"{visible(name)}: ", dim=True, nl=False)
            click.echo(visible(text))


def summary(batches: Sequence[PackedBatch]) -> str:
    """Segments, tokens and targets of a step; its probes beside them."""
    learnt = [batch.select(batch.segments["role"] != PROBE) for batch in batches]
    segments, tokens = sum(b.n_segments for b in learnt), sum(b.n_tokens for b in learnt)
    targets = sum(int(b.targets.sum()) for b in learnt)
    probes = sum(b.n_segments for b in batches) - segments
    return (
        f"{counted(segments, 'segment')}, {counted(tokens, 'token')}, {targets:,} of them learnt "
        f"({targets / tokens:.1%}), in {counted(len(batches), 'micro-batch', 'micro-batches')}"
        + (f", beside {counted(probes, 'probe')}" if probes else "")
    )


def contents(batch: PackedBatch) -> str:
    """Tokens and segments of a micro-batch; those of its probes beside them."""
    parts = [
        f"{counted(part.n_tokens, 'token')} in {counted(part.n_segments, noun)}"
        for noun, part in (
            ("segment", batch.select(batch.segments["role"] != PROBE)),
            ("probe", batch.select(batch.segments["role"] == PROBE)),
        )
        if part.n_segments
    ]
    return ", beside ".join(parts)


def is_probe(batch: PackedBatch, place: int) -> bool:
    """Whether a segment is there for statistics alone."""
    return int(batch.segments["role"][place]) == PROBE


def labelled(batches: Sequence[PackedBatch]) -> bool:
    """Whether a step's replies are learnt by their labels: one of them has a label, or there are probes for them."""
    return any(
        bool((batch.segments["role"] == PROBE).any())
        or bool((batch.segments["label"][batch.segments["role"] == SINGLE] > 0).any())
        for batch in batches
    )


def segment_lines(
    tokenizer: Any,
    batch: PackedBatch,
    place: int,
    places: Mapping[str, str],
    *,
    ids: bool,
    coloured: bool,
    labels: bool = False,
) -> Iterator[str]:
    """A segment: a heading, with the label where `labels` says that single replies have one, then text or tokens.

    All of a probe is context.
    """
    start = sum(batch.lengths[:place])
    tokens = batch.token_ids[start : start + batch.lengths[place]].tolist()
    probe, role = is_probe(batch, place), int(batch.segments["role"][place])
    learnt = [target and not probe for target in batch.loss_mask[start : start + batch.lengths[place]].tolist()]
    name, words = batch.sample_ids[place], []
    if role == SINGLE and labels:
        words = ["desirable" if batch.segments["label"][place] > 0 else "undesirable"]
    elif role in ROLES:
        words = [ROLES[role]]
    heading = f"── {visible(' · '.join([name, *words, f'source {batch.sources[place]}']))} · {len(tokens):,} tokens"
    heading += " " if probe else f", {sum(learnt):,} learnt "
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

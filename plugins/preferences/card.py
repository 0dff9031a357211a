"""What the data card beside the shards says of models, ratings, pairs and biases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from aftertrain.core.rows.shelf import cell, table


def told(output: str, figures: Mapping[str, Any]) -> Iterator[str]:
    """Lines of Markdown.

    Args:
        output: `pairs`, `best` or `rows`.
        figures: as the artifact's details hold them.
    """
    yield from table("Prompts", figures["prompts"], "prompts")
    yield "## Models"
    yield ""
    yield "| model | policy | replies | rated | mean rating | ended as |"
    yield "|---|---|---|---|---|---|"
    for name, model in figures["models"].items():
        ends = ", ".join(f"{state} {count:,}" for state, count in model["replies"].items())
        total = sum(model["replies"].values())
        mean = _number(model["mean_rating"])
        yield f"| {cell(name)} | {model['policy']} | {total:,} | {model['rated']:,} | {mean} | {cell(ends)} |"
    yield ""
    yield "Replies by rating: " + ", ".join(f"{rating}: {count:,}" for rating, count in figures["ratings"].items())
    yield ""
    if output == "pairs":
        yield from _pairs(figures["pairs"])
    yield "## Biases"
    yield ""
    yield f"- Length: within prompts, rating and length correlate by {_number(figures['length_correlation'])}."
    if output == "pairs":
        pairs = figures["pairs"]
        yield (
            f"- The chosen reply is the longer one in {_share(pairs['chosen_longer'])} of pairs (the same length "
            f"counts half), by {_number(pairs['chosen_extra_characters'])} characters on average."
        )
        yield (
            f"- The chosen reply stands before the rejected one, in the order of models and samples, in "
            f"{_share(pairs['chosen_first'])} of pairs."
        )
    order = figures["order"]
    if order is None:
        yield "- Place: each reply was rated by itself, so that there is no place to favour."
    else:
        yield (
            f"- Place: of {order['comparisons']:,} comparisons in both orders the judge preferred what it was shown "
            f"first, whichever it was, in {_share(order['first'])}, what it was shown second in "
            f"{_share(order['second'])}."
        )
    yield ""


def _pairs(pairs: Mapping[str, Any]) -> Iterator[str]:
    yield "## Pairs"
    yield ""
    yield f"- Mean margin {_number(pairs['margin'])}; mean strength (F20) {_number(pairs['strength'])}"
    if pairs["strength_undefined"]:
        yield f"- Strength is undefined, for the higher rating is not above 0, of {pairs['strength_undefined']:,} pairs"
    yield (
        f"- Mixture quality (F21) {_number(pairs['mixture_quality'])}, of diversity {_number(pairs['diversity'])} and "
        f"quality {_number(pairs['quality'])}"
    )
    yield ""


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3g}"


def _share(value: float | None) -> str:
    return "no share" if value is None else f"{100 * value:.1f} %"

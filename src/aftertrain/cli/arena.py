"""`aftertrain arena`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aftertrain.cli.table import echo_safely, echo_table, interval_text, score_text

if TYPE_CHECKING:
    from aftertrain.api.arena import Arena
    from aftertrain.core.arena import Duel


@click.command()
@click.argument("words", metavar="RUN[:STAGE] RUN[:STAGE]... [SETTING=VALUE]...", nargs=-1, required=True)
@click.option("--judge", required=True, metavar="VERIFIER", help="A judge of pairs: pairwise, or one of your own.")
@click.option("--task", "tasks", multiple=True, help="Only this task's replies; repeatable.")
@click.option("--limit", type=click.IntRange(1), help="A fixed random subset of so many prompts.")
@click.option("--json", "facts", type=click.Path(path_type=Path), help="Write what was found, for machines.")
def arena(words: tuple[str, ...], judge: str, tasks: tuple[str, ...], limit: int | None, facts: Path | None) -> None:
    """Have a judge compare the saved replies of finished evaluations, two and two, in both orders.

    Settings of the judge stand behind the runs: aftertrain arena quickstart:sft-eval quickstart:dpo-eval --judge
    pairwise model=./my-judge. S is the mean of wins less losses, from -100 to 100; position is the share of prompts on
    which the judge preferred the same place both times, whichever reply stood there.
    """
    sides = [word for word in words if "=" not in word]
    if len(sides) < 2:
        raise click.UsageError("arena needs at least two evaluations, as RUN:STAGE each")
    from aftertrain.api.arena import arena as compare

    found = compare(*sides, judge=judge, settings=[word for word in words if "=" in word], tasks=tasks, limit=limit)
    names = {side: f"{chr(ord('A') + number)}" for number, side in enumerate(found.sides)}
    for side, name in names.items():
        echo_safely(f"{name}  {side}")
    header = ("pair", "S", "95 %", "wins", "losses", "ties", "not judged", "position", "p", "n")
    echo_table(_duels(found, names), header)
    echo_table(
        [
            [
                names[side],
                score_text(strength.mean, share=False, signed=True),
                interval_text(strength.low, strength.high, share=False, signed=True),
                str(strength.n),
            ]
            for side, strength in sorted(found.strengths.items(), key=lambda entry: -entry[1].mean)
        ],
        ("model", "strength", "95 %", "prompts"),
    )
    for why, count in found.errors[:3]:
        echo_safely(f"not judged {count}: {why}")
    if facts is not None:
        facts.write_text(json.dumps(_plain(found), indent=2) + "\n", encoding="utf-8")


def _duels(found: Arena, names: dict[str, str]) -> list[list[str]]:
    rows = []
    for (first, second), duel in found.duels.items():
        open_ = ""
        if duel.unjudged:
            open_ = f": {interval_text(duel.lowest, duel.highest, share=True, signed=True)}"
        rows.append(
            [
                f"{names[first]} - {names[second]}",
                score_text(duel.score.mean, share=True, signed=True),
                interval_text(duel.score.low, duel.score.high, share=True, signed=True),
                str(duel.wins),
                str(duel.losses),
                str(duel.ties),
                f"{duel.unjudged}{open_}",
                _position(duel),
                f"{duel.p:.3f}",
                str(duel.score.n),
            ]
        )
    return rows


def _position(duel: Duel) -> str:
    share = score_text(duel.position_bias, share=True)
    return f"{share} ({duel.follows_first} first, {duel.follows_second} second)"


def _plain(found: Arena) -> dict[str, object]:
    return {
        "judge": found.judge,
        "sides": list(found.sides),
        "pairs": [
            {"first": first, "second": second, **asdict(duel), "position_bias": duel.position_bias}
            for (first, second), duel in found.duels.items()
        ],
        "strengths": {side: asdict(strength) for side, strength in found.strengths.items()},
        "errors": [{"why": why, "count": count} for why, count in found.errors],
    }

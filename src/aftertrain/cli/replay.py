"""`aftertrain replay`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from aftertrain.cli.table import echo_safely, echo_table

if TYPE_CHECKING:
    from aftertrain.api.replay import ReplayedStage

SHOWN = 20
CLOCKS = frozenset({"seconds", "tokens_per_second"})


@click.command()
@click.argument("run", metavar="RUN[:STAGE]")
@click.argument("settings", nargs=-1, metavar="[stages.STAGE.SETTING=VALUE]...")
@click.option("--step", type=click.IntRange(min=1), required=True, help="The step to make again, counted from 1.")
@click.option("--all", "every", is_flag=True, help=f"List every reply, not the {SHOWN} that differ most.")
def replay(run: str, settings: tuple[str, ...], step: int, every: bool) -> None:
    """Make a recorded step of RUN's online stage again, bit for bit, or by other settings beside.

    Nothing is generated or judged: the step's replies and rewards are those that were recorded. It goes from the newest
    checkpoint before the step, or from the stage's start, through the rollouts between. With settings, the step is also
    made by these, from the same weights: aftertrain replay math-run --step 40 stages.rlvr.loss.use=gspo. The run stays
    as it is. Exits 1 where, without settings, the bits are not those that were recorded.
    """
    from aftertrain.api.replay import replay as replay_step

    stage = replay_step(run, step, settings)
    done = stage.replayed
    from_ = f"the checkpoint of step {done.start}" if done.start else "the stage's start"
    click.secho(f"{stage.name}, step {done.step}, from {from_}", bold=True)
    if stage.same:
        echo_safely("every token column is what was recorded, bit for bit: " + ", ".join(sorted(done.columns)))
    else:
        for name, apart in sorted(done.columns.items()):
            echo_safely(
                f"{name} differs by {apart:.3g} at most from what was recorded" if apart else f"{name}: the same"
            )
    _tell_figures(stage)
    if done.otherwise is not None:
        _tell_replies(stage, None if every else SHOWN)
    if not stage.same and done.otherwise is None:
        raise SystemExit(1)


def _tell_figures(stage: ReplayedStage) -> None:
    done = stage.replayed
    otherwise = done.otherwise or {}
    rows = []
    for name in sorted({*done.now, *otherwise} - CLOCKS):
        values = [stage.recorded.get(name), done.now.get(name)]
        values += [otherwise.get(name)] if done.otherwise is not None else []
        if done.otherwise is not None or values[0] != values[1]:
            rows.append([name, *("" if value is None else f"{value:.6g}" for value in values)])
    if rows:
        heads = ("figure", "recorded", "now", *(("by these settings",) if done.otherwise is not None else ()))
        echo_table(rows, heads)
    if done.cosine is not None:
        echo_safely(f"the two updates of the weights have the cosine {done.cosine:.4f}")


def _tell_replies(stage: ReplayedStage, limit: int | None) -> None:
    ranked = sorted(
        stage.replayed.replies, key=lambda reply: (-abs((reply.otherwise or 0.0) - (reply.advantage or 0.0)), reply.id)
    )
    rows = [
        [
            reply.id,
            f"{reply.reward:g}",
            *("" if value is None else f"{value:.4g}" for value in (reply.advantage, reply.otherwise)),
            str(reply.clipped),
            str(reply.clipped_otherwise),
        ]
        for reply in ranked[:limit]
    ]
    echo_table(rows, ("reply", "reward", "advantage", "by these settings", "clipped tokens", "by these settings"))
    if limit is not None and len(ranked) > limit:
        echo_safely(f"… and {len(ranked) - limit:,} more; --all lists them")

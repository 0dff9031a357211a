"""`aftertrain contamination`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from aftertrain.cli.table import echo_safely, echo_table
from aftertrain.core.ground.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aftertrain.api.contamination import Contamination
    from aftertrain.core.overlap.findings import EvaluationFinding
    from aftertrain.core.overlap.grid import GridPoint

SHOWN = 5
FILE = click.Path(path_type=Path)


@click.command()
@click.argument("train", metavar="TRAIN...", nargs=-1, required=True, type=FILE)
@click.option("--against", multiple=True, metavar="SUITE|TASK|FILE", help="Evaluation set; repeatable.")
@click.option("--out", type=FILE, metavar="FLAGGED", help="Write a JSON line per flagged training row.")
@click.option("--html", type=FILE, metavar="FILE", help="Write each hit side by side as a page.")
@click.option("--certificate", type=FILE, metavar="FILE", help="Write hashes and results as JSON.")
@click.option("--rule", default="tulu3", show_default=True, help="tulu3, as published, or robust.")
@click.option("--n", type=click.IntRange(1, 64), help="Tokens of an n-gram; the rules have 8.")
@click.option("--threshold", type=click.FloatRange(0, 1, max_open=True), help="Share of an item; the rules have 0.5.")
@click.option("--sizes", metavar="N,N...", default="", help="Further lengths of n-grams for ConTAM's C(s) and C(D).")
@click.option("--data", type=click.Path(), help="Of a task or suite: folder of benchmarks in the hub's columns.")
@click.option("--column", "columns", multiple=True, help="Of a FILE: column that asks; several are texts of one item.")
@click.option(
    "--scores", metavar="RUN[:STAGE]", help="A finished evaluation: what n and threshold take from its scores."
)
@click.option("--planted", type=click.IntRange(0), default=50, show_default=True, help="Copies planted by each edit.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of what is planted.")
def contamination(  # noqa: PLR0917  click hands over options by name
    train: tuple[Path, ...],
    against: tuple[str, ...],
    out: Path | None,
    html: Path | None,
    certificate: Path | None,
    rule: str,
    n: int | None,
    threshold: float | None,
    sizes: str,
    data: str | None,
    columns: tuple[str, ...],
    scores: str | None,
    planted: int,
    seed: int,
) -> None:
    """Look for evaluation items in training files.

    \b
    aftertrain contamination train.jsonl --against gsm8k --data DIR --out flagged.jsonl
    aftertrain contamination *.parquet --against tulu3-dev --rule robust --certificate certificate.json
    aftertrain contamination train.jsonl.gz --against eval_prompts.jsonl --out flagged.jsonl --html hits.html

    TRAIN is JSON lines, a JSON list, parquet or a folder of it, CSV (user turns are compared, or a column such as
    prompt or text), or a .txt with a row a line. FILE is the same with an evaluation item a row.

    An item is found where more than half of its tokens stand in 8-grams that one training row has, too; a source is
    contaminated where more than 2 % of an evaluation's testable items are found in it. Items of fewer tokens than an
    8-gram are not testable: their share is told, and they are looked for as a whole; more than 2 % of them as a whole
    contaminate a source, too. Where a source is contaminated the exit status is 1.

    C(s) is the share of an item that n-grams of all rows together cover, as a mean over the items that have n tokens
    (their number stands beside where it is not all), and C(D) that of all tokens of the evaluation; of several lengths
    the largest stand beside. With --scores the questions of a finished evaluation are looked for, and for each n and
    threshold stands what the score would lose without the questions above it.

    Copies of items are planted in a scratch copy, edited as people edit them, and the share of them that was found is
    told: what the rule would miss in these data.
    """
    from aftertrain.api.contamination import check_contamination
    from aftertrain.core.ground.cleaning import json_text

    if not against and scores is None:
        raise click.UsageError("name what is looked for: --against SUITE, TASK or FILE, or --scores RUN:STAGE")
    found = check_contamination(
        train,
        against,
        rule=rule,
        n=n,
        threshold=threshold,
        sizes=_numbers(sizes),
        data=data,
        columns=columns,
        out=out,
        html=html,
        scores=scores,
        planted=planted,
        seed=seed,
    )
    _echo(found)
    if certificate is not None:
        from aftertrain.core.rows.files import write_text

        write_text(certificate, json_text(found.certificate, indent=1) + "\n")
    if found.contaminated:
        raise click.exceptions.Exit(1)


def _numbers(text: str) -> tuple[int, ...]:
    numbers = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() and 0 < int(part) <= 64 for part in numbers):
        raise click.UsageError(f"--sizes: numbers from 1 to 64 with commas between them are needed, found {text!r}")
    return tuple(map(int, numbers))


def _echo(found: Contamination) -> None:
    rule = found.rule
    rows, flagged = sum(found.rows.values()), sum(found.flagged.values())
    letters = sum(found.letters.values())
    echo_safely(
        f"{counted(rows, 'training row')}, {letters / 1e6:,.1f} million characters; rule {rule.name}: {rule.n}-grams, "
        f"an item is found above {rule.threshold:.0%}, a source contaminated above {rule.source_threshold:.0%}"
    )
    echo_safely(f"flagged: {counted(flagged, 'row')}")
    sizes = sorted({n for finding in found.evaluations for n in finding.covered})
    contam = [*(f"C(s), C(D) {n}-grams" for n in sizes), *(["largest"] if len(sizes) > 1 else [])]
    header = ("evaluation", "source", "items", "not testable", "found", "share", "as a whole", *contam, "")
    echo_table([line for finding in found.evaluations for line in _lines(finding, found, sizes)], header)
    for task, reason in found.missing.items():
        echo_safely(f"not looked for: {task}: {reason}")
    if found.broken:
        echo_safely(f"{counted(len(found.broken), 'row')} could not be read, and nothing is known of them:")
        for where, reason in found.broken[:SHOWN]:
            echo_safely(f"  {where}: {reason}")
    for task, points in found.grids.items():
        click.secho(f"{task}: score without the questions whose C(s) is above a threshold (F4)", bold=True)
        shown = [_point(point) for point in points if point.n_contaminated]
        echo_table(shown, ("n", "above", "questions", "score", "without", "gain", "95 %", ""))
    if found.recall:
        click.secho("recall of planted copies", bold=True)
        echo_table(
            [
                [
                    edit.edit,
                    f"{edit.found} of {edit.planted}",
                    f"{edit.interval.mean:.1%}",
                    f"{edit.interval.low:.1%} to {edit.interval.high:.1%}",
                ]
                for edit in found.recall
            ],
            ("edit", "found", "recall", "95 %"),
        )


def _point(point: GridPoint) -> list[str]:
    gain, interval = "", "fewer than two questions on a side"
    if point.gain is not None and point.low is not None and point.high is not None:
        gain, interval = f"{point.gain:+.4f}", f"{point.low:+.4f} to {point.high:+.4f}"
    clean = "" if point.clean is None else f"{point.clean:.4f}"
    of = f"{point.n_contaminated:,} of {point.n_contaminated + point.n_clean:,}"
    word = "surest gain" if point.chosen else ""
    return [str(point.n), f"{point.threshold:.0%}", of, f"{point.score:.4f}", clean, gain, interval, word]


def _mean(share: float | None, many: int, items: int) -> str:
    """A mean C(s), with the number of items that it is made of where it is not all."""
    if share is None:
        return "not testable"
    return f"{share:.1%}" if many == items else f"{share:.1%} of {counted(many, 'item')}"


def _lines(finding: EvaluationFinding, found: Contamination, sizes: list[int]) -> Iterator[list[str]]:
    """The evaluation in all rows, then in each source where there are several."""
    verdict = "contaminated" if finding.contaminated else ""
    covered = [
        f"{_mean(finding.samples[n], finding.sampled[n], finding.items)}, {finding.covered[n]:.1%}" for n in sizes
    ]
    if len(sizes) > 1:
        largest = _mean(finding.sample, finding.sampled[sizes[0]], finding.items)
        covered.append(f"{largest}, {finding.contamination:.1%}")
    share = f"{finding.found / finding.testable:.1%}" if finding.testable else "not testable"
    items = [f"{finding.items:,}", f"{finding.untestable:.1%}"]
    yield [finding.name, "all", *items, f"{finding.found:,}", share, f"{finding.whole:,}", *covered, verdict]
    for source in finding.sources if len(found.rows) > 1 else ():
        of = "not testable" if source.share is None else f"{source.share:.1%}"
        word = "contaminated" if source.contaminated else ""
        yield ["", source.source, "", "", f"{source.found:,}", of, f"{source.whole:,}", *([""] * len(covered)), word]

"""`aftertrain evaluate`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from aftertrain.cli.table import WITHHELD, echo_safely, echo_table, interval_text, score_text
from aftertrain.core.clusters import told
from aftertrain.core.ground.wording import at_temperature, counted, identity

if TYPE_CHECKING:
    from aftertrain.core.benchmark.table import Line
    from aftertrain.core.events import Contamination, Speed

PARTS = ("clean", "contaminated")
"""Columns of the score over questions that do not stand in the training data, and over those that do."""


@click.command()
@click.argument("model")
@click.argument("tasks", nargs=-1, required=True, metavar="TASK [SETTING=VALUE]... [TASK ...]")
@click.option("--temperature", "temperatures", multiple=True, type=float, help="Score at this temperature; repeatable.")
@click.option("--limit", type=int, help="Score a fixed random subset of so many instances of each task.")
@click.option("--data", help="Folder of benchmarks in the hub's columns, for the tasks that read one.")
@click.option("--max-new-tokens", type=int, help="Cut replies after so many tokens, whatever the task says.")
@click.option(
    "--set", "stage", multiple=True, metavar="SETTING=VALUE", help="Another setting of the stage; repeatable."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of sampled replies.")
@click.option("--chat-template", help="Named chat template in place of the tokenizer's own.")
@click.option(
    "--unseal", metavar="REASON", help="Score sealed tasks, and keep with the model that it was done, and why."
)
@click.option("--nproc", type=click.IntRange(min=1), default=1, metavar="N", help="Processes that share the questions.")
@click.option(
    "--results",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the scores as lm-eval's results (.json), or as a model card's table (.md); repeatable.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of this evaluation.  [runs/evaluate-MODEL]")
def evaluate(  # noqa: PLR0917
    model: str,
    tasks: tuple[str, ...],
    temperatures: tuple[float, ...],
    limit: int | None,
    data: str | None,
    max_new_tokens: int | None,
    stage: tuple[str, ...],
    seed: int,
    chat_template: str | None,
    unseal: str | None,
    nproc: int,
    results: tuple[Path, ...],
    out: Path | None,
) -> None:
    """Score MODEL on each TASK, or suite of tasks, with 95 % intervals.

    MODEL is a Hugging Face folder or hub name, a run (its folder, or its name under runs/), whose last model is meant,
    or RUN:STAGE: aftertrain evaluate quickstart:dpo gsm8k path=test.jsonl. Or an OpenAI-compatible endpoint:
    aftertrain evaluate http://localhost:8000/v1#NAME gsm8k --set generator.key=API_KEY_VARIABLE.

    Settings follow their task: aftertrain evaluate ./model gsm8k path=test.jsonl shots=4. Replies and events stay in
    the folder of the evaluation; the same command again goes on there, or shows what is done.
    """
    from aftertrain.api.evaluation import STAGE, evaluation_run
    from aftertrain.api.finished import finished_evaluation

    if results:
        from aftertrain.api.results import check_names

        check_names(results)
    named, overrides = split_tasks(tasks)
    overrides += [f"stages.{STAGE}.{text}" for text in stage]
    options = {
        "temperatures": list(temperatures) or None,
        "limit": limit,
        "data": data,
        "max_new_tokens": max_new_tokens,
        "unseal": unseal,
    }
    settings = {key: value for key, value in options.items() if value is not None}
    folder = out or Path("runs") / f"evaluate-{_slug(model)}"
    if nproc > 1 and "RANK" not in os.environ:
        more = {"seed": seed, "chat_template": chat_template, "out": folder, "results": results}
        _launch([model, *tasks], {**settings, **more}, stage, folder, nproc)
    echo_safely(f"{model}: loading torch and the components of {counted(len(named), 'task')}")
    result = evaluation_run(
        model, named, settings, overrides, out=folder, seed=seed, chat_template=chat_template, console=True
    )
    if os.environ.get("RANK", "0") != "0":
        return
    finished = finished_evaluation(result.folder)
    echo_scores(result.scores[STAGE], finished.contamination, finished.speeds)
    for suite, lines in finished.suites().items():
        echo_suite(suite, lines)
    for file in results:
        from aftertrain.api.results import write_results

        write_results(result.folder, file)
    echo_safely(str(result.folder))


def _launch(
    words: Sequence[str], options: Mapping[str, Any], stage: Sequence[str], folder: Path, nproc: int
) -> NoReturn:
    """The same command in several processes; the first of them has the terminal."""
    from aftertrain.launch.crew import launch

    flags = [word for text in stage for word in ("--set", text)]
    flags += [word for value in options.get("temperatures", ()) for word in ("--temperature", str(value))]
    flags += [word for file in options.get("results", ()) for word in ("--results", str(file))]
    for name, value in options.items():
        flags += (
            [] if value is None or name in ("temperatures", "results") else [f"--{name.replace('_', '-')}", str(value)]
        )
    click.get_current_context().exit(launch(["evaluate", *flags, "--", *words], nproc, folder))


def split_tasks(words: Iterable[str]) -> tuple[list[str], list[str]]:
    """Task names, and overrides for the settings that follow each.

    >>> split_tasks(["gsm8k", "path=a.jsonl", "multiple_choice", "path=b.jsonl"])
    (['gsm8k', 'multiple_choice'], ['stages.evaluate.tasks.0.path=a.jsonl', 'stages.evaluate.tasks.1.path=b.jsonl'])
    """
    names: list[str] = []
    overrides: list[str] = []
    for word in words:
        if "=" not in word:
            names.append(word)
        elif names:
            overrides.append(f"stages.evaluate.tasks.{len(names) - 1}.{word}")
        else:
            raise click.UsageError(f"{word!r} stands before any task; settings follow the task they belong to")
    return names, overrides


def echo_scores(
    scores: Sequence[dict[str, Any]], contamination: Iterable[Contamination] = (), speeds: Sequence[Speed] = ()
) -> None:
    """Print scores as a table, shares in percent; of one that is withheld what it lies between.

    Only scores of one identity may be compared: it is the beginning of the task's fingerprint.

    Args:
        contamination: of the tasks, which stands beside the main figure of each.
        speeds: how fast the tasks were and what they cost, likewise.
    """
    by_task = {row.task: row for row in contamination}
    took = {(speed.task, speed.temperature): speed for speed in speeds}
    doubtful = any(score.get("unjudged") for score in scores)
    parts = any(row.contaminated for row in by_task.values())
    more = [*(["tokens/s"] if took else []), *(["cost"] if any(speed.cost for speed in speeds) else [])]
    header = ("task", "metric", "temperature", "score", "95 %", "n", *(["not judged"] if doubtful else []))
    header = (*header, *(["contamination"] if by_task else []), *(PARTS if parts else []), *more, "identity")
    rows = [
        (
            str(score["task"]),
            str(score["metric"]),
            at_temperature(score["temperature"], ""),
            WITHHELD if _withheld(score) else score_text(score["mean"], share=is_share(score)),
            "" if _withheld(score) else interval_text(score["low"], score["high"], share=is_share(score)),
            _counted(score),
            *([_doubt(score)] if doubtful else []),
            *_contaminated(score, by_task.get(str(score["task"])))[: (1 if by_task else 0) + (2 if parts else 0)],
            *_speed(took.get((score["task"], score["temperature"])) if score.get("primary") else None)[: len(more)],
            identity(str(score.get("fingerprint", ""))),
        )
        for score in scores
    ]
    echo_table(rows, header)


def _contaminated(score: Mapping[str, Any], row: Contamination | None) -> list[str]:
    """Of a task's main figure: its questions in the training data, the score without these, and on them."""
    if row is None or not score.get("primary"):
        return ["", "", ""]
    share = is_share(score)
    parts = [
        f"{score_text(part[0], share=share)}, n = {int(part[3]):,}" if part else ""
        for part in (row.clean, row.contaminated)
    ]
    return [str(row), *parts]


def echo_suite(name: str, lines: Sequence[Line]) -> None:
    """Print a suite's table: its number, then the rows that it is made of."""
    compared = any(line.reference is not None for line in lines)
    parts = any(line.contaminated is not None for line in lines)
    columns = (*(("published", "to it") if compared else ()), "contamination", *(PARTS if parts else ()))
    click.secho(f"\n{name}", bold=True)
    rows = [_suite_row(line, compared=compared, parts=parts) for line in lines]
    echo_table(rows, ("", "score", "95 %", "of", *columns, ""))
    for source, names in _sources(lines).items():
        echo_safely(f"published in {source}: {', '.join(names)}")


def _sources(lines: Sequence[Line]) -> dict[str, list[str]]:
    """Where published scores stand, and the lines that they are beside."""
    from aftertrain.core.benchmark.table import SAME_ROWS

    found: dict[str, list[str]] = {}
    for line in lines:
        if line.source and line.table != SAME_ROWS:
            found.setdefault(line.source, []).append(line.name)
    return found


def _suite_row(line: Line, *, compared: bool, parts: bool) -> list[str]:
    from aftertrain.core.benchmark.table import remarks

    def written(value: float | None) -> str:
        return "" if value is None else score_text(value, share=line.share)

    interval = "" if line.low is None else f"{written(line.low)} to {written(line.high)}"
    of = f"{line.of[0]} of {line.of[1]} rows" if line.of else line.counted
    published = [written(line.reference), line.standing or ""] if compared else []
    apart = [written(line.clean), written(line.contaminated)] if parts else []
    says = line.missing or ", ".join(filter(None, (line.task, line.metric, *remarks(line))))
    score = "missing" if line.value is None else written(line.value)
    return ["  " * line.depth + line.name, score, interval, of, *published, line.contamination, *apart, says]


def _withheld(score: Mapping[str, Any]) -> bool:
    return bool(score.get("withheld")) or score["mean"] is None


def _counted(score: Mapping[str, Any]) -> str:
    """Questions that a score is made of, of how many where some have no verdict, and how they hang together."""
    n, of, clusters = score["n"], score.get("of"), score.get("clusters")
    words = f"{n}" if of in (None, n) else f"{n} of {of}"
    return words if clusters is None else f"{words}, {told(score.get('clustered_by', ''), clusters)}"


def is_share(score: Mapping[str, Any]) -> bool:
    """Whether a score is a share, as those of earlier versions are that do not say."""
    return score.get("share") is not False


def _speed(speed: Speed | None) -> tuple[str, str]:
    """Tokens a second, read and written, and what they and judging cost."""
    if speed is None:
        return "", ""
    rate = f"{speed.recalled:,} kept" if speed.rate is None else f"{speed.rate:,.0f}"
    return rate, f"{speed.cost:.4g}" if speed.cost else ""


def _doubt(score: dict[str, Any]) -> str:
    """How many replies could not be judged, and the score if all of them were wrong, or right."""
    if not score.get("unjudged"):
        return "0"
    if score.get("lowest") is None:
        return str(score["unjudged"])
    return f"{score['unjudged']}: {interval_text(score['lowest'], score['highest'], share=is_share(score))}"


def _slug(model: str) -> str:
    parts = [part for part in model.removeprefix("package:").split("/") if part.strip(".")]
    name = "-".join(parts[-2:] if parts[-1:] == ["model"] else parts[-1:]).replace(":", "-")
    return "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in name) or "model"

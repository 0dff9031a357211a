"""Another evaluator's results as one side of a comparison, where it is proved that it asked what our run asked.

The proof is the text: a question is a pair only where the prompt in the file is the prompt that our run sent, character
by character (of a file that has conversations: the same turns, with one and the same text of a template around each).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from aftertrain.api.certificates import first_difference
from aftertrain.api.comparison import Comparison
from aftertrain.api.finished import FinishedEvaluation, finished_evaluation
from aftertrain.api.foreign import read_foreign
from aftertrain.api.inspect_logs import LOG, read_log
from aftertrain.api.layouts import Conversation, Record
from aftertrain.core.benchmark.rows import read_rows
from aftertrain.core.errors import RunError, Unavailable
from aftertrain.core.events import Difference, ScoreRow
from aftertrain.core.ground.wording import counted
from aftertrain.core.records import UNJUDGED
from aftertrain.core.stage import Flip
from aftertrain.core.statistics import mean_interval, paired_difference, paired_p

ENDS = (".jsonl", ".jsonl.gz", ".json", LOG)
PREDICTIONS, REQUESTS = "-predictions.jsonl", "-requests.jsonl"
TRIED = 100
"""Questions of a file that are looked for in other words."""
PLAIN = ("none", "")
"""Names of lm-eval's filter that filters nothing."""

Key = tuple[str, str, float | None]
Place = tuple[str, float | None, str]
"""Task, temperature and question."""


@dataclass(frozen=True)
class Side:
    """One side, by the ids of our questions.

    Attributes:
        values: of each task, metric and temperature, by question.
        replies: the reply, or the preferred choice, by task, temperature and question.
        prompts: as sent, likewise.
        choices: the continuations that were scored, likewise; empty where the model replied.
    """

    name: str
    values: Mapping[Key, Mapping[str, float]]
    replies: Mapping[Place, str]
    prompts: Mapping[Place, str]
    choices: Mapping[Place, tuple[str, ...]] = field(default_factory=dict)


def is_file(side: str | os.PathLike[str]) -> bool:
    """Whether a side is another evaluator's: a file, or a folder with lm-eval's samples."""
    path = Path(side)
    return (path.is_file() and path.name.endswith(ENDS)) or (path.is_dir() and any(path.glob("samples_*.jsonl")))


def compare_with_files(
    given: Sequence[str | os.PathLike[str]], metrics: Mapping[str, str], where: Sequence[str]
) -> Comparison:
    """See `api.comparing.compare`.

    Raises:
        RunError: no side is a run of ours, or a file's questions are not those that it asked.
    """
    runs = [finished_evaluation(side) for side in given if not is_file(side)]
    if not runs:
        raise RunError("one side must be a run of ours, RUN:STAGE, by whose questions the others are paired")
    anchor = own_side(runs[0])
    notes: list[str] = []
    sides = [
        foreign_side(Path(side), anchor, metrics, where, notes)
        if is_file(side)
        else _like(runs[0], finished_evaluation(side), notes)
        for side in given
    ]
    # By question there is the mean over questions alone, whatever the task puts first.
    headlines = frozenset(
        (row.task, row.metric.removesuffix(" (macro)")) for run in runs for row in run.scores if row.primary
    )
    scores = {}
    for key in dict.fromkeys(key for side in sides for key in side.values):
        cells = tuple(_score(key, side, headlines) for side in sides)
        if sum(cell is not None for cell in cells) > 1:
            scores[key] = cells
    base = sides[0]
    return Comparison(
        tuple(side.name for side in sides),
        scores,
        {side.name: tuple(_differences(base, side)) for side in sides[1:]},
        {side.name: tuple(_flips(base, side, headlines)) for side in sides[1:]},
        headlines,
        notes=tuple(notes),
    )


def _like(base: FinishedEvaluation, run: FinishedEvaluation, notes: list[str]) -> Side:
    """A run of ours, without the tasks that it asks otherwise than the first one does.

    Raises:
        RunError: there is no other.
    """
    prints = [{score.task: score.fingerprint for score in side.scores} for side in (base, run)]
    unlike = sorted(task for task, print_ in prints[0].items() if prints[1].get(task, print_) != print_)
    side = own_side(run)
    if not unlike:
        return side
    told = f"{run.name}: {', '.join(unlike)} differ in data, prompts, rules, limit or length from {base.name}'s"
    values = {key: found for key, found in side.values.items() if key[0] not in unlike}
    if not values:
        raise RunError(f"{told}, and there is nothing else to compare")
    notes.append(f"{told}, and are left out")
    return replace(side, values=values)


def own_side(run: FinishedEvaluation) -> Side:
    """A run's, from the outputs that it keeps: of several replies to a question the mean of those that were judged."""
    gathered: dict[Key, dict[str, list[float]]] = {}
    replies: dict[Place, str] = {}
    prompts: dict[Place, str] = {}
    choices: dict[Place, tuple[str, ...]] = {}
    texts = _choices(run)
    for _, row in read_rows(run.folder / "samples" / "instances.jsonl"):
        place = (row["task"], row["temperature"], row["id"])
        replies.setdefault(place, str(row["output"]))
        prompts[place] = str(row["prompt"])
        choices[place] = () if row["finish_reason"] else texts.get((row["task"], row["id"]), UNKNOWN)
        if row["outcome"] in UNJUDGED:
            continue  # says nothing of the reply
        for metric, value in row["metrics"].items():
            key = (row["task"], metric, row["temperature"])
            gathered.setdefault(key, {}).setdefault(row["id"], []).append(value)
    values = {key: {id_: sum(v) / len(v) for id_, v in by_id.items()} for key, by_id in gathered.items()}
    return Side(run.name, values, replies, prompts, choices)


UNKNOWN = ("",)
"""Choices of a task whose data are not here."""


def _choices(run: FinishedEvaluation) -> dict[tuple[str, str], tuple[str, ...]]:
    """The choices of each question, read from the tasks' data anew: a run keeps their likelihoods alone."""
    from aftertrain.core.benchmark.source import with_folder
    from aftertrain.core.benchmark.suite import named_tasks

    stage = run.built()
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for named in named_tasks(stage.settings.tasks):
        try:
            instances = stage.builder.build(with_folder(named.use, stage.settings.data)).instances()
        except Unavailable:
            continue
        for instance in instances:
            found[named.name, instance.id] = tuple(choice.text for choice in instance.choices)
    return found


def foreign_side(path: Path, anchor: Side, metrics: Mapping[str, str], where: Sequence[str], notes: list[str]) -> Side:
    """Another evaluator's, by our questions.

    Args:
        notes: gains how it was paired.

    Raises:
        RunError: its questions are not ours, or it has none of our metrics; says why.
    """
    values: dict[Key, dict[str, float]] = {}
    replies: dict[Place, str] = {}
    why: list[str] = []
    for file in _files(path):
        records = list(_records(file, where))
        matched = _matched(file, records, anchor, why)
        if matched is None:
            continue
        (task, temperature), pairs, note = matched
        there = list(dict.fromkeys(name for record in pairs.values() for name in record.metrics))
        ours = [metric for name, metric, temp in anchor.values if (name, temp) == (task, temperature)]
        shared = {metric: metrics.get(metric, metric) for metric in ours if metrics.get(metric, metric) in there}
        if not shared:
            why.append(
                f"{file}: has no metric of {task}, which has {', '.join(ours)}; it has {', '.join(there) or 'none'}. "
                f"Say which is which, as in --metric {ours[0]}={there[0] if there else 'NAME'}"
            )
            continue
        notes.append(f"{file.name}: {len(pairs):,} of {len(records):,} questions are those of {task}{note}")
        for mine, theirs in shared.items():
            key = (task, mine, temperature)
            judged = {id_: record.metrics[theirs] for id_, record in pairs.items() if theirs in record.metrics}
            values.setdefault(key, {}).update(judged)
            if len(judged) < len(pairs):
                lacking = counted(len(pairs) - len(judged), "question")
                notes.append(f"{file.name}: {lacking} without {theirs} left out")
        replies.update({(task, temperature, id_): "\n".join(r.replies) for id_, r in pairs.items()})
    notes += [f"left out: {reason}" for reason in why if values]
    if not values:
        raise RunError(f"{path} cannot be compared with {anchor.name}: {'; '.join(why)}")
    return Side(str(path), values, replies, {})


def _files(path: Path) -> list[Path]:
    """The newest samples of each task."""
    if path.is_file() and path.name.startswith("results_"):
        date = path.stem.removeprefix("results_")
        found = sorted(path.parent.glob(f"samples_*_{date}.jsonl"))
        if not found:
            raise RunError(
                f"{path} has means alone, and no samples_*_{date}.jsonl beside it: what is not paired by question is "
                "not compared; run lm-eval with --log_samples"
            )
        return found
    if path.is_file():
        return [path]
    newest = {file.name.rpartition("_")[0]: file for file in sorted(path.glob("samples_*.jsonl"))}
    return list(newest.values())


def _records(file: Path, where: Sequence[str]) -> Iterator[Record]:
    """Its questions; of those that several filters read, the metrics of each filter under its name."""
    if file.name.endswith(LOG):
        yield from read_log(file)
        return
    rows = read_rows(file)
    filters = list(dict.fromkeys(str(row["filter"]) for _, row in rows if "filter" in row and "resps" in row))
    chosen = [text for text in where if rows and text.partition("=")[0] in rows[0][1]]
    if len(filters) < 2 or any(text.startswith("filter=") for text in chosen):
        yield from _with_requests(file, read_foreign(file, chosen, verdicts=True).records)
        return
    by_place: dict[tuple[str, ...], Record] = {}
    for name in filters:
        for record in read_foreign(file, [*chosen, f"filter={name}"], verdicts=True).records:
            named = {m if name in PLAIN else f"{m},{name}": value for m, value in record.metrics.items()}
            before = by_place.setdefault(record.names, replace(record, metrics={}))
            by_place[record.names] = replace(before, metrics={**before.metrics, **named})
    yield from by_place.values()


def _with_requests(file: Path, records: Sequence[Record]) -> Iterator[Record]:
    """Predictions of OLMES, with what was asked from the file beside them."""
    beside = file.with_name(file.name.replace(PREDICTIONS, REQUESTS))
    if beside == file or not beside.is_file():
        yield from records
        return
    asked = {record.place: record.asked for record in read_foreign(beside).records}
    for record in records:
        yield replace(record, asked=asked.get(record.place, ()))


def _matched(
    file: Path, records: Sequence[Record], anchor: Side, why: list[str]
) -> tuple[tuple[str, float | None], dict[str, Record], str] | None:
    """The task of ours that a file asks, its questions by our ids, and a note; or the reason why there is none."""
    if not any(record.asked for record in records):
        why.append(f"{file.name} does not say what was asked")
        return None
    best: tuple[tuple[str, float | None], dict[str, Record], str] | None = None
    nearest = ""
    for cell in dict.fromkeys((task, temperature) for task, temperature, _ in anchor.prompts):
        prompts = {id_: text for (task, temp, id_), text in anchor.prompts.items() if (task, temp) == cell}
        pairs, note = _paired(prompts, records)
        pairs = {id_: record for id_, record in pairs.items() if _alike(record, anchor.choices.get((*cell, id_), ()))}
        if any(anchor.choices.get((*cell, id_)) == UNKNOWN for id_ in pairs):
            note += "; whether their choices are ours could not be seen, as the data are not here"
        if pairs and (best is None or len(pairs) > len(best[1])):
            best = cell, pairs, note
        nearest = nearest or _nearest(cell[0], prompts, records)
    if best is None:
        what = nearest or ", or scores other continuations, or replies where ours did not, or the reverse"
        why.append(f"{file.name} asks none of its questions in the same words{what}")
        return None
    cell, pairs, _ = best
    taken = {id(record) for record in pairs.values()}
    asks_other = _nearest(
        cell[0],
        {id_: text for (task, temp, id_), text in anchor.prompts.items() if (task, temp) == cell and id_ not in pairs},
        [record for record in records if id(record) not in taken],
    )
    if asks_other:
        why.append(f"{file.name} asks only {len(pairs):,} of {len(records):,} questions in the same words{asks_other}")
        return None
    return best


def _alike(record: Record, choices: Sequence[str]) -> bool:
    """Whether both replied, or scored the same continuations."""
    context = record.asked[0].context
    theirs = [asked.continuation for asked in record.asked if asked.context == context]
    if tuple(choices) == UNKNOWN:
        return None not in theirs
    return sorted(map(str, theirs)) == sorted(choices) if choices else set(theirs) == {None}


def _paired(prompts: Mapping[str, str], records: Sequence[Record]) -> tuple[dict[str, Record], str]:
    by_text: dict[str, list[str]] = {}
    for id_, text in prompts.items():
        by_text.setdefault(text, []).append(id_)
    pairs: dict[str, Record] = {}
    around: Counter[str] = Counter()
    for record in records:
        context = record.asked[0].context if record.asked else ""
        if isinstance(context, str):
            if ids := by_text.get(context):
                pairs[ids.pop(0)] = record
        else:
            for id_, text in prompts.items():
                if id_ not in pairs and (rest := _around(text, context)) is not None:
                    pairs[id_] = record
                    around[rest] += 1
                    break
    if len(around) > 1:
        return {}, ""
    rest = next(iter(around), "")
    note = f"; ours have around each {rest!r}" if rest else ""
    return pairs, note


def _around(prompt: str, talk: Conversation) -> str | None:
    """What a prompt has beside the turns of a conversation, in their order; None where it lacks one."""
    rest, place = [], 0
    for _, text in talk:
        found = prompt.find(text, place)
        if found < 0:
            return None
        rest.append(prompt[place:found])
        place = found + len(text)
    return "…".join([*rest, prompt[place:]])


def _nearest(task: str, prompts: Mapping[str, str], records: Sequence[Record]) -> str:
    """The first question of the file that is one of ours in other words, and where they differ."""
    for record in records[:TRIED]:
        texts = [text for text in record.texts if text.strip()]
        context = record.asked[0].context if record.asked else None
        if not texts or not isinstance(context, str):
            continue
        for id_, prompt in prompts.items():
            if any(text in prompt[-len(text) - 2000 :] for text in texts):
                return f": {task} {id_} and {record.where} differ at {first_difference(prompt, context)}"
    return ""


def _score(key: Key, side: Side, headlines: frozenset[tuple[str, str]]) -> ScoreRow | None:
    values = side.values.get(key)
    if not values:
        return None
    interval = mean_interval(list(values.values()))
    share = all(0 <= value <= 1 for value in values.values())
    primary = key[:2] in headlines
    return ScoreRow(*key, interval.mean, interval.low, interval.high, interval.n, primary=primary, share=share)


def _differences(base: Side, side: Side) -> Iterator[Difference]:
    for key, values in side.values.items():
        there = base.values.get(key, {})
        ids = [id_ for id_ in values if id_ in there]
        if ids:
            old, new = [there[id_] for id_ in ids], [values[id_] for id_ in ids]
            interval = paired_difference(old, new)
            better = sum(b > a for a, b in zip(old, new, strict=True))
            worse = sum(b < a for a, b in zip(old, new, strict=True))
            yield Difference(
                *key,
                against=base.name,
                mean=interval.mean,
                low=interval.low,
                high=interval.high,
                n=interval.n,
                better=better,
                worse=worse,
                p=paired_p(old, new),
            )


def _flips(base: Side, side: Side, headlines: frozenset[tuple[str, str]]) -> Iterator[Flip]:
    changed = []
    for key, values in side.values.items():
        for id_, value in values.items():
            before = base.values.get(key, {}).get(id_, value)
            if key[:2] in headlines and before != value:
                place = (key[0], key[2], id_)
                replies = base.replies.get(place, ""), side.replies.get(place, "")
                prompt = base.prompts.get(place) or side.prompts.get(place, "")
                changed.append(Flip(key[0], id_, key[2], (before, value), (None, None), prompt, replies))
    yield from sorted(changed, key=lambda flip: flip.values[1] - flip.values[0])

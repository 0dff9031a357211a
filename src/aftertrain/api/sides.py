"""One side of a comparison, a finished evaluation or another evaluator's: values, replies, prompts by question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from aftertrain.api.finished import FinishedEvaluation
from aftertrain.api.side_figures import TaskFigures, is_mean, values_of
from aftertrain.core.benchmark.rows import read_rows
from aftertrain.core.errors import RunError, Unavailable
from aftertrain.core.eval_task import Instance, InstanceScore
from aftertrain.core.events import ScoreRow
from aftertrain.core.records import UNJUDGED

Key = tuple[str, str, float | None]
Place = tuple[str, float | None, str]
"""Task, temperature and question."""
Cell = tuple[str, float | None]
"""Task and temperature."""
UNKNOWN = ("",)
"""Choices of a task whose data are not here."""


@dataclass(frozen=True)
class Side:
    """One side, by the ids of our questions.

    Attributes:
        values: of each task, metric and temperature, by question.
        replies: the reply, or the preferred choice, by task, temperature and question.
        prompts: as sent, likewise.
        choices: the continuations that were scored, likewise; empty where the model replied.
        chats: whether a prompt was rendered by the chat template.
        scored: what the outputs of each question are worth, by task and temperature; of those that were judged.
        tasks: the figures of each of our tasks.
        unjudged: questions without a verdict, or of which a reply has none.
        recorded: of a run of ours the scores that it found, which know what could not be judged.
    """

    name: str
    values: Mapping[Key, Mapping[str, float]]
    replies: Mapping[Place, str]
    prompts: Mapping[Place, str]
    choices: Mapping[Place, tuple[str, ...]] = field(default_factory=dict)
    chats: Mapping[Place, bool] = field(default_factory=dict)
    scored: Mapping[Cell, Mapping[str, Sequence[InstanceScore]]] = field(default_factory=dict)
    tasks: Mapping[str, TaskFigures] = field(default_factory=dict)
    unjudged: frozenset[Place] = frozenset()
    recorded: Mapping[Key, ScoreRow] = field(default_factory=dict)


def own_side(run: FinishedEvaluation) -> Side:
    """A run's, from the outputs that it keeps: of several replies to a question the mean of those that were judged."""
    gathered: dict[Key, dict[str, list[float]]] = {}
    replies: dict[Place, str] = {}
    prompts: dict[Place, str] = {}
    choices: dict[Place, tuple[str, ...]] = {}
    chats: dict[Place, bool] = {}
    asked, tasks = _asked(run)
    scored: dict[Cell, dict[str, list[InstanceScore]]] = {}
    unjudged: set[Place] = set()
    clusters: dict[str, dict[str, str]] = {}
    for _, row in read_rows(run.folder / "samples" / "instances.jsonl"):
        place = (row["task"], row["temperature"], row["id"])
        replies.setdefault(place, str(row["output"]))
        prompts[place] = str(row["prompt"])
        if row.get("cluster"):
            clusters.setdefault(row["task"], {})[row["id"]] = str(row["cluster"])
        instance = asked.get((row["task"], row["id"]))
        texts = UNKNOWN if instance is None else _continuations(instance)
        choices[place] = () if row["finish_reason"] else texts
        chats[place] = instance is not None and instance.chat
        if row["outcome"] in UNJUDGED:
            unjudged.add(place)
            continue  # says nothing of the reply
        score = InstanceScore(row["metrics"], row.get("extracted"), row["outcome"], parts=row.get("parts") or {})
        scored.setdefault(place[:2], {}).setdefault(row["id"], []).append(score)
        for metric, value in row["metrics"].items():
            key = (row["task"], metric, row["temperature"])
            gathered.setdefault(key, {}).setdefault(row["id"], []).append(value)
    values = {key: {id_: sum(v) / len(v) for id_, v in by_id.items()} for key, by_id in gathered.items()}
    whole = {
        cell: {id_: scores for id_, scores in of_cell.items() if (*cell, id_) not in unjudged}
        for cell, of_cell in scored.items()
    }
    for (task, temperature), of_cell in whole.items():
        for figure in filter(is_mean, tasks.get(task, TaskFigures()).figures):
            if of_figure := values_of(figure, of_cell):
                values.setdefault((task, figure.name, temperature), of_figure)
    recorded = {(row.task, row.metric, row.temperature): row for row in run.scores}
    named = {row.task: row.clustered_by for row in run.scores if row.clustered_by}
    for task, by_id in clusters.items():  # as the run recorded them: a task's data may not be here
        of = tasks.get(task, TaskFigures(clustered_by=named.get(task, "")))
        tasks[task] = replace(of, clusters={**of.clusters, **by_id})
    return Side(run.name, values, replies, prompts, choices, chats, whole, tasks, frozenset(unjudged), recorded)


def _continuations(instance: Instance) -> tuple[str, ...]:
    """The choices that continue the prompt; those by mutual information, before which nothing stands, are no others."""
    own = tuple(choice.text for choice in instance.choices if choice.context is None)
    return own or tuple(choice.text for choice in instance.choices)


def _asked(run: FinishedEvaluation) -> tuple[dict[tuple[str, str], Instance], dict[str, TaskFigures]]:
    """Each question, read from the tasks' data anew as a run keeps no choices; and the figures of the tasks."""
    from aftertrain.core.benchmark.source import with_folder
    from aftertrain.core.benchmark.suite import named_tasks

    stage = run.built()
    found: dict[tuple[str, str], Instance] = {}
    tasks: dict[str, TaskFigures] = {}
    for named in named_tasks(stage.settings.tasks):
        try:
            task = stage.builder.build(with_folder(named.use, stage.settings.data))
            instances = task.instances()
        except Unavailable:
            continue
        for instance in instances:
            found[named.name, instance.id] = instance
        groups, clusters = ({i.id: getattr(i, name) for i in instances} for name in ("group", "cluster"))
        tasks[named.name] = TaskFigures(task.figures(), groups, clusters, task.clustered_by)
    return found, tasks


def like_side(base: FinishedEvaluation, run: FinishedEvaluation, notes: list[str]) -> Side:
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
    return replace(
        side,
        values=values,
        tasks={task: of for task, of in side.tasks.items() if task not in unlike},
        scored={cell: of for cell, of in side.scored.items() if cell[0] not in unlike},
        unjudged=frozenset(place for place in side.unjudged if place[0] not in unlike),
        recorded={key: row for key, row in side.recorded.items() if key[0] not in unlike},
    )

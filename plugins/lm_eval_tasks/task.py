"""Tasks, groups and tags of lm-eval on our runner: asked, filtered, scored and aggregated by lm-eval's own code."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import groupby
from typing import Any, Self

from aftertrain.core.benchmark.rows import digest
from aftertrain.core.errors import DataError, nearest
from aftertrain.core.eval_task import (
    ChoiceScores,
    ChoiceTask,
    EvalTask,
    Instance,
    InstanceScore,
    ReplyTask,
    TextScores,
    TextTask,
)
from aftertrain.core.figures import Figure
from aftertrain.core.generator import Sampling
from aftertrain.core.ground.reading import read_text
from aftertrain.core.records import Completion
from aftertrain.core.settings import Builder
from aftertrain.plugins.lm_eval_tasks import asking, scoring
from aftertrain.plugins.lm_eval_tasks.asking import Asked
from aftertrain.plugins.lm_eval_tasks.catalogue import Found, find, installed_version, only
from aftertrain.plugins.lm_eval_tasks.loading import Loaded, load
from aftertrain.plugins.lm_eval_tasks.scoring import Metric
from aftertrain.plugins.lm_eval_tasks.settings import LmEvalSettings

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class LmEvalTask(EvalTask[LmEvalSettings]):
    """A task of lm-eval, or the tasks of a group; it is made as the class of the requests that it asks.

    A group is one task whose questions have their task's name as group; its numbers are lm-eval's over all questions
    and over tasks. Metrics are named as lm-eval does, with the filter where there are several.
    """

    Config = LmEvalSettings

    def __new__(cls, settings: LmEvalSettings, builder: Builder) -> Self:
        """The class is that of the requests.

        Raises:
            DataError: lm-eval has no such name, or a group of it asks requests of several types.
        """
        if cls is not LmEvalTask:
            return super().__new__(cls)
        chosen: Any = _BY_TYPE[_type_of(settings)]
        made: Self = chosen.__new__(chosen, settings, builder)
        return made

    @property
    def metrics(self) -> tuple[str, ...]:
        """Of every question, in lm-eval's order; of one that is no mean what it is made of."""
        return tuple(name for metric in self._metrics for name in metric.stored)

    def figures(self) -> Sequence[Figure]:
        """By lm-eval's aggregation; the setting `headline`, or a group's own metric, first.

        Raises:
            DataError: there is no metric of the name that `headline` says.
        """
        aggregates = {aggregate.metric: aggregate.by_size for aggregate in self._loaded.aggregates}
        figures = scoring.figures(self._metrics, aggregates, len(self._loaded.tasks))
        if (wanted := self.settings.headline) is None:
            return figures
        names = [figure.name for figure in figures]
        if wanted not in names:
            guess = nearest(wanted, names)
            hint = f" Did you mean {guess!r}?" if guess else ""
            raise DataError(f"{self._named}: headline: no metric named {wanted!r}.{hint} There are: {', '.join(names)}")
        return sorted(figures, key=lambda figure: figure.name != wanted)

    def instances(self) -> Sequence[Instance]:
        """The questions in the order of lm-eval's documents, task by task."""
        return self._instances

    def notes(self) -> Sequence[str]:
        """How a group is weighed, and what lm-eval does without telling."""
        notes = []
        tasks, aggregates = self._loaded.tasks, self._loaded.aggregates
        if len(tasks) > 1:
            how = "; ".join(
                f"lm-eval's number is {a.metric}, the mean over all {'questions' if a.by_size else 'tasks'}"
                for a in aggregates
            )
            notes.append(f"{len(tasks)} tasks. {how or 'lm-eval makes no number of them together'}; both are shown")
        lost = sorted({m.name for m in self._all_metrics} - {m.name for m in self._metrics})
        if lost:
            notes.append(f"metrics that not all of its tasks have are left out: {', '.join(lost)}")
        leaked = self._leaked
        if leaked:
            notes.append(f"{leaked} of {len(self._asked)} questions stand among their own worked examples, with answer")
        return notes

    def reads(self) -> Sequence[str]:
        """The data sets that its files name, or its code."""
        named = {str(leaf.get("dataset_path") or "") for leaf in self._found.leaves.values()}
        if any("class" in leaf for leaf in self._found.leaves.values()):
            named |= {str(task.DATASET_PATH or "") for task in self._loaded.tasks.values()}
        return sorted(named - {""})

    def fingerprint(self) -> str:
        """lm-eval's version, each task's settings with its code, and every question as it is asked."""
        return self._rules_and_rows

    @cached_property
    def _rules_and_rows(self) -> str:
        tasks = {name: _written(task) for name, task in self._loaded.tasks.items()}
        asked = [[q.leaf, q.number, _text(q.doc), _text(q.requests)] for q in self._asked.values()]
        code = sorted({file for yaml in self._found.files for file in yaml.parent.glob("*.py")})
        beside = [[file.name, read_text(file, error=DataError)] for file in code]
        return digest([installed_version(self._named), tasks, asked, beside, [metric.name for metric in self._metrics]])

    @property
    def _named(self) -> str:
        return f"task 'lm_eval/{self.settings.member}'"

    @cached_property
    def _found(self) -> Found:
        return only(find(self.settings.member, self.settings.include_path), self.settings.tasks)

    @cached_property
    def _loaded(self) -> Loaded:
        return load(self.settings, find(self.settings.member, self.settings.include_path))

    @cached_property
    def _asked(self) -> dict[str, Asked]:
        """By the ids of the questions."""
        several = len(self._loaded.tasks) > 1
        asked: dict[str, Asked] = {}
        for leaf, task in self._loaded.tasks.items():
            for question in asking.ask(task, leaf, self.settings):
                asked[f"{leaf}/{question.number}" if several else str(question.number)] = question
        return asked

    @cached_property
    def _instances(self) -> list[Instance]:
        several = len(self._loaded.tasks) > 1
        instances = []
        for id_, question in self._asked.items():
            task = self._loaded.tasks[question.leaf]
            # Where contexts are compared, the target is what follows all of them, and the text says which is right.
            right = task.doc_to_text if getattr(task, "multiple_input", 0) else task.doc_to_target
            target = right(question.doc)
            instances.append(asking.instance(question, id_, target, group=question.leaf if several else ""))
        return instances

    @cached_property
    def _all_metrics(self) -> list[Metric]:
        """Of each task, one after another."""
        first: dict[str, Asked] = {}
        for question in self._asked.values():
            first.setdefault(question.leaf, question)
        return [m for leaf, q in first.items() for m in scoring.metrics_of(self._loaded.tasks[leaf], q)]

    @cached_property
    def _metrics(self) -> list[Metric]:
        """Those that all tasks have; of several tasks only such as can be made of all questions."""
        tasks = len(self._loaded.tasks)
        names = [metric.name for metric in self._all_metrics]
        common = {
            m.name: m for m in self._all_metrics if names.count(m.name) == tasks and (tasks == 1 or m.kind != "corpus")
        }
        if not common:
            raise DataError(
                f"{self._named}: its tasks have no metric in common of which one number can be made "
                f"({', '.join(sorted(set(names)))}); name them one by one: {', '.join(self._loaded.tasks)}"
            )
        return list(common.values())

    @cached_property
    def _leaked(self) -> int:
        """Questions whose own text comes twice in their prompt."""
        count = 0
        for question in self._asked.values():
            task = self._loaded.tasks[question.leaf]
            context = question.requests[0][1][0]
            if task.get_config("num_fewshot") and question.type != "loglikelihood_rolling":
                text = task.doc_to_text(question.doc)
                count += isinstance(text, str) and bool(text.strip()) and context.count(text) > 1
        return count

    def _score(self, instance: Instance, responses: Sequence[Sequence[Any]], answer: str | None) -> InstanceScore:
        question = self._asked[instance.id]
        return scoring.score(self._loaded.tasks[question.leaf], question, self._metrics, responses, answer)


class LmEvalChoices(LmEvalTask, ChoiceTask[LmEvalSettings]):
    """Requests of type `loglikelihood`: of choices, of choices by mutual information, or of one continuation."""

    def score(self, instance: Instance, scores: ChoiceScores) -> InstanceScore:
        """By the log-likelihood of each continuation, and whether it is the greedy one."""
        pairs = list(zip(scores.logprobs, scores.greedy, strict=True))
        texts = [choice.text for choice in instance.choices]
        # Those of mutual information stand behind the choices, with nothing before them.
        own = [place for place, choice in enumerate(instance.choices) if choice.context != ""] or [*range(len(texts))]
        best = max(own, key=lambda place: scores.logprobs[place])
        answer = texts[best].strip() if len(set(texts)) > 1 else str(best)
        return self._score(instance, [[pair] for pair in pairs], answer)


class LmEvalTexts(LmEvalTask, TextTask[LmEvalSettings]):
    """Requests of type `loglikelihood_rolling`."""

    def score(self, instance: Instance, scores: TextScores) -> InstanceScore:
        """By the log-likelihood of the text."""
        return self._score(instance, [[scores.logprob]], "")


class LmEvalReplies(LmEvalTask, ReplyTask[LmEvalSettings]):
    """Requests of type `generate_until`."""

    @property
    def samples(self) -> int:
        """lm-eval's `repeats`; greedy replies are all alike, so that one is drawn and stands for all."""
        return self._repeats if self.sampling().temperature > 0 else 1

    @cached_property
    def _repeats(self) -> int:
        repeats = {int(task.get_config("repeats") or 1) for task in self._loaded.tasks.values()}
        if len(repeats) > 1:
            raise DataError(
                f"{self._named}: its tasks draw {sorted(repeats)} replies to a question; name them one by one"
            )
        return repeats.pop()

    @cached_property
    def _sampling(self) -> Sampling:
        first: dict[Sampling, str] = {}
        for question in self._asked.values():
            first.setdefault(asking.sampling(question), question.leaf)
        if len(first) > 1:
            ways = "; ".join(f"{leaf}: {sampling.model_dump_json()}" for sampling, leaf in first.items())
            raise DataError(f"{self._named}: replies are drawn in several ways ({ways}); name its tasks one by one")
        return next(iter(first))

    def sampling(self) -> Sampling:
        """As the task's `generation_kwargs` say.

        Raises:
            DataError: its questions are asked in several ways, or in one that there is none of here.
        """
        return self._sampling

    def notes(self) -> Sequence[str]:
        """And how long a reply may be where the task does not say."""
        silent = [n for n, leaf in self._found.leaves.items() if not _says_length(leaf.get("generation_kwargs"))]
        notes = list(super().notes())
        if silent and self.sampling().max_new_tokens == asking.DEFAULT_LENGTH:
            notes.append(
                f"its file sets no length of a reply: lm-eval cuts at {asking.DEFAULT_LENGTH} tokens, and so is done "
                "here; max_new_tokens sets another"
            )
        if self._repeats > 1 and self.samples == 1:
            notes.append(f"lm-eval draws each reply {self._repeats} times; greedy ones are alike, and one is drawn")
        return notes

    def score(self, instance: Instance, reply: Completion) -> InstanceScore:
        """One reply."""
        return self.score_all([instance], [reply])[0]

    def score_all(self, instances: Sequence[Instance], replies: Sequence[Completion]) -> list[InstanceScore]:
        """All replies to a question go through the filters together, as lm-eval's do; each gets what they are worth."""
        if self.samples == 1:
            pairs = zip(instances, replies, strict=True)
            return [self._score(instance, [[reply.text] * self._repeats], None) for instance, reply in pairs]
        scores: list[InstanceScore] = []
        for _, group in groupby(zip(instances, replies, strict=True), key=lambda pair: pair[0].id):
            pairs_of_one = list(group)
            score = self._score(pairs_of_one[0][0], [[reply.text for _, reply in pairs_of_one]], None)
            scores += [score] * len(pairs_of_one)
        return scores


_BY_TYPE: Mapping[str, type[LmEvalTask]] = {
    "multiple_choice": LmEvalChoices,
    "loglikelihood": LmEvalChoices,
    "loglikelihood_rolling": LmEvalTexts,
    "generate_until": LmEvalReplies,
}


def _type_of(settings: LmEvalSettings) -> str:
    """The one type of requests of all tasks.

    Raises:
        DataError: they have several, or one that is none.
    """
    found = only(find(settings.member, settings.include_path), settings.tasks)
    types = {name: _type_of_leaf(name, leaf, settings) for name, leaf in found.leaves.items()}
    kinds = {_BY_TYPE[type_]: type_ for type_ in types.values()}
    if len(kinds) != 1:
        listed = ", ".join(f"{name} ({type_})" for name, type_ in types.items())
        raise DataError(
            f"task 'lm_eval/{found.name}' asks requests of several types, and is no one task: in a recipe or a "
            f"command it is a row for each of its tasks; here name these one by one: {listed}"
        )
    return next(iter(kinds.values()))


def _type_of_leaf(name: str, leaf: Mapping[str, Any], settings: LmEvalSettings) -> str:
    type_ = str(leaf.get("output_type") or "generate_until")
    if "class" in leaf and "output_type" not in leaf:
        alone = settings.model_copy(update={"member": name, "unsafe_code": True, "tasks": None})
        type_ = str(load(alone, find(name, settings.include_path)).tasks[name].OUTPUT_TYPE)
    if type_ not in _BY_TYPE:
        raise DataError(f"task 'lm_eval/{name}': its output_type is {type_!r}; there are: {', '.join(_BY_TYPE)}")
    return type_


def _says_length(options: Any) -> bool:
    return isinstance(options, Mapping) and any(options.get(name) is not None for name in asking.LENGTHS)


def _written(task: Any) -> list[Any]:
    """A task's version and settings, functions by their code, without where its files lie."""
    config = {key: value for key, value in vars(task.config).items() if key not in ("metadata", "dataset_kwargs")}
    return [str(task.VERSION), _text(config)]


def _text(value: Any) -> str:
    return json.dumps(value, default=_told, sort_keys=True, ensure_ascii=False)


def _told(value: Any) -> Any:
    """What JSON has no word for: a function's code, an object's fields, else its text without its place in memory."""
    if callable(value):
        try:
            return inspect.getsource(value)
        except (OSError, TypeError):
            return _ADDRESS.sub("", repr(value))
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    return vars(value) if hasattr(value, "__dict__") and vars(value) else _ADDRESS.sub("", str(value))

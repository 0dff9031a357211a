"""Outputs of a model as rows of a file, and back: what a task scores can be read again and scored anew."""

from __future__ import annotations

from dataclasses import asdict, replace
from string import ascii_uppercase
from typing import Any

from aftertrain.core.benchmark.rows import digest
from aftertrain.core.errors import DataError
from aftertrain.core.eval_task import (
    ChoiceScores,
    ChoiceTask,
    EvalTask,
    Instance,
    InstanceScore,
    Output,
    ReplyTask,
    TextScores,
    TextTask,
)
from aftertrain.core.generator import Sampling
from aftertrain.core.records import UNKNOWN_ID, Completion
from aftertrain.plugins.evaluation.rows import ScoredInstance

WITHHELD = "refused by the server, and not judged"


def score_outputs(task: EvalTask[Any], instances: list[Instance], outputs: list[Output]) -> list[InstanceScore]:
    """Score outputs in order, an instance beside each.

    Raises:
        TypeError: the task is of no known class, or an output is of another kind than the task's.
    """
    if isinstance(task, ReplyTask):
        replies = [output for output in outputs if isinstance(output, Completion)]
        scores = task.score_all(instances, replies)
        if len(scores) != len(replies):
            return scores  # a defect of the task, which `check_metrics` tells
        return [_judged(reply, score) for reply, score in zip(replies, scores, strict=True)]
    if isinstance(task, ChoiceTask):
        choices = [output for output in outputs if isinstance(output, ChoiceScores)]
        return [task.score(instance, output) for instance, output in zip(instances, choices, strict=True)]
    if isinstance(task, TextTask):
        texts = [output for output in outputs if isinstance(output, TextScores)]
        return [task.score(instance, output) for instance, output in zip(instances, texts, strict=True)]
    raise TypeError(f"{type(task).__name__} is no ReplyTask, ChoiceTask or TextTask")


def _judged(reply: Completion, score: InstanceScore) -> InstanceScore:
    """A reply that was withheld says nothing of the model, whatever a task makes of what is there of it."""
    if reply.finish_reason != "refused":
        return score
    return replace(score, outcome="error", detail=f"{WITHHELD}: {reply.why}" if reply.why else WITHHELD, extracted=None)


def row_of(
    task: str,
    temperature: float | None,
    instance: Instance,
    output: Output,
    score: InstanceScore,
    *,
    sample: int,
    prompt: str,
    sampling: Sampling | None = None,
) -> ScoredInstance:
    """One line of the file."""
    return ScoredInstance(
        id=instance.id,
        task=task,
        temperature=temperature,
        prompt=prompt,
        target=instance.target,
        extracted=score.extracted,
        outcome=score.outcome,
        metrics={name: float(value) for name, value in score.metrics.items()},
        detail=score.detail,
        sample=sample,
        group=instance.group,
        cluster=instance.cluster,
        thoughts=instance.thoughts,
        asked=asked(instance, sampling),
        other_rule=None if score.other_rule is None else float(score.other_rule),
        parts=dict(score.parts),
        expected=_right_choice(instance),
        **_kept(output, score),
    )


def asked(instance: Instance, sampling: Sampling | None = None) -> str:
    """Digest of what an instance asks: equal ones are answered by the same outputs, whatever they are compared with.

    Args:
        sampling: how replies are drawn; their temperature stands beside them.
    """
    messages, choices = ([asdict(part) for part in parts] for parts in (instance.messages, instance.choices))
    drawn: list[list[Any]] = []
    if sampling is not None:
        more = sampling.deciding
        drawn = [[more.pop("max_new_tokens"), more.pop("top_p"), more.pop("stop"), *([more] if more else [])]]
    return digest([messages, choices, instance.chat, instance.baseline, *drawn])[:16]


def _right_choice(instance: Instance) -> str:
    """The text of the choice that is a task's target, where that is the place of one; of equal texts its letter."""
    texts = [choice.text.strip() for choice in instance.choices]
    place = instance.target
    if not isinstance(place, int) or isinstance(place, bool) or not 0 <= place < len(texts):
        return ""
    return texts[place] if len(set(texts)) > 1 else ascii_uppercase[place]


def _kept(output: Output, score: InstanceScore) -> dict[str, Any]:
    if isinstance(output, Completion):
        return {
            "output": output.text,
            "with_special": output.text_with_special,
            "finish_reason": output.finish_reason,
            "n_tokens": len(output.token_ids),
        }
    if isinstance(output, TextScores):
        return {"output": "", "logprobs": (output.logprob,), "n_tokens": output.n_tokens}
    return {
        "output": score.extracted or "",
        "n_tokens": sum(output.n_tokens),
        "logprobs": output.logprobs,
        "choice_tokens": output.n_tokens,
        "greedy": output.greedy,
        "baseline": output.baseline,
    }


def output_of(task: EvalTask[Any], row: ScoredInstance) -> Output:
    """What the model made, as far as scoring reads it.

    Of a reply's token ids and log-probabilities nothing is kept but how many there were: each id is `UNKNOWN_ID`.

    Raises:
        DataError: the row holds no output of the task's kind.
    """
    if isinstance(task, ReplyTask) and row.finish_reason:
        reason: Any = row.finish_reason
        return Completion(row.id, (), (UNKNOWN_ID,) * row.n_tokens, (), (), reason, row.output, row.with_special)
    if isinstance(task, ChoiceTask) and len(row.choice_tokens) == len(row.logprobs) > 0:
        return ChoiceScores(row.logprobs, row.choice_tokens, row.greedy, row.baseline)
    if isinstance(task, TextTask) and len(row.logprobs) == 1:
        return TextScores(row.logprobs[0], row.n_tokens)
    raise DataError(
        f"task {row.task!r}, instance {row.id!r}: holds no output that {type(task).__name__} could score again "
        "(a run of before outputs were kept whole, or another task)"
    )

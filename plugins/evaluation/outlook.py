"""What an evaluation would do, in figures."""

from __future__ import annotations

from collections.abc import Sequence

from aftertrain.core.errors import AftertrainError
from aftertrain.core.records import PlanItem
from aftertrain.core.settings import Builder
from aftertrain.plugins.evaluation.asking import Asking
from aftertrain.plugins.evaluation.prompts import encode
from aftertrain.plugins.evaluation.settings import EvaluateSettings
from aftertrain.plugins.evaluation.suite import ReadyTask


def outlook(settings: EvaluateSettings, builder: Builder, tasks: Sequence[ReadyTask], ask: Asking) -> list[PlanItem]:
    """Instances, prompt and reply tokens per task; characters where an endpoint's tokenizer is not known."""
    window, unit = ask.window, "tokens" if ask.counts else "characters"
    items = []
    if any(not task.generates for task in tasks) and not ask.remote:
        try:
            builder.build(settings.engine).preflight(ask.model)
        except AftertrainError as error:
            items.append(PlanItem("engine", f"could not be used on this machine: {error}", "warning"))
    for task in tasks:
        texts = [(ask.prompt(instance), instance.chat) for instance in task.instances]
        lengths = [len(encode(ask.tokenizer, text, chat=chat)) if ask.counts else len(text) for text, chat in texts]
        mean = sum(lengths) / len(lengths)
        value = f"{len(lengths):,} instances, prompts of {mean:,.0f} {unit} (longest {max(lengths):,})"
        if task.generates:
            temperatures = ", ".join(f"{temperature:g}" for temperature in task.temperatures)
            most = len(lengths) * len(task.temperatures) * task.samples * task.sampling.max_new_tokens
            replies = f"{task.samples} replies each of" if task.samples > 1 else "replies"
            value += (
                f", {replies} up to {task.sampling.max_new_tokens:,} at temperature {temperatures} "
                f"({most:,} tokens at most)"
            )
        items.append(PlanItem(task.name, value))
        items += [PlanItem(f"{task.name}: note", note) for note in task.task.notes()]
        reply = task.sampling.max_new_tokens if task.generates and window and ask.counts else 0
        short = sum(length < (window or 0) < length + reply for length in lengths)
        if short:
            value = f"{short:,} prompts leave less than {reply:,} of {window:,} tokens: their replies are cut earlier"
            items.append(PlanItem(f"{task.name}: room", value, "warning"))
    return items


def overlong(task: ReadyTask, long: Sequence[tuple[str, int]], window: int | None) -> str:
    """That prompts of a task are too long, and by how much."""
    longest = max(long, key=lambda entry: entry[1])
    return (
        f"task {task.name!r}: {len(long)} of {len(task.instances)} prompts do not fit the model's context of {window} "
        f"tokens; the longest is {longest[0]!r} with {longest[1]}"
    )

"""What an evaluation would do, in figures."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from aftertrain.core.errors import AftertrainError
from aftertrain.core.ground.model_folder import read_config
from aftertrain.core.packed.apart import family_misfit
from aftertrain.core.packed.engine import PackedEngine
from aftertrain.core.records import PlanItem
from aftertrain.core.settings import Builder
from aftertrain.plugins.evaluation.asking import Asking
from aftertrain.plugins.evaluation.prompts import encode
from aftertrain.plugins.evaluation.settings import EvaluateSettings
from aftertrain.plugins.evaluation.suite import ReadyTask

TOKEN_BYTES = 20
"""A token of a reply as it is saved: in rows, in two checkpoints and in the store, five bytes each."""


def outlook(settings: EvaluateSettings, builder: Builder, tasks: Sequence[ReadyTask], ask: Asking) -> list[PlanItem]:
    """Instances, prompt and reply tokens per task; characters where an endpoint's tokenizer is not known."""
    window, unit = ask.window, "tokens" if ask.counts else "characters"
    items = []
    if any(not task.generates for task in tasks) and not ask.remote:
        engine = builder.build(settings.engine)
        try:
            engine.preflight(ask.model)
        except AftertrainError as error:
            items.append(PlanItem("engine", f"could not be used on this machine: {error}", "warning"))
        if isinstance(engine, PackedEngine) and (misfit := family_misfit(read_config(ask.model), "lm")):
            slower = f"scores each continuation by itself, which is slower: {misfit}"
            items.append(PlanItem("engine", slower, "warning"))
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


def crowded(tasks: Sequence[ReadyTask], folder: Path) -> list[PlanItem]:
    """That the disk may be too full for what is saved: prompts, and replies of any length that is allowed."""
    prompts = sum(
        task.samples * len(task.temperatures) * sum(len(m.content) for i in task.instances for m in i.messages)
        for task in tasks
    )
    most = sum(
        task.samples * len(task.temperatures) * len(task.instances) * task.sampling.max_new_tokens
        for task in tasks
        if task.generates
    )
    free = shutil.disk_usage(folder).free
    if prompts + TOKEN_BYTES * most <= free:
        return []
    sizes = [f"{count / 1e9:,.2f} GB" for count in (prompts, TOKEN_BYTES * most, free)]
    value = f"prompts of {sizes[0]} and replies of up to {sizes[1]} are saved, and {sizes[2]} are free in {folder}"
    return [PlanItem("disk", value, "error" if prompts > free else "warning")]


def overlong(task: ReadyTask, long: Sequence[tuple[str, int]], window: int | None) -> str:
    """That prompts of a task are too long, and by how much."""
    longest = max(long, key=lambda entry: entry[1])
    return (
        f"task {task.name!r}: {len(long)} of {len(task.instances)} prompts do not fit the model's context of {window} "
        f"tokens; the longest is {longest[0]!r} with {longest[1]}"
    )

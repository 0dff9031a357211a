"""The problems of a stage: tokenised prompts, those too long left out and counted, checks matched with rewards."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aftertrain.core.dataset import Dataset
from aftertrain.core.errors import DataError, unknown
from aftertrain.core.events import Dropped
from aftertrain.core.ground.model_folder import context_window
from aftertrain.core.records import JSON, Problem, Thoughts
from aftertrain.core.text.answer import thoughts_of
from aftertrain.core.text.chat import UnusableRow, check_whole, render_text, text_ids
from aftertrain.core.verification.checks import with_rewards
from aftertrain.plugins.online.settings import OnlineSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

EXAMPLES = 5
"""Ids named in a report of dropped problems."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A problem with its prompt's token ids, and how the chat template marks thoughts in replies to it."""

    problem: Problem
    token_ids: tuple[int, ...]
    thoughts: Thoughts | None = None


@dataclass(frozen=True)
class Prompts:
    """What can be trained on.

    Attributes:
        dropped: ids left out, by reason.
        ids: of all problems that were read.
    """

    kept: Sequence[Prompt]
    dropped: Mapping[str, Sequence[str]] = field(default_factory=dict)
    ids: Collection[str] = ()

    def dropped_event(self) -> Dropped:
        """Counts by reason, and some ids."""
        ids = [name for names in self.dropped.values() for name in names]
        return Dropped({reason: len(names) for reason, names in self.dropped.items()}, tuple(ids[:EXAMPLES]))


def load_prompts(
    data: Dataset[Any],
    name: str,
    tokenizer: PreTrainedTokenizerBase,
    rewards: Collection[str],
    *,
    limits: Mapping[str, int],
    checks: Mapping[str, str] | None = None,
    everywhere: Collection[str] = (),
    tools: Sequence[JSON] = (),
    unchecked: bool = False,
) -> Prompts:
    """Tokenise all problems of a data set.

    Args:
        name: the data set's, for messages.
        rewards: names of the stage's verifiers.
        limits: most prompt tokens by reason for the limit; a problem over one of them is dropped.
        checks: reward by the name of a check, where the two differ; the problems that are kept name the reward.
        everywhere: those of the rewards that judge replies to all problems: each gets a check, with what `truth_of`
            finds, where a problem has none of its name. Where there are no others, checks need name no reward.
        tools: of the environment, shown beside the problem's own.
        unchecked: whether problems may have no checks.

    Raises:
        DataError: a record is no Problem, a check names no reward, a problem has no check, two have one id, no
            problem is left, the chat template leaves out part of a prompt, or `checks` names a check that no problem
            has.
    """
    kept, dropped, seen, checked = [], dict[str, list[str]](), set[str](), set[str]()
    for record in data:
        if not isinstance(record, Problem):
            raise DataError(f"data set {name!r} yields {type(record).__name__} records; 'online' needs Problem records")
        checked.update(check.verifier for check in record.checks)
        if not record.checks and not unchecked:
            raise DataError(f"problem {record.id!r} has no check: nothing could reward a reply")
        # Without verifiers checks are what the environment may read.
        problem = with_rewards(record, rewards, checks or {}, everywhere) if rewards else record
        shown = (*record.tools, *tools)
        if record.id in seen:
            raise DataError(f"data set {name!r} has two problems with the id {record.id!r}; rewards are kept by id")
        seen.add(record.id)
        try:
            check_whole(tokenizer, record.prompt, shown)
        except UnusableRow as error:
            raise DataError(f"problem {record.id!r}: {error}") from error
        text = render_text(tokenizer, record.prompt, generation_prompt=True, tools=shown)
        ids = tuple(text_ids(tokenizer, text))
        over = [reason for reason, limit in limits.items() if len(ids) > limit]
        if over:
            dropped.setdefault(over[0], []).append(record.id)
        else:
            kept.append(Prompt(problem, ids, thoughts_of(str(tokenizer.chat_template), text)))
    for check in checks or ():
        if check not in checked:
            raise DataError(f"data set {name!r}: checks: {unknown('check', check, checked)}")
    if not kept:
        why = "; ".join(f"{len(names)} dropped: {reason}" for reason, names in dropped.items())
        raise DataError(f"data set {name!r} has no problems to train on{f' ({why})' if why else ''}")
    return Prompts(kept, dropped, seen)


def prompt_limits(settings: OnlineSettings, model: str) -> dict[str, int]:
    """Most prompt tokens, by reason: the setting, and room for a reply in the model's context.

    Raises:
        ModelError: the folder has no readable config.json.
    """
    most = settings.batch.max_prompt_tokens
    limits = {f"prompt over {most} tokens": most}
    context = context_window(model)
    if context is not None:
        limits[f"prompt and reply over the model's {context} tokens"] = context - settings.sampling.max_new_tokens
    return limits

"""Checks of a tokenizer and its chat template: a plan shows them, a stage that renders conversations must pass them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from aftertrain.core.errors import ModelError
from aftertrain.core.records import Message, PlanItem
from aftertrain.core.text.chat import UnusableRow, render
from aftertrain.core.text.endings import reply_ending, reply_shapes, unnamed_ends

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FOUR = "Four."


def template_checks(tokenizer: PreTrainedTokenizerBase, folder: str | None = None) -> list[PlanItem]:
    """Checks of tokenizer and template: double or no BOS, pad = eos, prompt prefix, what ends a reply.

    One that failed is an error where no conversation could be rendered well, a warning where rows decide.

    Args:
        folder: the model's, whose generation config is looked at too.

    Raises:
        ModelError: the template cannot be used at all.
    """
    rendered: list[tuple[Sequence[Message], list[int], bool]] = []
    refused = ""
    for turns in reply_shapes(FOUR):
        try:
            ids = render(tokenizer, turns, generation_prompt=False)
            prompt = render(tokenizer, turns[:-1], generation_prompt=True)
        except UnusableRow as error:
            refused = refused or str(error)
            continue
        rendered.append((turns, ids, ids[: len(prompt)] == prompt))
    if not rendered:
        return [PlanItem("conversations", f"none was found that it takes: {refused}", "warning")]
    _, ids, _ = rendered[0]
    fit = next((turns for turns, _, good in rendered if good), None)
    return [
        _bos(tokenizer, ids),
        PlanItem("pad token", _padding(tokenizer)),
        _prefix(fit, system=any(turns[0].role != "system" for turns, _, _ in rendered)),
        _end(tokenizer, folder),
    ]


def template_faults(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """What a stage that renders conversations must say of its template: the checks that failed.

    Raises:
        ModelError: each conversation would begin with two BOS tokens, which the model has never seen.
    """
    failed = [item for item in template_checks(tokenizer) if item.status != "ok"]
    for item in failed:
        if item.status == "error":
            raise ModelError(f"chat template: {item.label}: {item.value}")
    return [f"chat template: {item.label}: {item.value}" for item in failed]


def _bos(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> PlanItem:
    bos = tokenizer.bos_token_id
    if bos is None or bos == tokenizer.eos_token_id:
        return PlanItem("BOS", "none")
    if list(ids[:2]) == [bos, bos]:
        return PlanItem("double BOS", "the template writes two; take one out of it", "error")
    if ids[0] == bos:
        return PlanItem("BOS", "one, from the template")
    if list(tokenizer(FOUR, verbose=False)["input_ids"])[:1] != [bos]:
        return PlanItem("BOS", "none, by template and tokenizer")
    return PlanItem(
        "no BOS",
        f"the tokenizer begins texts with {tokenizer.bos_token}, the template does not: conversations have none, here "
        "and wherever the template is used. If the model was trained with one, begin the template with "
        "{{ bos_token }} (chat_template: tulu_bos does)",
        "warning",
    )


def _padding(tokenizer: PreTrainedTokenizerBase) -> str:
    if tokenizer.pad_token_id is None:
        return "none: rows are packed, none is needed"
    return "= eos: masks go by position" if tokenizer.pad_token_id == tokenizer.eos_token_id else "its own"


def _prefix(fit: Sequence[Message] | None, *, system: bool) -> PlanItem:
    label = "prompt is a token prefix"
    if fit is None:
        return PlanItem(label, "no, of none of the replies tried: rows that are no better are left out", "warning")
    if fit[-1] != Message("assistant", FOUR):
        return PlanItem(label, "of replies with thoughts alone: it begins every reply in them; others are left out")
    return PlanItem(label, "yes" if system else "yes, of conversations with a system turn; it refuses others")


def _end(tokenizer: PreTrainedTokenizerBase, folder: str | None) -> PlanItem:
    label = "reply ends with"
    ending = reply_ending(tokenizer)
    if ending is None:
        return PlanItem(label, "not known: the template leaves out or rewrites the replies tried", "warning")
    if ending.token is None:
        writes = repr(ending.text) if ending.text.strip() else "nothing"
        return PlanItem(
            label,
            f"no token: the template writes {writes} after a reply, at which nothing stops; replies go on to "
            "max_new_tokens or to a stop string. Use a template that writes the tokenizer's end token",
            "warning",
        )
    ends = f"{tokenizer.convert_ids_to_tokens(ending.token)} ({ending.token})"
    if ending.token != tokenizer.eos_token_id:
        ends += f"; the tokenizer's own end token is {tokenizer.eos_token}"
    if folder is not None and (unnamed := unnamed_ends(folder, tokenizer)):
        words = ", ".join(f"{tokenizer.convert_ids_to_tokens(number)} ({number})" for number in unnamed)
        ends += f"; generation_config.json does not name {words}, that of a trained model will"
    return PlanItem(label, ends)

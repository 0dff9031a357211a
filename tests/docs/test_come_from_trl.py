"""The page for users of other frameworks names settings that exist, and the same that a wrong name is answered with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest

from aftertrain.api.recipes import load_recipe
from aftertrain.core.errors import RecipeError
from aftertrain.core.recipe import Recipe
from aftertrain.core.settings import Use
from aftertrain.registry.describe import nested
from aftertrain.registry.discovery import installed
from aftertrain.registry.elsewhere import ELSEWHERE
from aftertrain.registry.load import load_settings
from aftertrain.registry.places import field_of

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "come-from-trl.md"
STAGES = [load_settings(installed().registration("stage", name)) for name in ("train", "online")]


def rows() -> list[tuple[list[str], str]]:
    """Their names and ours, of each line of the table; of the second table, of what has no setting, the answer."""
    settings, absent = (
        [line.split("|")[1:3] for line in part.splitlines() if line.startswith("| `")]
        for part in PAGE.read_text(encoding="utf-8").split("## What has no setting")
    )
    named = [(theirs, re.findall(r"`([^`]+)`", ours)[0]) for theirs, ours in settings]
    return [(re.findall(r"`([^`]+)`", theirs), ours.strip()) for theirs, ours in (*named, *absent)]


def exists(model: Any, path: list[str]) -> bool:
    """Whether a path can be followed, through any component of a kind where it leads into one."""
    field = field_of(model, path[0])
    if field is None:
        return False
    if len(path) == 1:
        return True
    if get_origin(field.annotation) is Use:
        (interface,) = get_args(field.annotation)
        kind = (get_origin(interface) or interface).kind
        return any(exists(load_settings(row), path[1:]) for row in installed().registrations(kind))
    inner = nested(field.annotation)
    return inner is not None and exists(inner, path[1:])


def known(path: str) -> bool:
    return any(exists(model, path.split(".")) for model in (*STAGES, Recipe))


@pytest.mark.parametrize("ours", sorted({ours for _, ours in rows() if " " not in ours}))
def test_each_of_our_names_exists(ours: str) -> None:
    assert known(ours)


@pytest.mark.parametrize("theirs", ELSEWHERE)
def test_messages_and_page_say_the_same(theirs: str) -> None:
    here = ELSEWHERE[theirs]
    assert all(map(known, here.paths))
    assert [ours for names, ours in rows() if theirs in names] == [here.paths[0] if here.paths else here.note]


@pytest.mark.parametrize(
    ("setting", "answer"),
    [
        ("packing", "'packing': needs no setting: batches are always packed"),
        ("logging_steps", "'logging_steps': needs no setting: every step is recorded"),
        ("save_total_limit", "'save_total_limit': the two newest checkpoints are kept"),
        ("early_stopping_patience", "'early_stopping_patience': not there: a stage takes all its steps"),
        ("load_in_4bit", "'load_in_4bit': not there: weights are float32 in training"),
        ("push_to_hub", "'push_to_hub': not there: a stage leaves a plain Hugging Face folder"),
        ("neftune_noise_alpha", "'neftune_noise_alpha': not there: no noise"),
        ("eval_steps", "Did you mean 'validation.every' (in optimizer steps; "),
        ("gradient_checkpointing", "Did you mean 'engine.activation_checkpointing'?"),
        ("per_device_train_batch_size", "Did you mean 'batch.sequences' (of a whole optimizer step, "),
        ("bf16", "Did you mean 'engine.dtype' (float32 or bfloat16; "),
        ("warmup_ratio", "Did you mean 'optimizer.warmup' (a share of all steps, from 0 to 1)?"),
        ("max_length", "Did you mean 'batch.max_tokens'?"),
        ("report_to", "Did you mean 'observers' of the recipe, beside 'stages' (such as [tensorboard])?"),
        ("engine.lora.r", "Did you mean 'rank'?"),
        ("engine.lora.lora_dropout", "'lora_dropout': not there: adapters have no dropout"),
        ("optimizer.learning_rate", "Did you mean 'lr'?"),
    ],
)
def test_a_recipe_with_their_name_is_answered(setting: str, answer: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("quickstart", [f"stages.sft.{setting}=1"])
    assert answer in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "answer"),
    [
        ("sft.batch.overlong=error", "not 'error'. It is called 'stop' now"),
        ("rlvr.verification.deadline=3", "It is called 'timeout' now."),
        ("rlvr.samples=3", "It is called 'shown' now."),
    ],
)
def test_what_was_called_otherwise_is_answered(setting: str, answer: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("quickstart", [f"stages.{setting}"])
    assert answer in str(caught.value)


def test_a_name_that_is_not_ours_is_found_out() -> None:
    assert not known("optimizer.learning_rate")
    assert not known("loss.no_such")

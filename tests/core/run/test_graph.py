"""The order of stages, and every mistake of a graph told at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from aftertrain.core.errors import RecipeError
from aftertrain.core.run.graph import build_graph
from aftertrain.core.run.job import Job

MakeJob = Callable[..., Job]


def _order(make_job: MakeJob, stages: Mapping[str, Mapping[str, Any]]) -> list[str]:
    job = make_job(stages)
    return [node.name for node in build_graph(job.recipe.stages, job.builder)]


def _mistakes(make_job: MakeJob, stages: Mapping[str, Mapping[str, Any]]) -> list[str]:
    job = make_job(stages)
    with pytest.raises(RecipeError) as caught:
        build_graph(job.recipe.stages, job.builder, lambda path: f"recipe.yaml@{path}")
    return [str(issue) for issue in caught.value.issues]


def test_parents_come_first_otherwise_the_order_of_the_recipe(make_job: MakeJob) -> None:
    assert _order(make_job, {"d": {"from": "c"}, "b": {}, "c": {"from": "b"}, "a": {}}) == ["b", "c", "d", "a"]


def test_unknown_parents_are_all_told_with_place_and_nearest_match(make_job: MakeJob) -> None:
    assert _mistakes(make_job, {"sft": {}, "dpo": {"from": "sfy"}, "rl": {"from": "dpo", "critic": "rn"}}) == [
        "recipe.yaml@stages.dpo.from stages.dpo.from: no stage named 'sfy'. Did you mean 'sft'? "
        "There are: base, rl, sft.",
        "recipe.yaml@stages.rl.critic stages.rl.critic: no stage named 'rn'. There are: base, dpo, sft.",
    ]


def test_an_artifact_of_the_wrong_type_is_told_with_those_that_fit(make_job: MakeJob) -> None:
    assert _mistakes(make_job, {"sft": {}, "rm": {"use": "reward"}, "rl": {"from": "rm", "critic": "sft"}}) == [
        "recipe.yaml@stages.rl.from stages.rl.from: 'rm' makes a reward_model, this needs a model; these fit: sft",
        "recipe.yaml@stages.rl.critic stages.rl.critic: 'sft' makes a model, this needs a reward_model; these fit: rm",
    ]


def test_a_circle_is_shown(make_job: MakeJob) -> None:
    (mistake,) = _mistakes(make_job, {"z": {"from": "a"}, "a": {"from": "b"}, "b": {"from": "c"}, "c": {"from": "a"}})
    assert mistake == "recipe.yaml@stages.a stages.a: stages wait for one another: a -> b -> c -> a"


def test_a_stage_may_not_wait_for_itself(make_job: MakeJob) -> None:
    (mistake,) = _mistakes(make_job, {"a": {"from": "a"}})
    assert mistake.endswith("stages wait for one another: a -> a")


@pytest.mark.parametrize("name", ["base", "a/b", ".hidden", "a b"])
def test_a_name_that_cannot_be_a_folder_is_refused(make_job: MakeJob, name: str) -> None:
    (mistake,) = _mistakes(make_job, {name: {}})
    assert mistake.startswith(f"recipe.yaml@stages.{name} stages.{name}: ")

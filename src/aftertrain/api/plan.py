"""What a run would do: the graph, what is reused, sizes, and every check that needs no weights."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from aftertrain.core.errors import AftertrainError, ModelError, RunError, Unreachable
from aftertrain.core.ground.endpoint import endpoint_of, is_endpoint
from aftertrain.core.ground.foreign import foreign
from aftertrain.core.records import Artifact, PlanItem
from aftertrain.core.run.base_model import base_artifact, base_type, find_model, model_digest
from aftertrain.core.run.checkpoint import Checkpoints
from aftertrain.core.run.done import read_done
from aftertrain.core.run.folder import RunFolder
from aftertrain.core.run.graph import Node, build_graph
from aftertrain.core.run.job import Job
from aftertrain.core.run.lineage import trace
from aftertrain.core.run.records import reasons
from aftertrain.core.run.size import model_items
from aftertrain.core.stage import BASE, PlanContext
from aftertrain.core.text.tokenizer_files import read_once

State = Literal["reuse", "resume", "run", "unknown"]


@dataclass(frozen=True)
class StagePlan:
    """One stage of the plan.

    Attributes:
        inputs: parent by role.
        output: type of the artifact it makes.
        state: `reuse` (done already), `resume` (half done), `run`, or `unknown` (its data or model is not here).
        why: for people: what changed, or how far it is.
        hash: None when unknown.
    """

    name: str
    use: str
    inputs: Mapping[str, str]
    output: str
    state: State
    why: tuple[str, ...]
    hash: str | None
    items: tuple[PlanItem, ...]


@dataclass(frozen=True)
class PlanReport:
    """What `aftertrain plan` prints.

    Attributes:
        folder: where the run would be.
        model: facts about the base model.
        stages: in the order they would run.
    """

    name: str
    folder: Path
    seed: int
    threads: int | None
    model: tuple[PlanItem, ...]
    stages: tuple[StagePlan, ...]

    @property
    def failed(self) -> list[tuple[str, PlanItem]]:
        """Every check that would keep the run from starting, with the place in the recipe that it is about."""
        items = [("model", item) for item in self.model]
        items += [(f"stages.{stage.name}", item) for stage in self.stages for item in stage.items]
        return [(where, item) for where, item in items if item.status == "error"]

    @property
    def errors(self) -> tuple[str, ...]:
        """The same as `where: label: finding`."""
        return tuple(f"{where}: {item.label}: {item.value}" for where, item in self.failed)


def plan_job(job: Job, told: Callable[[str, str], None] = lambda stage, words: None) -> PlanReport:
    """Plan a run; nothing is written and no weights are loaded.

    Args:
        told: told of a stage's name how far a long look has come.

    Raises:
        RecipeError: the stages do not form a graph.
    """
    with read_once():
        return _planned(job, told)


def _planned(job: Job, told: Callable[[str, str], None]) -> PlanReport:
    nodes = build_graph(job.recipe.stages, job.builder, job.locate, base_type(job.recipe.model))
    recipe = job.recipe
    digests: dict[str, str] = {}
    base: str | None = None
    try:
        if recipe.model is None:
            base, items = "", []
        elif is_endpoint(recipe.model):
            endpoint, base = endpoint_of(recipe.model), recipe.model
            digests[BASE] = endpoint.digest
            items = [PlanItem("model", f"{endpoint.model} at {endpoint.address}: not asked before the run")]
        else:
            folder = find_model(recipe.model, job.base_folder, weights=False)
            trained = any(node.stage.output not in ("scores", "data") for node in nodes)
            base, items = str(folder), model_items(folder, recipe.chat_template, trained=trained)
            if any(folder.glob("*.safetensors")):
                digests[BASE] = model_digest(folder)
            else:
                items.append(PlanItem("weights", f"not in {folder} yet", "warning"))
    except ModelError as error:
        base, items = None, [PlanItem("model", str(error), "error")]
    planner = _Planner(job, base, digests, told)
    stages = tuple(planner.stage(node) for node in nodes)
    return PlanReport(recipe.name, job.folder, recipe.seed, recipe.threads, tuple(items), stages)


def find_made_rows(job: Job, nodes: Sequence[Node]) -> None:
    """Tell stages where the rows are that earlier stages of the job made, as they are set now; those not done stay."""
    if not any(node.awaited({}) for node in nodes):
        return
    digests = {}
    if job.recipe.model is not None:
        digests[BASE] = base_artifact(job.recipe.model, job.base_folder).digest
    planner = _Planner(job, None, digests, lambda stage, words: None)
    for node in nodes:
        planner.stage(node)
        node.awaited(planner.artifacts)


@dataclass
class _Planner:
    job: Job
    base: str | None
    digests: dict[str, str]
    told: Callable[[str, str], None]
    found: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, Artifact] = field(default_factory=dict)

    def stage(self, node: Node) -> StagePlan:
        state, why, hash_, items = self._state(node)
        if hash_ is not None:
            self.digests[node.name] = hash_
        values = {item.value for item in items}
        items += [item for item in self._items(node) if item.value not in values]
        inputs = {parent.role: parent.stage for parent in node.inputs}
        return StagePlan(node.name, node.use.name, inputs, node.stage.output, state, tuple(why), hash_, tuple(items))

    def _state(self, node: Node) -> tuple[State, list[str], str | None, list[PlanItem]]:
        if awaited := node.awaited(self.artifacts):
            return "unknown", [f"{', '.join(awaited)}: rows not made yet"], None, []
        missing = [parent.stage for parent in node.inputs if parent.stage not in self.digests]
        try:
            stand_in = {**dict.fromkeys(missing, ""), **self.digests}
            with foreign(f"stage {node.name!r}", level=logging.DEBUG):
                lineage = trace(node, self.job.recipe, self.job.builder, stand_in)
        except AftertrainError as error:
            return "unknown", [], None, [_problem("data", error)]
        if missing:
            return "unknown", [f"{', '.join(missing)}: content not known yet"], None, []
        folder = RunFolder(self.job.folder)
        own = folder.stage(node.name, lineage.hash)
        try:
            artifact, damage = (None, None) if self.job.restart else read_done(own, node, lineage.hash, thorough=False)
        except RunError as error:
            return "unknown", [], lineage.hash, [_problem("files", error)]
        if artifact is not None:
            self.artifacts[node.name] = artifact
            return "reuse", ["done already"], lineage.hash, []
        if damage is not None:
            return "run", [damage], lineage.hash, []
        latest = None if self.job.restart else Checkpoints(own / "checkpoints").latest()
        if latest is not None:
            return "resume", [f"goes on after step {latest[0]}"], lineage.hash, []
        earlier = [version for version in folder.versions(node.name) if version != own]
        return "run", reasons(earlier, lineage), lineage.hash, []

    def _items(self, node: Node) -> list[PlanItem]:
        if self.base is None or node.awaited(self.artifacts):
            return []
        parent = next((parent.stage for parent in node.inputs if parent.role == "model"), BASE)
        artifact = self.artifacts.get(parent)
        model = artifact.path if artifact is not None and artifact.type != "scores" else self.base
        context = PlanContext(
            name=node.name,
            model=model,
            seed=self.job.recipe.seed_of(node.name),
            builder=self.job.builder,
            chat_template=self.job.recipe.chat_template,
            told=partial(self.told, node.name),
            found=self.found,
        )
        try:
            with foreign(f"stage {node.name!r}", level=logging.DEBUG):
                return node.stage.plan(context)
        except AftertrainError as error:
            return [_problem("check", error)]


def _problem(label: str, error: AftertrainError) -> PlanItem:
    """An error as a line of the plan. What is out of reach from here may be in reach where the run will be."""
    return PlanItem(label, str(error), "warning" if isinstance(error, Unreachable) else "error")

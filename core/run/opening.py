"""What is looked at before the first stage runs: what the last one cannot use is told today."""

from __future__ import annotations

from collections.abc import Iterable

from aftertrain.core.errors import AftertrainError, Interrupted, RunError
from aftertrain.core.events import DataCheck
from aftertrain.core.run.graph import Node
from aftertrain.core.run.session import Session
from aftertrain.core.stage import PlanContext, ReadsAhead


def problems(session: Session, nodes: Iterable[Node], base: str) -> dict[str, AftertrainError]:
    """What keeps a stage from starting, by its name.

    Args:
        base: folder of the recipe's own model.

    Raises:
        Interrupted: the user asked to stop.
    """
    problems: dict[str, AftertrainError] = {}
    for node in nodes:
        session.stop_if_asked()
        try:
            with node.at_work():
                node.stage.fingerprints()
                _check(session, node, base)
        except Interrupted:
            raise
        except AftertrainError as error:
            problems[node.name] = error
    return problems


def _check(session: Session, node: Node, base: str) -> None:
    """What `plan` checks, and its rows, unless the stage was done before: it is likely to be reused."""
    job, stage = session.job, node.stage
    done = any((folder / "done.json").exists() for folder in session.folder.versions(node.name))
    if done and not job.restart:
        return
    seed, template = job.recipe.seed_of(node.name), job.recipe.chat_template
    context = PlanContext(node.name, base, seed, job.builder, template, figures=False)
    if isinstance(stage, ReadsAhead):
        session.log.emit(DataCheck(node.name))
    if failed := [f"{item.label}: {item.value}" for item in stage.plan(context) if item.status == "error"]:
        raise RunError(f"stage {node.name!r} cannot start: {'; '.join(failed)}")
    if isinstance(stage, ReadsAhead):
        stage.check_data(context, session.stopping)

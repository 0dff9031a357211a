"""What a stage promises: its place in the graph, stable fingerprints, a plan without weights, books that balance."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from typing import Any, get_args, get_type_hints

from aftertrain.core.book import Book
from aftertrain.core.errors import AftertrainError, Interrupted, RunError
from aftertrain.core.records import Artifact, PlanItem
from aftertrain.core.run.checkpoint import Checkpoints
from aftertrain.core.run.ledger import Ledger
from aftertrain.core.stage import PlanContext, Stage, StageContext
from aftertrain.testing.model import tiny_model
from aftertrain.testing.promise import BrokenPromise, Subject, Unchecked, require


def its_place_in_the_graph_is_clear(subject: Subject) -> None:
    """Inputs have different roles and say which artifacts fit; the output is a known type of artifact."""
    stage: Stage[Any] = subject.component()
    known = frozenset(get_args(get_type_hints(Artifact)["type"]))
    inputs = list(stage.inputs())
    roles = [parent.role for parent in inputs]
    require(len(set(roles)) == len(roles), f"roles {roles}")
    for parent in inputs:
        require(parent.stage, f"the input {parent.role!r} names no stage")
        require(parent.types and parent.types <= known, f"the input {parent.role!r} takes {set(parent.types)}")
    require(stage.output in known, f"its output {stage.output!r} is none of {sorted(known)}")
    require(list(stage.inputs()) == inputs, "asked twice, inputs differ")


def fingerprints_are_stable(subject: Subject) -> None:
    """A new instance finds equal content digests."""
    first = dict(subject.component().fingerprints())
    require(dict(subject.component().fingerprints()) == first, "a new instance finds other fingerprints")
    for name, digest in first.items():
        require(re.fullmatch(r"[0-9a-f]{16,}", digest), f"the fingerprint of {name!r} is {digest!r}, no hex digest")


def it_plans_without_weights(subject: Subject) -> None:
    """`plan` says something about a model of which there is only configuration and tokenizer, and its checks pass."""
    folder = subject.folder / "model"
    tiny_model(folder)
    for weights in folder.glob("*.safetensors"):
        weights.unlink()
    context = PlanContext(name="tried", model=str(folder), seed=0, builder=subject.builder)
    items = subject.component().plan(context)
    require(items, "the plan is empty")
    items += subject.component().plan(replace(context, figures=False))
    require(all(isinstance(item, PlanItem) for item in items), f"not all are plan items: {items!r}")
    errors = [f"{item.label}: {item.value}" for item in items if item.status == "error"]
    require(not errors, f"the plan of its example has errors: {'; '.join(errors)}")


def its_books_balance(subject: Subject) -> None:
    """Run on a tiny model, stopped and gone on with, it ends with what it owed (`StageContext.book`)."""
    parents = subject.component().inputs()
    if others := [parent.role for parent in parents if "model" not in parent.types]:
        raise Unchecked(f"it is run on models, and its inputs {', '.join(others)} are none")
    model, folder = subject.folder / "model", subject.folder / "run"
    tiny_model(model)
    folder.mkdir()
    for stops in (True, False):
        ledger = Ledger(Book())
        checkpoints = Checkpoints(folder / "checkpoints", beside=ledger.save)
        if (latest := checkpoints.latest()) is not None:
            ledger.restore(latest[1])
        context = StageContext(
            name="tried",
            folder=folder,
            seed=0,
            inputs={parent.role: Artifact("model", str(model), parent.stage, "0") for parent in parents},
            builder=subject.builder,
            checkpoints=checkpoints,
            emit=lambda event, step=None, /: None,
            stopping=partial(next, iter((False, False)), True) if stops else lambda: False,
            book=ledger.book,
        )
        try:
            subject.component().run(context)
        except Interrupted:
            require(stops, "it stopped though nobody asked")
            continue
        except AftertrainError as error:
            raise Unchecked(f"its example cannot be run on a tiny model: {error}") from error
        break
    try:
        ledger.close("tried")
    except RunError as error:
        raise BrokenPromise(str(error)) from error

"""What is declared as used or not used (`core.ground.usage`), against what changes a loss or a rate when changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from aftertrain.core.errors import RunError
from aftertrain.core.learning.schedule import Optimizer
from aftertrain.registry.builder import ComponentBuilder
from aftertrain.registry.discovery import installed
from aftertrain.registry.load import load_component, load_settings
from aftertrain.registry.resolve import SettingsResolver
from aftertrain.testing.batches import apply, make_atoms

REGISTRY = installed()
LOSSES = [row.name for row in REGISTRY.registrations("loss") if row.origin.built_in]
NUMBERS = (0.013, 0.3, 0.9, 3.0, 1, 7)
"""Values that a number is changed to: inside and outside of clips and thresholds."""


def choices(field: FieldInfo) -> list[Any]:
    """The values of a mode (words, yes or no, null or a number); none of a plain number."""

    def members(annotation: Any) -> Iterator[Any]:
        if get_origin(annotation) is Literal:
            yield from get_args(annotation)
        elif annotation is bool:
            yield from (False, True)
        elif annotation is type(None):
            yield from (None, 0.3)
        else:
            for part in get_args(annotation):
                yield from members(part)

    return list(dict.fromkeys(members(field.annotation)))


def modes(model: type[BaseModel], fixed: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every combination of the modes of a settings class."""
    found = {name: choices(field) for name, field in model.model_fields.items() if name not in fixed}
    found = {name: values for name, values in found.items() if values}
    for values in product(*found.values()):
        yield {**fixed, **dict(zip(found, values, strict=True))}


def valid(model: type[BaseModel], values: Mapping[str, Any]) -> Any:
    """Settings of these values without what does nothing beside the others, or None where they cannot be."""
    values = dict(values)
    while True:
        try:
            return model.model_validate(values, context=SettingsResolver(REGISTRY).context)
        except ValidationError as error:
            idle = [d["loc"][0] for d in error.errors() if d["type"] == "unused_setting"]
            if not idle:
                return None
            values = {name: value for name, value in values.items() if name not in idle}


def others(settings: Any, name: str) -> Iterator[Any]:
    """The settings with that one changed, validated or not: what does nothing must do nothing in any case."""
    field = type(settings).model_fields[name]
    words = choices(field)
    for value in (*words, *(NUMBERS if not words or None in words else ())):
        if value != getattr(settings, name) and not (value is None and field.default is not None):
            yield settings.model_copy(update={name: value})


def outcome(row: Any, settings: Any) -> list[Any]:
    """All that comes of a loss: terms, metrics and gradients."""
    loss: Any = load_component(row)(settings, ComponentBuilder(REGISTRY))
    atoms = make_atoms(loss.needs)
    told: list[Any] = [sorted(loss.needs.per.items()), sorted(loss.needs.masks), loss.needs.margins, loss.needs.probes]
    for found in apply(loss, [atoms[:2], atoms[2:]]):
        told += [float(term.detach()) for term in found.output.terms.values()]
        told += [(name, float(ratio.sum), float(ratio.count)) for name, ratio in found.output.metrics.items()]
        told += [gradient.tolist() for gradient in found.gradients.values()]
    return told


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_uses_what_it_does_not_declare_as_unused(name: str) -> None:
    """In each mode each setting changes something, or is declared to do nothing there, and then it does nothing."""
    row = REGISTRY.registration("loss", name)
    model: Any = load_settings(row)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        fixed: list[dict[str, Any]] = [{}]
        if name == "sft":
            fixed = [{}, {"regularizer": {"use": "confidence_penalty"}}]
        seen: set[str] = set()
        for start in fixed:
            for values in modes(model, start):
                settings = valid(model, values)
                if settings is None:
                    continue
                try:
                    before = outcome(row, settings)
                except RunError:  # a regularizer of another reduction
                    assert start
                    continue
                idle = settings.without_use()
                for field in model.model_fields.keys() - start.keys() - {"regularizer"}:
                    candidates = list(tried(model, settings, field))
                    if candidates:  # none where another setting shuts it out, which is told as such
                        changed = any(differs(row, other, before) for other in candidates)
                        assert changed == (field not in idle), f"{name}.{field} in {settings!r}"
                        seen.add(field)
        assert seen == model.model_fields.keys() - {"regularizer"}


def differs(row: Any, settings: Any, before: list[Any]) -> bool:
    try:
        return outcome(row, settings) != before
    except RunError:
        return True


def tried(model: type[BaseModel], settings: Any, field: str) -> Iterator[Any]:
    """Other values of one setting; of one in use only those that may stand there."""
    for other in others(settings, field):
        if (
            field in settings.without_use()
            or valid(model, {**_set(settings), field: getattr(other, field)}) is not None
        ):
            yield other


def _set(settings: Any) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.model_fields_set}


@pytest.mark.parametrize("schedule", get_args(Optimizer.model_fields["schedule"].annotation))
@pytest.mark.parametrize("warmup", [0.0, 0.25])
def test_a_rate_uses_what_it_does_not_declare_as_unused(schedule: Any, warmup: float) -> None:
    settings = Optimizer(lr=1.0, schedule=schedule, warmup=warmup)

    def rates(optimizer: Optimizer) -> list[float]:
        planned = optimizer.planned(20)
        return [optimizer.rate(step, planned, share) for step in range(20) for share in (1.0, 0.5)]

    for field, value in (("lr", 2.0), ("warmup", 0.5), ("decay", 0.4), ("floor", 0.5), ("horizon", 40)):
        changed = rates(settings.model_copy(update={field: value})) != rates(settings)
        assert changed == (field not in settings.without_use()), field

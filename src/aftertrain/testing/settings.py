"""What every settings class promises: strict, described, and the same after a trip through YAML."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, get_args, get_origin

from aftertrain.registry.load import load_settings
from aftertrain.testing.promise import BrokenPromise, Subject, require

if TYPE_CHECKING:
    from aftertrain.core.settings import Settings

STRANGE_KEY = "no_such_setting"


def settings_forbid_unknown_keys(subject: Subject) -> None:
    """A key that is no setting is an error, in nested settings too."""
    from pydantic import ValidationError

    for model in _models(load_settings(subject.entry)):
        require(model.model_config.get("extra") == "forbid", f"{model.__name__} has not extra='forbid'")
        require(model.model_config.get("frozen"), f"{model.__name__} is not frozen")
    subject.use()
    try:
        subject.resolver.resolve(subject.entry.kind, {"use": subject.entry.name, **subject.settings, STRANGE_KEY: 1})
    except ValidationError:
        return
    raise BrokenPromise(f"the key {STRANGE_KEY!r} was accepted")


def settings_are_described(subject: Subject) -> None:
    """Every setting has a description."""
    silent = [
        f"{model.__name__}.{name}"
        for model in _models(load_settings(subject.entry))
        for name, field in model.model_fields.items()
        if not (field.description or "").strip()
    ]
    require(not silent, f"no description: {', '.join(silent)}; write Field(…, description=…)")


def settings_survive_yaml_both_ways(subject: Subject) -> None:
    """Written as YAML and read again, the settings are equal, and written once more the text is the same."""
    from ruamel.yaml import YAML

    from aftertrain.registry.document import read

    use = subject.use()
    yaml = YAML(typ="safe", pure=True)

    def text_of(data: Any) -> str:
        stream = io.StringIO()
        yaml.dump(data, stream)
        return stream.getvalue()

    text = text_of(use.dump())
    again = subject.resolver.resolve(subject.entry.kind, read(text, "settings").plain())
    require(again == use, f"written as\n{text}they are read as {again!r}, and were {use!r}")
    require(text_of(again.dump()) == text, "written a second time, the text differs")


def _models(model: type[Settings]) -> Iterator[type[Settings]]:
    """`model` and the settings classes of its fields; nested components have rows of their own."""
    seen: set[Any] = set()
    waiting = [model]
    while waiting:
        model = waiting.pop()
        if model in seen:
            continue
        seen.add(model)
        yield model
        waiting += [inner for field in model.model_fields.values() for inner in _settings_in(field.annotation)]


def _settings_in(annotation: Any) -> Iterator[type[Settings]]:
    from aftertrain.core.settings import Settings, Use

    if isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation
    elif get_origin(annotation) is not Use:
        for part in get_args(annotation):
            yield from _settings_in(part)

"""A class in a file as if a plugin had registered it, so that its promises can be checked."""

from __future__ import annotations

from pathlib import Path

from aftertrain.core.errors import PluginError, UnknownName
from aftertrain.registry.load import is_file, load_file, local_classes
from aftertrain.registry.tables import Origin, Registration

DISTRIBUTION = "a local file"


def local_registration(name: str) -> Registration | None:
    """The entry of `FILE.py:CLASS`, its kind found from the class's base; None when `name` is no file.

    Raises:
        PluginError: there is no such file, it raises, or no class is named and there are several or none.
        UnknownName: the file has no component class of that name.
    """
    if not is_file(name):
        return None
    written, _, wanted = name.partition(":")
    path = Path(written).expanduser().resolve()
    if not path.is_file():
        raise PluginError(f"there is no file {path}")
    kinds = {title: kind for kind, titles in local_classes(path).items() for title in titles}
    if not wanted:
        there = ", ".join(f"{title} ({kind})" for title, kind in kinds.items())
        raise PluginError(f"which class of the file? Write {written}:CLASS; it has {there or 'no component'}")
    if wanted not in kinds:
        raise UnknownName(f"component class in {written}", wanted, kinds)
    component = getattr(load_file(path), wanted)
    origin = Origin(path.stem, DISTRIBUTION, "", component.__module__, str(path))
    settings = f"{component.Config.__module__}:{component.Config.__qualname__}"
    target = f"{component.__module__}:{wanted}"
    return Registration(
        kinds[wanted], f"{path}:{wanted}", target, settings, (component.__doc__ or wanted).split("\n")[0], origin
    )

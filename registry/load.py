"""From `"module:Class"` to the class, with errors that name the package it came from."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.core.errors import PluginError, unknown
from aftertrain.core.kinds import KINDS
from aftertrain.registry.tables import Row

if TYPE_CHECKING:
    from aftertrain.core.component import Component
    from aftertrain.core.settings import Settings

_LOCAL = re.compile(r"(?P<file>(?:\.{1,2}|~)?/.*\.py):(?P<name>[A-Za-z_]\w*)")


def is_local(name: str) -> bool:
    """Whether `name` is a class in a file, `./my_loss.py:MarginLoss`."""
    return _LOCAL.fullmatch(name) is not None


def load_settings(row: Row) -> type[Settings]:
    """The settings class of a row; imports only the module of the settings.

    Raises:
        PluginError: it cannot be imported or is no subclass of `Settings`.
    """
    from aftertrain.core.settings import Settings

    found = _load(row, row.settings)
    if not (isinstance(found, type) and issubclass(found, Settings)):
        raise PluginError(_at(row, f"{row.settings} is not a subclass of aftertrain.core.settings.Settings"))
    return found


def load_component(row: Row) -> type[Component[Any]]:
    """The component class of a row.

    Raises:
        PluginError: it cannot be imported, or does not subclass its kind's interface.
    """
    found = _load(row, row.component)
    _check_interface(row.kind, found, _at(row, row.component))
    return found  # type: ignore[no-any-return]


def load_local(kind: str, name: str, base_folder: Path | None) -> type[Component[Any]]:
    """The class that `./file.py:Class` names, relative to `base_folder`.

    Raises:
        PluginError: no such file or class, the file raises, or the class is of another kind.
    """
    match = _LOCAL.fullmatch(name)
    if match is None:
        raise PluginError(f"{name!r} is not of the form './file.py:Class'")
    path = Path(match["file"]).expanduser()
    path = (path if path.is_absolute() else (base_folder or Path.cwd()) / path).resolve()
    if not path.is_file():
        raise PluginError(f"there is no file {path}")
    module = _local_module(path)
    if not hasattr(module, match["name"]):
        classes = [key for key, value in vars(module).items() if isinstance(value, type)]
        raise PluginError(f"{path}: {unknown('class', match['name'], classes)}")
    found = getattr(module, match["name"])
    _check_interface(kind, found, f"{path}:{match['name']}")
    return found  # type: ignore[no-any-return]


def _local_module(path: Path) -> Any:
    """Import a file once per path, under a name that no package has."""
    name = f"aftertrain_local_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        beside = isinstance(error, ModuleNotFoundError) and error.name and path.with_name(f"{error.name}.py").is_file()
        cure = "; a local file stands alone: put both into one file, or make a package" if beside else ""
        raise PluginError(f"{path} raised {type(error).__name__}: {error}{cure}") from error
    return module


def _load(row: Row, target: str) -> Any:
    module_name, _, attribute = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise PluginError(_at(row, f"importing {module_name} raised {type(error).__name__}: {error}")) from error
    if not hasattr(module, attribute):
        raise PluginError(_at(row, f"module {module_name} ({module.__file__}) has no {attribute!r}"))
    return getattr(module, attribute)


def _check_interface(kind: str, found: Any, where: str) -> None:
    module_name, _, attribute = KINDS[kind].interface.partition(":")
    interface = getattr(importlib.import_module(module_name), attribute)
    if not (isinstance(found, type) and issubclass(found, interface)):
        raise PluginError(f"{where} is not a subclass of {module_name}.{attribute}, so it is no {kind}")


def _at(row: Row, message: str) -> str:
    return f"{row.kind} {row.name!r} of plugin {row.origin.plugin!r} ({row.origin.full()}): {message}"

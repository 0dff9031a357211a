"""From `"module:Class"` to the class, with errors that name the package it came from."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import logging
import pkgutil
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.core.errors import PluginError, unknown
from aftertrain.core.ground.foreign import PATIENCE_SECONDS, EndedProgram, foreign, told
from aftertrain.core.kinds import KINDS
from aftertrain.registry.moved import moved
from aftertrain.registry.tables import Registration

if TYPE_CHECKING:
    from aftertrain.core.component import Component
    from aftertrain.core.settings import Settings

_NOTHING = object()
_PREFIX = "aftertrain_local_"
"""Begins the names of modules made from local files."""
_LOCAL = re.compile(r"(?P<file>(?:\.{1,2}|~)?/.*\.py):(?P<name>[A-Za-z_]\w*)")


def is_local(name: str) -> bool:
    """Whether `name` is a class in a file, `./my_loss.py:MarginLoss`."""
    return _LOCAL.fullmatch(name) is not None


def load_settings(entry: Registration) -> type[Settings]:
    """The settings class of a entry; imports only the module of the settings.

    Raises:
        PluginError: it cannot be imported or is no subclass of `Settings`.
    """
    from aftertrain.core.settings import Settings

    loaded = _load(entry, entry.settings)
    if not (isinstance(loaded, type) and issubclass(loaded, Settings)):
        raise PluginError(f"{entry}: {entry.settings} is not a subclass of aftertrain.core.settings.Settings")
    return loaded


def load_component(entry: Registration) -> type[Component[Any]]:
    """The component class of a entry.

    Raises:
        PluginError: it cannot be imported, or does not subclass its kind's interface.
    """
    loaded = _load(entry, entry.component)
    _check_interface(entry.kind, loaded, f"{entry}: {entry.component}")
    return loaded  # type: ignore[no-any-return]


def is_file(name: str) -> bool:
    """Whether `name` is meant as a file, whole or not: `my_loss.py`, `./my_loss.py`, `my_loss.py:MarginLoss`."""
    return name.partition(":")[0].endswith(".py")


def load_local(kind: str, name: str, base_folder: Path | None) -> type[Component[Any]]:
    """The class that `./file.py:Class` names, relative to `base_folder`.

    Raises:
        PluginError: no such file or class, the file raises, or the class is of another kind.
    """
    written, _, wanted = name.partition(":")
    path = Path(written).expanduser()
    path = (path if path.is_absolute() else (base_folder or Path.cwd()) / path).resolve()
    if not path.is_file():
        raise PluginError(f"there is no file {path}")
    module = load_file(path)
    with foreign(f"{path}:{wanted}"):
        own = local_classes(path).get(kind, ())
        if not wanted:
            offered = f"it has {', '.join(own)}" if own else f"it has no class that is a {kind}"
            raise PluginError(f"which {kind} of the file? Write {_example(written)}:CLASS; {offered}")
        if not hasattr(module, wanted):
            raise PluginError(f"{path}: {unknown(f'{kind} class', wanted, own)}")
        loaded = getattr(module, wanted)
        _check_interface(kind, loaded, f"{path}:{wanted}")
    if not is_local(name):
        raise PluginError(f"a class in a file begins with './': write {_example(written)}:{wanted}")
    return loaded  # type: ignore[no-any-return]


def _example(written: str) -> str:
    """A file as it is written in a recipe or on the command line, from the current folder where it lies in it."""
    path = Path(written)
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return str(path) if path.is_absolute() or path.parts[0] in ("..", "~") else f"./{path}"


def local_classes(path: Path) -> dict[str, list[str]]:
    """The component classes that a file defines, by kind.

    Raises:
        PluginError: the file cannot be imported.
    """
    module = load_file(path)
    classes = {key: value for key, value in vars(module).items() if isinstance(value, type)}
    own = {key: cls for key, cls in classes.items() if cls.__module__ == module.__name__}
    by_kind = {kind: [key for key, cls in own.items() if issubclass(cls, interface(kind))] for kind in KINDS}
    return {kind: names for kind, names in by_kind.items() if names}


def local_files() -> list[Path]:
    """The files whose classes were loaded in this process, for one that must load them too.

    A file that is gone is left out: examples write theirs into a folder that lives as long as their check.
    """
    modules = [module for name, module in sys.modules.items() if name.startswith(_PREFIX)]
    files = [Path(module.__file__) for module in modules if module.__file__]
    return [file for file in files if file.is_file()]


def load_file(path: Path) -> Any:
    """Import a file once per path, under a name that no package has."""
    name = f"{_PREFIX}{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with foreign(str(path), patience=PATIENCE_SECONDS):
            spec.loader.exec_module(module)
    except Exception as error:
        sys.modules.pop(name, None)
        if isinstance(error, EndedProgram):
            raise
        beside = isinstance(error, ModuleNotFoundError) and error.name and path.with_name(f"{error.name}.py").is_file()
        cure = "; a local file stands alone: put both into one file, or make a package" if beside else moved(error)
        raise PluginError(f"{path} raised {told(error)}{cure}") from error
    return module


def _load(entry: Registration, target: str) -> Any:
    module_name, _, attribute = target.partition(":")
    level = logging.DEBUG if entry.origin.built_in else logging.WARNING
    try:
        with foreign(str(entry), patience=PATIENCE_SECONDS, level=level):
            module = importlib.import_module(module_name)
            loaded = getattr(module, attribute, _NOTHING)
    except EndedProgram:
        raise
    except Exception as error:
        raise PluginError(f"{entry}: importing {module_name} raised {told(error)}{moved(error)}") from error
    if loaded is _NOTHING:
        raise PluginError(f"{entry}: module {module_name} ({module.__file__}) has no {attribute!r}")
    return loaded


def _check_interface(kind: str, loaded: Any, where: str) -> None:
    if not (isinstance(loaded, type) and issubclass(loaded, interface(kind))):
        raise PluginError(f"{where} is not a subclass of {KINDS[kind].interface.replace(':', '.')}, so it is no {kind}")


def interface(kind: str) -> type[Component[Any]]:
    """The class that components of a kind subclass."""
    loaded: type[Component[Any]] = pkgutil.resolve_name(KINDS[kind].interface)
    return loaded

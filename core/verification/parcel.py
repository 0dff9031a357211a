"""A component on its way to another process: a verifier, or an environment."""

from __future__ import annotations

import hashlib
import pickle
import sys
from dataclasses import dataclass
from typing import Any

from aftertrain.core.component import Component
from aftertrain.core.errors import RunError


@dataclass(frozen=True, slots=True)
class Parcel:
    """A pickled component.

    Attributes:
        key: digest of `pickled`.
        files: by name, the files of the modules it was defined in, should the import path not lead to them.
    """

    key: str
    pickled: bytes
    files: dict[str, str]

    @classmethod
    def of(cls, component: Component[Any]) -> Parcel:
        """Pack a component.

        Raises:
            RunError: it cannot be pickled, or it was defined where no other process can find it.
        """
        name = f"{component.kind} {type(component).__qualname__}"
        modules = {base.__module__ for part in (component, component.settings) for base in type(part).__mro__}
        if "__main__" in modules:
            raise RunError(
                f"{name} is defined in the main program, where no other process finds it; put it into a module"
            )
        try:
            pickled = pickle.dumps(component)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise RunError(
                f"{name} cannot be sent to a process of its own: {error}; keep what cannot be pickled out of "
                "it, or set `isolated = False` on the class if it bounds its own time"
            ) from error
        files = {module: getattr(sys.modules[module], "__file__", None) for module in sorted(modules)}
        sources = {module: file for module, file in files.items() if file is not None and file.endswith(".py")}
        return cls(hashlib.sha256(pickled).hexdigest(), pickled, sources)

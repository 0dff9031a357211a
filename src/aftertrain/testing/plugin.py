"""What every entry of a plugin promises: light to register, and each target is what it says."""

from __future__ import annotations

import pickle

from aftertrain.registry.discovery import HEAVY
from aftertrain.testing.fresh import modules_after
from aftertrain.testing.promise import Subject, require


def registering_is_light(subject: Subject) -> None:
    """Importing the registering module in a new process imports no torch, pydantic, transformers or datasets."""
    module = subject.entry.origin.module
    heavy = sorted(modules_after(f"import {module}") & set(HEAVY))
    require(not heavy, f"importing {module} imports {', '.join(heavy)}; move such imports into the component's module")


def settings_import_no_torch(subject: Subject) -> None:
    """Importing the settings' module in a new process imports no torch or transformers."""
    module = subject.entry.settings.partition(":")[0]
    heavy = sorted(modules_after(f"import {module}") & {"torch", "transformers", "datasets"})
    require(not heavy, f"importing {module} imports {', '.join(heavy)}; validating a recipe must not")


def targets_resolve(subject: Subject) -> None:
    """The component is a concrete class of its kind's interface, and its Config is the registered settings class."""
    from aftertrain.registry.load import load_component, load_settings

    component, settings = load_component(subject.entry), load_settings(subject.entry)
    require(
        component.Config is settings,
        f"{subject.entry.component}.Config is {component.Config.__name__}, the entry says {subject.entry.settings}",
    )
    missing = sorted(getattr(component, "__abstractmethods__", ()))
    require(not missing, f"{subject.entry.component} does not define {', '.join(missing)}")


def construction_is_light_and_picklable(subject: Subject) -> None:
    """It is made from settings alone, and comes out of pickle as the same class with equal settings."""
    component = subject.component()
    copy = pickle.loads(pickle.dumps(component))
    require(type(copy) is type(component), f"out of pickle comes a {type(copy).__name__}")
    require(copy.settings == component.settings, "out of pickle it has other settings")


OF_A_PACKAGE = (registering_is_light, settings_import_no_torch)
"""What only a package can promise, which registers its components; a local file does not."""

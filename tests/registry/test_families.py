"""A name that ends in a slash is a family's: what follows it in a recipe is the component's setting `member`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic_core import PydanticCustomError

from aftertrain.core.errors import UnknownName
from aftertrain.registry.builder import ComponentBuilder
from aftertrain.registry.discovery import discover
from aftertrain.registry.resolve import SettingsResolver
from aftertrain.registry.schema import recipe_schema
from aftertrain.registry.tables import Registry
from tests.registry.conftest import SETTINGS, Install, registering

SAME = {"name": "house", "distribution": "aftertrain", "version": "0.1.0", "package": "house"}


@pytest.fixture
def registry(install: Install, tmp_path: Path) -> Registry:
    house = install(registering(("loss", "maps/"), ("loss", "margin"), package="house"), **SAME)
    with_member = SETTINGS.replace(
        "    margin: float", '    member: str = Field(description="Which.")\n    margin: float'
    )
    (tmp_path / "site-1" / "house" / "settings.py").write_text(with_member)
    acme = install(registering(("loss", "acme/maps/")))
    return discover([house, acme])


def resolve(registry: Registry, **value: Any) -> Any:
    return SettingsResolver(registry).resolve("loss", value)


def test_what_follows_the_family_s_name_is_its_setting(registry: Registry) -> None:
    use = resolve(registry, use="maps/berlin/east", margin=2)
    assert (use.name, use.settings.member, use.settings.margin) == ("maps/berlin/east", "berlin/east", 2)
    assert resolve(registry, **use.dump()) == use  # as it is written into a run
    assert resolve(registry, use="maps/", member="berlin/east", margin=2) == use
    assert ComponentBuilder(registry).component_class(use).__name__ == "Margin"
    assert registry.registration("loss", "acme/maps/x").name == "acme/maps/"


def test_a_family_needs_a_member_and_only_one(registry: Registry) -> None:
    with pytest.raises(PydanticCustomError, match=r"which loss of 'maps/'\? Write maps/NAME"):
        resolve(registry, use="maps/")
    with pytest.raises(PydanticCustomError, match="its setting 'member' is what follows 'maps/' in its name"):
        resolve(registry, use="maps/berlin", member="rome")


def test_a_family_misspelt_is_found(registry: Registry) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'maps/berlin'"):
        registry.registration("loss", "mps/berlin")


def test_nobody_takes_a_member_from_a_family(install: Install) -> None:
    house = install(registering(("loss", "maps/"), package="house"), **SAME)
    thief = install(
        registering(("loss", "maps/berlin"), package="thief"), name="maps", distribution="t", package="thief"
    )
    registry = discover([house, thief])
    assert [plugin.state for plugin in registry.plugins] == ["ok", "clash"]
    assert "has two owners" in registry.plugins[1].note
    assert registry.registration("loss", "maps/rome").name == "maps/"


def test_the_schema_takes_any_member(registry: Registry) -> None:
    schema = recipe_schema(registry)
    jsonschema.Draft202012Validator.check_schema(schema)
    loss = jsonschema.Draft202012Validator({"$ref": "#/$defs/loss", "$defs": schema["$defs"]})
    assert loss.is_valid("maps/berlin")
    assert loss.is_valid({"use": "maps/berlin", "margin": 2})
    assert not loss.is_valid({"use": "maps/", "margin": 2})
    assert not loss.is_valid({"use": "maps/berlin", "margn": 2})
    assert not loss.is_valid("maps/")

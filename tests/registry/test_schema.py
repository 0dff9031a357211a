"""The schema says of a recipe what loading it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from aftertrain.registry.discovery import discover, installed
from aftertrain.registry.document import read
from aftertrain.registry.recipe import shipped
from aftertrain.registry.schema import recipe_schema
from aftertrain.registry.tables import Registry
from tests.registry.conftest import Install, registering
from tests.registry.test_recipe import REGISTER, STAGE


@pytest.fixture
def registry(install: Install, tmp_path: Path) -> Registry:
    """The built-ins of `test_recipe`, a third party, and one whose rows are withheld."""
    house = install(REGISTER, name="house", distribution="aftertrain", version="0.1.0", package="house")
    (tmp_path / "site-1" / "house" / "stage.py").write_text(STAGE)
    acme = install(registering(("loss", "acme/margin")))
    bad = install(
        registering(("loss", "bad/one"), ("loss", "two"), package="bad"),
        name="bad",
        distribution="bad-dist",
        package="bad",
    )
    return discover([house, acme, bad])


def errors(registry: Registry, stage: Any) -> list[str]:
    schema = recipe_schema(registry)
    jsonschema.Draft202012Validator.check_schema(schema)
    recipe = {"name": "x", "model": "m", "stages": {"a": stage}}
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(recipe)]


@pytest.mark.parametrize(
    "stage",
    [
        {"use": "fit", "loss": "plain"},
        {"use": "fit", "loss": {"use": "margin", "margin": 2, "inner": {"rate": 1}}},
        {"use": "fit", "loss": {"use": "acme/margin", "other": {"use": "margin", "several": ["plain"]}}},
        {"use": "fit", "loss": {"use": "./mine.py:Mine", "anything": 1}},
        {"use": "fit", "loss": "../up/mine.py:Mine", "from": "b", "file": None},
        {"use": "/abs/stage.py:Mine", "whatever": 1},
        {"use": "fit", "loss": "plain", "backup": {"margin": 1}},
    ],
)
def test_good_recipes_fit(registry: Registry, stage: Any) -> None:
    assert errors(registry, stage) == []


@pytest.mark.parametrize(
    "stage",
    [
        "fit",
        {"use": "fit"},
        {"use": "fit", "loss": "no_such"},
        {"use": "fit", "loss": {"use": "margin", "marjin": 2}},
        {"use": "fit", "loss": {"use": "margin", "inner": {"rat": 1}}},
        {"use": "fit", "loss": {"use": "margin", "other": {"use": "margin", "other": {"use": "plain", "x": 1}}}},
        {"use": "margin"},
        {"loss": "plain"},
        {"use": "fit", "loss": "plain", "losses": "plain"},
        {"use": "fit", "loss": "plain", "backup": {"marjin": 1}},
        {"use": "fit", "loss": {"margin": 1}},
    ],
)
def test_bad_recipes_do_not(registry: Registry, stage: Any) -> None:
    assert errors(registry, stage)


def test_a_component_that_cannot_be_used_stands_there_with_the_reason(registry: Registry) -> None:
    choices = recipe_schema(registry)["$defs"]["loss"]["anyOf"][-1]["oneOf"]
    (bad,) = [choice for choice in choices if choice.get("properties", {}).get("use", {}).get("const") == "bad/one"]
    assert "plugin 'bad' (bad-dist 1.2, " in bad["description"]
    assert "is broken" in bad["description"]


def test_every_setting_of_a_third_party_is_described(registry: Registry) -> None:
    definition = recipe_schema(registry)["$defs"]["loss.acme.margin"]
    assert definition["description"] == "a margin [acme-aftertrain 1.2]"
    assert definition["properties"]["margin"]["description"] == "How far apart."
    assert definition["required"] == ["use"]


def test_the_schema_of_everything_installed_is_one() -> None:
    schema = recipe_schema(installed())
    jsonschema.Draft202012Validator.check_schema(schema)
    text = json.dumps(schema)
    wanted = {part.split('"')[0] for part in text.split('"$ref": "#/$defs/')[1:]}
    assert wanted <= schema["$defs"].keys()
    assert "x-aftertrain" not in text


@pytest.mark.parametrize("name", shipped())
def test_shipped_recipes_fit_the_schema(name: str) -> None:
    recipe = read(shipped()[name].read_text(encoding="utf-8"), name).plain()
    found = jsonschema.Draft202012Validator(recipe_schema(installed())).iter_errors(recipe)
    assert [f"{error.json_path}: {error.message}" for error in found] == []

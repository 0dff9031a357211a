"""The page for users of other frameworks names settings that exist, and the same that a wrong name is answered with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest

from aftertrain.core.recipe import Recipe
from aftertrain.core.settings import Use
from aftertrain.registry.describe import nested
from aftertrain.registry.discovery import installed
from aftertrain.registry.elsewhere import ELSEWHERE
from aftertrain.registry.load import load_settings
from aftertrain.registry.places import field_of

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "come-from-trl.md"
STAGES = [load_settings(installed().row("stage", name)) for name in ("train", "online")]


def rows() -> list[tuple[list[str], str]]:
    """Their names and ours, of each line of the table."""
    cells = [line.split("|")[1:3] for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    return [(re.findall(r"`([^`]+)`", theirs), re.findall(r"`([^`]+)`", ours)[0]) for theirs, ours in cells]


def exists(model: Any, path: list[str]) -> bool:
    """Whether a path can be followed, through any component of a kind where it leads into one."""
    field = field_of(model, path[0])
    if field is None:
        return False
    if len(path) == 1:
        return True
    if get_origin(field.annotation) is Use:
        (interface,) = get_args(field.annotation)
        kind = (get_origin(interface) or interface).kind
        return any(exists(load_settings(row), path[1:]) for row in installed().rows(kind))
    inner = nested(field.annotation)
    return inner is not None and exists(inner, path[1:])


def known(path: str) -> bool:
    return any(exists(model, path.split(".")) for model in (*STAGES, Recipe))


@pytest.mark.parametrize("ours", sorted({ours for _, ours in rows()}))
def test_each_of_our_names_exists(ours: str) -> None:
    assert known(ours)


@pytest.mark.parametrize("theirs", ELSEWHERE)
def test_messages_and_page_say_the_same(theirs: str) -> None:
    here = ELSEWHERE[theirs]
    assert all(map(known, here.paths))
    assert [ours for names, ours in rows() if theirs in names] == [here.paths[0]]


def test_a_name_that_is_not_ours_is_found_out() -> None:
    assert not known("optimizer.learning_rate")
    assert not known("loss.no_such")

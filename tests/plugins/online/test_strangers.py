"""A stranger's estimator or selection that gives what cannot be: named, before anything is learnt of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import pytest
import torch

from aftertrain.core.advantage import Advantage, AdvantageSettings, Credit, Method, Replies
from aftertrain.core.errors import NumericsError, PluginError
from aftertrain.core.selection import Group, Past, Selection, SelectionSettings

Give = Callable[[Replies], Any]
CREDITS: dict[str, tuple[Give, type[Exception], str]] = {
    "no credit": (lambda r: r.per_token(r.rewards), PluginError, "returns a Credit, not tensor"),
    "nothing": (lambda r: None, PluginError, "returns a Credit, not None"),
    "misnamed": (lambda r: Credit({"advantage": r.per_token(r.rewards)}), PluginError, "columns .'advantage'."),
    "by reply": (lambda r: Credit({"advantages": r.rewards}), PluginError, r"shape \(10,\), .*per_token"),
    "a list": (lambda r: Credit({"advantages": [0.0] * len(r.mask)}), PluginError, "no tensor of floats"),
    "whole numbers": (lambda r: Credit({"advantages": r.owners}), PluginError, "no tensor of floats"),
    "infinite": (
        lambda r: Credit({"advantages": r.per_token(r.rewards / 0 * torch.inf)}), NumericsError,
        "step 1: advantages are not finite; samples: sum-",
    ),
}  # fmt: skip


class Plain(AdvantageSettings):
    """Compares replies."""

    method: ClassVar[Method] = Method(samples=2, defaults={"loss": "grpo", "kl": {"beta": 0.0}})


@pytest.mark.parametrize("fault", CREDITS)
def test_what_is_no_credit_is_named(bench: Any, fault: str) -> None:
    give, error, said = CREDITS[fault]

    class Stranger(Advantage[Plain]):
        Config = Plain

        def __call__(self, replies: Replies) -> Credit:
            return give(replies)  # type: ignore[no-any-return]

    run = stranger(bench, ("advantage", "group"), Stranger, Plain, {"advantages": "group"})
    with pytest.raises(error, match=said):
        run.run()
    assert not (run.folder / "samples").exists()


class Some(SelectionSettings):
    """Chooses."""


class Sound(Selection[Some]):
    Config = Some


class Beyond(Sound):
    def draw(self, count: int, stream: Iterator[int], problems: Sequence[str], past: Past, seed: int) -> list[int]:
        return [len(problems)]


class Named(Sound):
    def draw(self, count: int, stream: Iterator[int], problems: Sequence[str], past: Past, seed: int) -> Any:
        return list(problems[:count])


class Elsewhere(Sound):
    def choose(self, groups: Sequence[Group], wanted: int) -> Sequence[int]:
        return [len(groups)]


class TooMany(Sound):
    def asks(self, wanted: int) -> int:
        return 2 * wanted

    def choose(self, groups: Sequence[Group], wanted: int) -> Sequence[int]:
        return range(len(groups))


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        (Beyond, r"selection Beyond draws the problems \['12'\], which are no places among 12"),
        (Named, "selection Named draws the problems .'sum-"),
        (Elsewhere, r"selection Elsewhere chooses the groups \['5'\], which are no places among 5"),
        (TooMany, "selection TooMany chooses 10 groups where 5 are wanted"),
    ],
)
def test_what_is_no_choice_is_named(bench: Any, selection: type[Selection[Any]], said: str) -> None:
    run = stranger(bench, ("selection", "curriculum"), selection, Some, {"selection": "curriculum"})
    with pytest.raises(PluginError, match=said):
        run.run()


def stranger(bench: Any, row: tuple[str, str], component: Any, settings: Any, changes: dict[str, Any]) -> Any:
    """A bench where a stranger's component has the place of one of ours."""
    from tests.plugins.online import conftest

    table = conftest.components() | {row: (component, settings)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conftest, "components", lambda: table)
        small = {"advantages": "group", "loss": {"use": "grpo"}, "kl": {"place": "loss", "beta": 0.0}, "steps": 1}
        return bench("stranger", {**small, **changes})

"""Every built-in keeps every promise that a stranger's component is held to."""

from __future__ import annotations

import pytest

from aftertrain.registry.discovery import discover, installed
from aftertrain.testing import Claim, claims

MAY_BE_UNCHECKED = {"observer wandb: it takes every event", "observer wandb: it closes when a run fails"}
WITHOUT = (
    "engine deepspeed: ",
    "head_kernel cut_cross_entropy: ",
    "head_kernel liger: ",
    "generator openai: ",
    "generator vllm: ",
    "environment verifiers: ",
    "dataset verifiers: ",
    "dataset stage: ",
    "operator decon: ",
)
"""They need packages that the base install has not, or a GPU, or a stage that is done; an endpoint tells nothing of ids
and weights.

`vllm` keeps its promises in tests/plugins/vllm_generator, `stage` in tests/plugins/data.
"""


def built_in() -> list[Claim]:
    """Claims about rows of aftertrain itself, whatever else is installed here."""
    return [claim for claim in claims() if claim.entry.origin.built_in]


def test_every_built_in_plugin_is_in_order() -> None:
    states = {
        plugin.origin.plugin: (plugin.state, plugin.note) for plugin in installed().plugins if plugin.origin.built_in
    }
    assert states == dict.fromkeys(states, ("ok", ""))
    assert len(states) >= 11


@pytest.mark.slow
@pytest.mark.parametrize("claim", built_in(), ids=str)
def test_promise(claim: Claim) -> None:
    finding = claim.finding()
    if finding.state == "unchecked" and (str(claim) in MAY_BE_UNCHECKED or str(claim).startswith(WITHOUT)):
        pytest.skip(finding.message)
    assert finding.state == "kept", finding.message


def test_claims_of_nothing_are_none() -> None:
    assert claims(registry=discover([])) == []

"""Ranks on Ray: what each is told, and what is refused before any starts. Whole runs are in tests/resume."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from aftertrain.core.errors import MissingExtra, RunError
from aftertrain.launch.crew import launch
from aftertrain.launch.keeper import Place
from aftertrain.launch.on_ray import environments_of
from aftertrain.launch.process import LOOPBACK


def test_ranks_are_numbered_on_their_machines_and_see_its_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "GLOO_SOCKET_IFNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    a, b = ("a", "10.0.0.1", 8), ("b", "10.0.0.2", 3)
    places = [Place(*a, ("3",)), Place(*b, ("0",)), Place(*a, ("1",)), Place(*b, ("2",))]
    found = environments_of(places, "10.0.0.1", 29500)
    names = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
    assert [tuple(environment[name] for name in names) for environment in found] == [
        ("0", "0", "2", "3,1", "4"),
        ("1", "0", "2", "0,2", "1"),
        ("2", "1", "2", "3,1", "4"),
        ("3", "1", "2", "0,2", "1"),
    ]
    for environment in found:
        assert (environment["WORLD_SIZE"], environment["MASTER_ADDR"], environment["MASTER_PORT"]) == (
            "4",
            "10.0.0.1",
            "29500",
        )
        assert environment["HF_HUB_OFFLINE"] == "1", "machines of the cluster have environments of their own"
        assert "GLOO_SOCKET_IFNAME" not in environment, "the loopback reaches no other machine"


def test_one_machine_without_gpus_meets_at_its_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = environments_of([Place("a", "10.0.0.1", 8, ())] * 2, LOOPBACK, 1)
    assert [environment["LOCAL_RANK"] for environment in found] == ["0", "1"]
    assert {environment["OMP_NUM_THREADS"] for environment in found} == {"1"}
    assert all("GLOO_SOCKET_IFNAME" in environment for environment in found)
    assert not any("CUDA_VISIBLE_DEVICES" in environment for environment in found)


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"--on ray needs the package 'ray': pip install 'aftertrain\[ray\]'"):
        launch(["run", "recipe.yaml"], 2, tmp_path, "ray")


def test_a_client_address_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib, "import_module", lambda name: name)
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(RunError, match="RAY_ADDRESS is ray://head:10001: ranks are started from a machine of the clus"):
        launch(["run", "recipe.yaml"], 2, tmp_path, "ray")

"""The rows of `online.py`: named the same with --quick and without, references apart from what has a peer."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def rows(monkeypatch: pytest.MonkeyPatch, folder: Path, *, quick: bool) -> dict[str, tuple[float | None, float | None]]:
    """Peer and ratio by name, of sides of which the second takes twice the time and memory of the first."""
    online: Any = importlib.import_module("online")
    table: Any = importlib.import_module("table")

    def told(spec: Any) -> list[list[dict[str, Any]]]:
        def side(factor: float) -> list[dict[str, Any]]:
            common = {"cpu": factor, "wall": factor, "peak": 2 + factor, "fixed": 2, "reply_tokens": 100}
            return [{**common, "timing": {"generate": factor, "seconds": factor}, "losses": {"policy": 0.5}}]

        return [side(1.0), side(2.0)]

    def alone(script: str, *_: Any) -> list[Any]:
        names = [f"generation {n}" for n in (1, 16, 64)] if script == "generation.py" else ["reference vllm 1"]
        return [table.Row(name, "tok/s", 2.0, 1.0, 2.0) for name in names]

    monkeypatch.setenv("AFTERTRAIN_VLLM_PYTHON", "python")
    for name, stand_in in {"steps": told, "updates": told, "alone": alone}.items():
        monkeypatch.setattr(online, name, stand_in)
    for name in ("endless", "tiny_endless", "write_questions"):
        monkeypatch.setattr(online, name, lambda *_: "somewhere")
    given = {"only": list(online.CASES), "model": "m", "data": "d", "micro": 8, "micro_tokens": 1024, "steps": 3}
    arguments = argparse.Namespace(**given, threads=1, quick=quick)
    return {row.name: (row.peer, row.ratio) for part in online.rows(arguments, folder) for row in part}


def test_the_rows_are_those_that_were_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    found, quick = (rows(monkeypatch, tmp_path, quick=quick) for quick in (False, True))
    assert found.keys() == quick.keys()
    asked = {"step", "tiny step", "memory", "generation 1", "generation 16", "generation 64", "step 16x8x128"}
    assert asked <= found.keys()
    # The peer takes twice our seconds and bytes, above 2 bytes that are fixed: of whole processes 4 to 3.
    assert {name: found[name][1] for name in asked} == dict.fromkeys(asked, 2.0)
    assert found["memory: whole process"][1] == pytest.approx(4 / 3)
    references = {name for name in found if name.startswith("reference ")}
    assert {"reference PPO update", "reference PPO update: memory", "reference vllm 1"} <= references
    assert not {name for name in found.keys() - references if "PPO" in name or "vllm" in name}

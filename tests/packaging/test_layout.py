"""The house: four links make the top-level folders one package, and nothing else is under src."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
checkout = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout: an sdist holds copies")


@checkout
@pytest.mark.parametrize("room", ["configs", "core", "plugins", "registry"])
def test_rooms_are_links(room: str) -> None:
    link = ROOT / "src" / "aftertrain" / room
    assert link.is_symlink(), f"{link} must be a link to ../../{room}; was the checkout made without links?"
    assert link.readlink() == Path(f"../../{room}")


@checkout
def test_links_are_links_in_git() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-s", "src/aftertrain"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    links = {line.split("/")[-1] for line in listed.splitlines() if line.startswith("120000")}
    assert links == {"configs", "core", "plugins", "registry"}


def test_imports_come_from_the_rooms() -> None:
    import aftertrain.core.errors as module

    assert Path(module.__file__).resolve() == ROOT / "core" / "errors.py"


def test_torch_range_and_extras() -> None:
    """Plain pip must find the CPU build, and `all` must not drag in vLLM, whose wheels are CUDA builds."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "torch>=2.11,<2.14" in project["dependencies"]
    extras = project["optional-dependencies"]
    assert {"deepspeed", "ray", "wandb", "test", "docs", "dev", "all"} <= extras.keys()
    assert not any("vllm" in line for line in extras["all"])


def _lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("importlinter", reason="import-linter is not installed (extra dev)")
    program = Path(sys.executable).with_name("lint-imports")
    environment = {**os.environ, "PYTHONPATH": str(root / "src"), "COLUMNS": "400"}
    command = [program, "--no-cache"]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def test_import_contract_holds() -> None:
    """The doors and the rooms; a broken contract names the import."""
    linted = _lint_imports(ROOT)
    assert linted.returncode == 0, linted.stdout + linted.stderr
    assert "0 broken" in linted.stdout


AGAINST_THE_ORDER = [
    ("core/run/signals.py", "aftertrain.launch.crew"),
    ("core/run/disk.py", "aftertrain.plugins.losses"),
    ("core/learning/rl.py", "aftertrain.core.run.graph"),
    ("core/packed/heap.py", "aftertrain.core.learning.rl"),
    ("core/verification/judging.py", "aftertrain.core.packed.heap"),
    ("core/sandbox/scratch.py", "aftertrain.core.verification.parcel"),
    ("core/loss.py", "aftertrain.core.packed.packing"),
    ("core/text/numeral.py", "aftertrain.core.verifier"),
    ("core/ground/redaction.py", "aftertrain.core.text.numeral"),
    ("plugins/losses/sft.py", "aftertrain.registry.load"),
    ("plugins/losses/dpo.py", "aftertrain.plugins.training.rows"),
    ("registry/load.py", "aftertrain.plugins.losses"),
    ("src/aftertrain/launch/rank.py", "aftertrain.cli.table"),
]
"""One import a door and a room that the contracts must not let pass."""


def test_imports_against_the_order_and_rooms_without_a_place_break_the_contracts(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for folder in ("core", "plugins", "registry", "src"):
        for file in (ROOT / folder).rglob("*.py"):
            copy = tmp_path / file.relative_to(ROOT)
            if not any(parent.is_symlink() for parent in file.parents):
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, copy)
    for room in ("core", "plugins", "registry"):
        (tmp_path / "src" / "aftertrain" / room).symlink_to(f"../../{room}")
    assert _lint_imports(tmp_path).returncode == 0
    (tmp_path / "core" / "attic.py").touch()
    for importer, imported in AGAINST_THE_ORDER:
        with (tmp_path / importer).open("a", encoding="utf-8") as file:
            file.write(f"\n\ndef _late() -> None:\n    import {imported}\n")
    linted = _lint_imports(tmp_path)
    assert linted.returncode == 1
    assert "aftertrain.core.attic" in linted.stdout
    lines = linted.stdout.splitlines()
    for importer, imported in AGAINST_THE_ORDER:
        name = "aftertrain." + importer.removeprefix("src/aftertrain/").removesuffix(".py").replace("/", ".")
        assert any(f"{name} -> {imported}" in line for line in lines), f"{name} -> {imported}\n{linted.stdout}"

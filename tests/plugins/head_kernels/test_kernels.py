"""Both kernels, in Triton's interpreter or on a GPU, against a softmax over full float64 logits and our head."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from aftertrain.core.errors import MissingExtra, ModelError
from aftertrain.core.head_kernel import LMHead
from tests.plugins.head_kernels.kernel_child import CASES, make_kernel, problem, scored

HERE = Path(__file__).parent
MODULES = {"liger": "liger_kernel", "cut-cross-entropy": "cut_cross_entropy"}
MISSING = [extra for extra, module in MODULES.items() if importlib.util.find_spec(module) is None]
NAMED = " and ".join(f"the extra '{extra}'" for extra in MISSING)
needs_packages = pytest.mark.skipif(bool(MISSING), reason=f"{NAMED} is not installed")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
CPU = torch.device("cpu")


def child(script: str, *words: str) -> None:
    """Run a script of this folder with Triton's interpreter."""
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, str(HERE / script), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, dict[str, Tensor]]]:
    out = tmp_path_factory.mktemp("kernels") / "found.pt"
    child("kernel_child.py", str(out))
    found: dict[str, Any] = torch.load(out)
    return found


def compare(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    """Largest difference, as a share of the largest entry."""
    for name, value in found.items():
        limit = tolerance * float(expected[name].abs().max())
        torch.testing.assert_close(value.double(), expected[name].double(), atol=limit, rtol=0, msg=name)


@needs_packages
@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_kernel_is_the_definition_and_our_head(name: str, interpreted: dict[str, Any]) -> None:
    """Values and gradients of states, head and bias under any upstream gradient; float32, cut's in float16.

    Numpy, which interprets, has no bfloat16, so that cut's products are of float16; Liger's are torch's own.
    """
    found = interpreted[name]
    tolerance = {"float32": 4e-6, "float16": 6e-3, "bfloat16": 0.03}[CASES[name].dtype]
    assert found["kernel"].keys() >= {"logprobs", "hits", "gradient of hidden", "gradient of weight"}
    assert found["kernel"]["logprobs"].dtype == torch.float32
    compare(found["kernel"], found["float64"], tolerance)
    compare(found["kernel"], found["ours"], tolerance)


@needs_packages
@needs_gpu
@pytest.mark.parametrize("name", CASES)
def test_a_kernel_on_a_gpu(name: str) -> None:
    """The same in bfloat16: logits are rounded to 8 bits, gradients are sums of such."""
    case = replace(CASES[name], dtype="bfloat16", n=200, vocabulary=3000, hidden=256)
    given = problem(case, "cuda")
    found = {who: scored(case, given, who, make_kernel) for who in ("kernel", "ours", "float64")}
    for expected in (found["float64"], found["ours"]):
        compare({key: value for key, value in found["kernel"].items() if key != "hits"}, expected, 0.05)


@needs_packages
@pytest.mark.slow
@pytest.mark.parametrize("engine", [{"use": "torch"}, {"use": "deepspeed", "zero": 3}], ids=["torch", "zero 3"])
def test_training_steps_are_those_of_our_head(engine: dict[str, Any], tmp_path: Path, tiny_model: Path) -> None:
    """SFT and DPO steps with and without `liger`, float32: losses and weights."""
    if engine["use"] == "deepspeed":
        pytest.importorskip("deepspeed", reason="the extra 'deepspeed' is not installed")
    out = tmp_path / "found.pt"
    child("engine_child.py", str(tiny_model), str(out), json.dumps(engine))
    for name, found in torch.load(out).items():
        assert found["liger"]["loss"] == pytest.approx(found["ours"]["loss"], rel=1e-6), name
        moved = 0.0
        for weight, expected in found["ours"]["weights"].items():
            torch.testing.assert_close(found["liger"]["weights"][weight], expected, atol=2e-8, rtol=1e-6, msg=weight)
            moved = max(moved, float((expected - found["before"][weight]).abs().max()))
        assert moved > 1e-4, name


def head(**options: Any) -> LMHead:
    given: dict[str, Any] = {"weight": torch.zeros(7, 4), "bias": None, "scale": 1.0, "softcap": None}
    return LMHead(**{**given, **options})


@pytest.mark.parametrize("name", ["liger", "cut_cross_entropy"])
def test_without_a_gpu_a_kernel_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match=f"engine.head_kernel is {name}, which needs a GPU; the model is on cpu"):
        make_kernel(name).check(head(), CPU, torch.bfloat16)


@pytest.mark.parametrize("name", ["liger", "cut_cross_entropy"])
def test_a_missing_package_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aftertrain.plugins.head_kernels.requirement.find_spec", lambda module: None)
    extra = name.replace("_", "-")
    with pytest.raises(MissingExtra, match=rf"engine\.head_kernel: {name} needs .*aftertrain\[{extra}\]"):
        make_kernel(name).check(head(), torch.device("cuda"), torch.bfloat16)


@pytest.mark.parametrize(
    ("options", "dtype", "message"),
    [
        ({}, torch.float32, "has no gradient in float32; set engine.dtype: bfloat16"),
        ({"bias": torch.zeros(7)}, torch.bfloat16, "knows no bias"),
        ({"weight": torch.empty(2**19, 2**12, device="meta")}, torch.bfloat16, "the head has 2,147,483,648; use liger"),
    ],
)
def test_cut_cross_entropy_refuses_what_it_cannot(
    options: Any, dtype: torch.dtype, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aftertrain.plugins.head_kernels.requirement.find_spec", lambda module: object())
    cut, cuda = make_kernel("cut_cross_entropy"), torch.device("cuda")
    cut.check(head(), cuda, torch.bfloat16)
    with pytest.raises(ModelError, match=message):
        cut.check(head(**options), cuda, dtype)

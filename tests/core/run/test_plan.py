"""What a plan says, before and after a run, and when something is missing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aftertrain.api.plan import plan_job
from aftertrain.core.errors import Unreachable
from aftertrain.core.ground.model_folder import read_config, weight_shapes
from aftertrain.core.run.job import Job
from aftertrain.core.run.runner import run_job
from aftertrain.core.run.size import FAMILIES, count_parameters, gibibytes, stored_parameters
from aftertrain.core.stage import StageContext

MakeJob = Callable[..., Job]


@pytest.fixture
def make(make_job: MakeJob, tiny_model: Path) -> MakeJob:
    """Jobs over a real (tiny) base model."""
    return lambda stages, **more: make_job(stages, model=str(tiny_model), **more)


def _states(job: Job) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {stage.name: (stage.state, stage.why) for stage in plan_job(job).stages}


def test_parameters_are_counted_without_weights(tiny_model: Path, tmp_path: Path) -> None:
    from safetensors import safe_open

    (tmp_path / "config.json").write_text((tiny_model / "config.json").read_text())
    with safe_open(tiny_model / "model.safetensors", "pt") as file:
        stored = sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118 (no iterator)
    assert count_parameters(tmp_path) == stored


SIZES = {"vocab_size": 48, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
SIZES |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_files_that_fit_tell_the_parameters(family: str, tied: bool, tmp_path: Path) -> None:
    """As the model has them, without that it is made; files that do not fit are not believed."""
    from safetensors.torch import load_file, save_file
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(family, **SIZES, tie_word_embeddings=tied, attention_bias=family == "llama")
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(tmp_path)
    count = sum(weight.numel() for weight in model.parameters())
    assert stored_parameters(weight_shapes(tmp_path), read_config(tmp_path)) == count
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    layer = {f"model.layers.2.{name.split('.', 3)[3]}": weights[name] for name in weights if ".layers.1." in name}
    lacking = {name: weight for name, weight in weights.items() if not name.startswith("model.layers.1.mlp")}
    narrow = {name: weight[:-1] if "embed" in name else weight for name, weight in weights.items()}
    odd = {**weights, "model.layers.0.self_attn.rotary_emb.inv_freq": weights["model.norm.weight"] + 1}
    for others in ({**weights, **layer}, lacking, narrow, odd):
        save_file({name: weight.clone() for name, weight in others.items()}, file)
        assert stored_parameters(weight_shapes(tmp_path), read_config(tmp_path)) is None
        assert count_parameters(tmp_path) == count


@pytest.mark.slow
def test_a_plan_imports_no_model_code_of_a_family_it_knows(make: MakeJob, tiny_model: Path) -> None:
    """Which takes as long as all the rest; a run would, so this looks in a process of its own."""
    code = (
        "import sys; from pathlib import Path; from aftertrain.core.run.size import count_parameters as count; "
        "import aftertrain.plugins.training.train; "
        f"print(count(Path({str(tiny_model)!r})), [n for n in ('torch._dynamo', 'scipy.optimize') if n in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert told.stdout == "25856 []\n"


def test_a_plan_writes_nothing_and_shows_model_and_stages(make: MakeJob) -> None:
    job = make({"b": {"from": "a"}, "a": {"steps": 9}})
    report = plan_job(job)
    assert not job.folder.exists()
    labels = {item.label: item for item in report.model}
    assert labels["parameters"].value == "25,856"
    assert labels["training memory"].value.startswith("0.4 MiB")
    assert {"BOS", "pad token", "prompt is a token prefix", "reply ends with"} < labels.keys()
    assert [(stage.name, stage.inputs, stage.output) for stage in report.stages] == [
        ("a", {"model": "base"}, "model"),
        ("b", {"model": "a"}, "model"),
    ]
    assert [item.value for item in report.stages[0].items] == ["9"]
    assert report.errors == ()


def test_what_would_be_reused_resumed_and_redone(make: MakeJob, walk: Any) -> None:
    stages: dict[str, dict[str, Any]] = {"a": {}, "b": {"from": "a"}, "c": {"from": "b"}}
    assert set(_states(make(stages)).values()) == {("run", ("first run",))}

    def trouble(context: StageContext, step: int) -> None:
        if (context.name, step) == ("b", 5):
            raise ZeroDivisionError

    walk.trouble = staticmethod(trouble)
    with pytest.raises(ZeroDivisionError):
        run_job(make(stages))
    assert _states(make(stages)) == {
        "a": ("reuse", ("done already",)),
        "b": ("resume", ("goes on after step 4",)),
        "c": ("run", ("first run",)),
    }
    changed: dict[str, dict[str, Any]] = {**stages, "a": {"width": 2.0}}
    assert _states(make(changed)) == {
        "a": ("run", ("width: 1.0 -> 2.0",)),
        "b": ("run", ("input model (a): its input was redone",)),
        "c": ("run", ("first run",)),
    }
    assert {state for state, _ in _states(make(stages, job={"restart": True})).values()} == {"run"}


def test_the_plan_s_hashes_are_the_run_s(make: MakeJob) -> None:
    job = make({"a": {}, "b": {"from": "a"}})
    planned = {stage.name: stage.hash for stage in plan_job(job).stages}
    result = run_job(job)
    assert planned == {name: result.artifacts[name].digest for name in ("a", "b")}


def test_missing_data_and_a_missing_model_are_errors_of_the_plan(make: MakeJob) -> None:
    job = make({"a": {"data": "/nowhere/rows"}, "b": {"from": "a"}})
    report = plan_job(job)
    assert report.errors == ("stages.a: data: /nowhere/rows: cannot be read: No such file or directory",)
    assert [stage.state for stage in report.stages] == ["unknown", "unknown"]
    report = plan_job(replace(job, recipe=job.recipe.model_copy(update={"model": "./gone"})))
    assert report.errors[0].startswith("model: model: model './gone': there is no folder ")


def test_data_that_only_a_hub_has_is_a_warning(make: MakeJob, walk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine that plans need not be the one that runs."""

    def unreachable(stage: object, *context: object) -> None:
        raise Unreachable("data set 'x/y' is not to be had from the hub")

    monkeypatch.setattr(walk, "fingerprints", unreachable)
    monkeypatch.setattr(walk, "plan", unreachable)
    report = plan_job(make({"a": {}}))
    (item,) = report.stages[0].items
    assert (item.label, item.status) == ("data", "warning")
    assert report.errors == ()


def test_a_model_without_weights_can_be_planned_but_not_hashed(make: MakeJob, tiny_model: Path, tmp_path: Path) -> None:
    described = tmp_path / "described"
    described.mkdir()
    for file in tiny_model.glob("*.json"):
        (described / file.name).write_bytes(file.read_bytes())
    for file in tiny_model.glob("*.jinja"):
        (described / file.name).write_bytes(file.read_bytes())
    job = make({"a": {}})
    report = plan_job(replace(job, recipe=job.recipe.model_copy(update={"model": str(described)})))
    assert report.errors == ()
    assert [item.status for item in report.model if item.label == "weights"] == ["ok", "warning"]
    assert report.stages[0].state == "unknown"


def test_sizes_are_readable() -> None:
    assert gibibytes(16 * 8e9) == "119.21 GiB"
    assert gibibytes(1_048_576) == "1.0 MiB"

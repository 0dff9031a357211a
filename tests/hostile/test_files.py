"""Every file that is read, broken in every way that its structure offers: a clear error with the file, or it works.

Never a traceback, never more than `SECONDS` of CPU, never `BYTES` more memory. `AFTERTRAIN_FUZZ=5000 pytest
tests/hostile/test_files.py` tries so many of each kind, at random; without it a few, always the same.
"""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aftertrain.api.history import history
from aftertrain.core.errors import AftertrainError, CheckpointError
from aftertrain.core.events import RunDone
from aftertrain.core.events.diary import EventLog
from aftertrain.core.events.lines import read_events
from aftertrain.core.ground.model_folder import check_weights, context_window, read_config
from aftertrain.core.ground.reading import read_json
from aftertrain.core.records import Artifact
from aftertrain.core.run.checkpoint import Checkpoints
from aftertrain.core.run.done import Done, read_done
from aftertrain.core.run.lineage import Lineage
from aftertrain.core.run.records import reasons, recorded_machine, recorded_why
from aftertrain.plugins.evaluation.rows import read_instances
from aftertrain.plugins.report.instances import Instances
from aftertrain.plugins.report.reading import read_run
from aftertrain.plugins.torch_engine.state import About
from aftertrain.plugins.training.composed import Composition
from aftertrain.plugins.training.feed import Position
from aftertrain.registry.recipe import load, loads
from aftertrain.testing.build import build

ASKED = os.environ.get("AFTERTRAIN_FUZZ")
SECONDS, BYTES = 10.0, 1 << 30
HASH = "0123456789abcdef" * 4
FEW = settings(
    max_examples=int(ASKED or 12),
    derandomize=ASKED is None,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

EVENT = {"name": "stage_started", "stage": "a", "step": None, "data": {"hash": HASH}, "attempt": 1, "time": 1.0}
EVENTS = [
    {
        **EVENT,
        "name": "run_started",
        "stage": "",
        "data": {"name": "r", "order": ["a"], "recipe": {"stages": {"a": {}}}},
    },
    EVENT,
    {**EVENT, "name": "metrics", "step": 1, "data": {"loss": 1.0, "timing": {"seconds": 1.0}}},
    {**EVENT, "name": "sample", "step": 1, "data": {"id": "x", "prompt": "p", "output": "o", "metrics": {"a": 1}}},
    {**EVENT, "name": "verdicts", "step": 1, "data": {"math": {"scored": 1}}},
    {**EVENT, "name": "checkpoint", "step": 1, "data": {"path": "p"}},
    {**EVENT, "name": "rewind", "step": 1, "attempt": 2, "data": {}},
    {
        **EVENT,
        "name": "scores",
        "data": {"scores": [{"task": "t", "metric": "m", "mean": 0.5, "low": 0.1, "high": 0.9}]},
    },
    {**EVENT, "name": "stage_done", "data": {"artifact": asdict(Artifact("model", "model", "a", HASH))}},
    {**EVENT, "name": "run_failed", "stage": "", "data": {"error": "e", "at": "a"}},
]
INSTANCE = {
    "id": "1",
    "task": "t",
    "temperature": 0.0,
    "prompt": "p",
    "output": "o",
    "target": "t",
    "extracted": None,
    "outcome": "scored",
    "metrics": {"exact": 1.0},
    "logprobs": [0.5],
}
RECIPE = {
    "name": "r",
    "model": "m",
    "seed": 1,
    "chat_template": "tulu",
    "plugins": {"block": ["x"]},
    "observers": [{"use": "tensorboard"}],
    "stages": {
        "a": {
            "use": "train",
            "data": {"use": "jsonl", "path": "x.jsonl", "format": "messages", "fields": {"messages": "m"}},
            "loss": {"use": "sft"},
            "batch": {"sequences": 8, "max_tokens": 512},
            "optimizer": {"lr": 1e-5, "schedule": "linear", "warmup": 0.1},
            "epochs": 1,
        },
        "b": {"use": "evaluate", "from": "a", "tasks": [{"use": "gsm8k", "path": "t.jsonl", "shots": 2}]},
    },
}
LINEAGE = Lineage("a", "train", {"lr": 1.0}, {"m": "x"}, 0, None, {"d": "y"}, {"model (base)": "z"})
CONFIG = {
    "model_type": "llama",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 100,
    "max_position_embeddings": 512,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
    "architectures": ["LlamaForCausalLM"],
    "eos_token_id": [1, 2],
}
ROW = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "tools": []}


def _deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


WORDS = ["", "x", "\0", "\ud800", "../..", "é" * 300, "x" * 100_000, "/dev/zero", "&a", "<<", "./nowhere.py:X"]
NUMBERS = [0, -1, 10**19, 10**30, 10**4000, 1e308, float("nan"), float("inf")]
HOLDERS = [[], {}, [[]], {"": ""}, {"a": {"b": {}}}, [None] * 3, _deep(60), _deep(300), list(range(5000))]
OTHERS = [None, True, "package:os/x", "https://user:word@host", {str(n): n for n in range(2000)}]
HOSTILE: st.SearchStrategy[Any] = st.sampled_from([*WORDS, *NUMBERS, *HOLDERS, *OTHERS])


@st.composite
def mutants(draw: Callable[..., Any], value: Any, most: int = 3) -> Any:
    """A JSON value with up to `most` parts replaced, removed, renamed, doubled, or put around themselves."""
    value = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(1, most))):
        parents = [(None, None), *_places(value)]
        holder, key = draw(st.sampled_from(parents))
        if holder is None:
            if draw(st.integers(0, 9)) == 0:
                return deepcopy(draw(HOSTILE))
            continue
        how = draw(st.sampled_from(["replace", "replace", "remove", "rename", "double", "wrap"]))
        if how == "remove":
            del holder[key]
        elif how == "rename" and isinstance(holder, dict):
            holder[f"{key}{draw(st.sampled_from(['x', '', ' ', '.', 'é']))}"] = holder.pop(key)
        elif how == "double" and isinstance(holder, list):
            holder.insert(key, holder[key])
        elif how == "wrap":
            holder[key] = draw(st.sampled_from([[holder[key]], {"use": holder[key]}, str(holder[key])]))
        else:
            holder[key] = deepcopy(draw(HOSTILE))
    return value


def _places(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return [place for key, item in value.items() for place in [(value, key), *_places(item)]]
    if isinstance(value, list):
        return [place for key, item in enumerate(value[:50]) for place in [(value, key), *_places(item)]]
    return []


@st.composite
def damaged(draw: Callable[..., Any], text: bytes) -> bytes:
    """Bytes cut, flipped, repeated, or with what no text has put in."""
    how = draw(st.sampled_from(["none", "none", "cut", "flip", "insert", "repeat", "utf-16", "mark"]))
    at = draw(st.integers(0, len(text)))
    if how == "cut":
        return text[:at]
    if how == "flip" and text:
        at = min(at, len(text) - 1)
        return text[:at] + bytes([text[at] ^ (1 << draw(st.integers(0, 7)))]) + text[at + 1 :]
    if how == "insert":
        odd = [b"\0", b"\xff", b"\n", b'"', b"{", b"[" * 500, b"9" * 5000, b"\\ud800", b"\x1b[2J", b"\t", b"#", b"NaN"]
        return text[:at] + draw(st.sampled_from(odd)) + text[at:]
    if how == "repeat":
        return text + text[:at]
    if how == "utf-16":
        return text.decode(errors="replace").encode("utf-16")
    return b"\xef\xbb\xbf" + text if how == "mark" else text


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _holds(file: Path, *doors: Callable[[], object], names: bool = True) -> None:
    """Each door works, or says in one of our errors which file it is about."""
    memory, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    for door in doors:
        try:
            door()
        except AftertrainError as error:
            told = str(error)
        else:
            continue
        assert 0 < len(told) < 20_000
        assert not names or file.name in told, told
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < BYTES >> 10
    assert time.process_time() - started < SECONDS


@FEW
@given(st.data())
def test_recipes(tmp_path: Path, data: Any) -> None:
    value = data.draw(mutants(RECIPE))
    file = tmp_path / "r.yaml"
    file.write_bytes(data.draw(damaged(_json(value))))
    _holds(file, lambda: load(file))


@FEW
@given(st.data())
def test_overrides(data: Any) -> None:
    path = data.draw(st.sampled_from(["seed", "stages.a.epochs", "stages.b.tasks.0", "stages.a.data", "x.y", "stages"]))
    value = data.draw(HOSTILE | mutants(RECIPE["stages"]))
    text = data.draw(damaged(_json(value))).decode("utf-8", "surrogateescape")
    _holds(Path("command line"), lambda: loads(json.dumps(RECIPE), [f"{path}={text}"]), names=False)
    _holds(Path("command line"), lambda: loads(json.dumps(RECIPE), {path: value}), names=False)


@FEW
@given(st.data())
def test_rows(tmp_path: Path, data: Any) -> None:
    file = tmp_path / "rows.jsonl"
    lines = [_json(ROW), data.draw(damaged(_json(data.draw(mutants(ROW))))), _json(ROW)]
    file.write_bytes(b"\n".join(lines))
    rows = build("dataset", "jsonl", path=str(file), format="messages")
    _holds(file, lambda: list(rows), lambda: list(rows.entries()), rows.fingerprint)


@FEW
@given(st.data())
def test_scored_rows(tmp_path: Path, data: Any) -> None:
    file = tmp_path / "samples" / "instances.jsonl"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(_json(INSTANCE) + b"\n" + data.draw(damaged(_json(data.draw(mutants(INSTANCE))))) + b"\n")
    _holds(file, lambda: read_instances(file), lambda: Instances({"a": tmp_path}))


@FEW
@given(st.data())
def test_configurations(tmp_path: Path, data: Any) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(data.draw(damaged(_json(data.draw(mutants(CONFIG))))))
    _holds(
        file,
        lambda: read_config(tmp_path),
        lambda: context_window(tmp_path),
        lambda: check_weights(tmp_path, needed=False),
    )


@FEW
@given(st.data())
def test_weight_indices(tmp_path: Path, data: Any) -> None:
    (tmp_path / "config.json").write_bytes(_json(CONFIG))
    index = {"metadata": {"total_size": 1}, "weight_map": {"a.weight": "model-1.safetensors"}}
    file = tmp_path / "model.safetensors.index.json"
    file.write_bytes(data.draw(damaged(_json(data.draw(mutants(index))))))
    header = _json(data.draw(mutants({"a.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})))
    shard = data.draw(damaged(len(header).to_bytes(8, "little") + header + b"\0" * 4))
    (tmp_path / "model-1.safetensors").write_bytes(shard)
    _holds(file, lambda: check_weights(tmp_path, needed=True), names=False)


@FEW
@given(st.data())
def test_done(tmp_path: Path, data: Any) -> None:
    (tmp_path / "model").mkdir(exist_ok=True)
    (tmp_path / "model" / "config.json").write_text("{}")
    done = Done(HASH, Artifact("model", "model", "a", HASH), {"model/config.json": HASH})
    file = tmp_path / "done.json"
    file.write_bytes(data.draw(damaged(_json(data.draw(mutants(asdict(done)))))))
    node: Any = SimpleNamespace(name="a", stage=SimpleNamespace(output="model"))
    _holds(file, lambda: read_done(tmp_path, node, HASH), names=False)


@FEW
@given(st.data())
def test_records_of_a_stage(tmp_path: Path, data: Any) -> None:
    recorded = {"hash": HASH, "why": ["first run"], **asdict(LINEAGE)}
    lineage, machine = tmp_path / "lineage.json", tmp_path / "machine.json"
    lineage.write_bytes(data.draw(damaged(_json(data.draw(mutants(recorded))))))
    machine.write_bytes(data.draw(damaged(_json(data.draw(mutants({"threads": "1", "CPU": "x"}))))))
    _holds(lineage, lambda: recorded_why(tmp_path), lambda: reasons([tmp_path], LINEAGE))
    _holds(machine, lambda: recorded_machine(tmp_path, "a"))


@FEW
@given(st.data())
def test_events(tmp_path: Path, data: Any) -> None:
    run = tmp_path / "run"
    run.mkdir(exist_ok=True)
    events = data.draw(mutants(EVENTS, most=6))
    lines = events if isinstance(events, list) else [events]
    (run / "events.jsonl").write_bytes(data.draw(damaged(b"".join(_json(line) + b"\n" for line in lines))))
    manifest = {"name": "r", "order": ["a"], "recipe": RECIPE, "packages": {}, "plugins": [], "hardware": {}}
    (run / "manifest.json").write_bytes(data.draw(damaged(_json(data.draw(mutants(manifest))))))
    _holds(run, lambda: read_events(run / "events.jsonl"), lambda: history(run), lambda: read_run(run))
    log = EventLog(run / "events.jsonl")
    log.emit(RunDone())
    log.close()
    assert read_events(run / "events.jsonl")[-1].name == "run_done"


@FEW
@given(st.data())
def test_checkpoints(tmp_path: Path, data: Any) -> None:
    root = tmp_path / "checkpoints"
    name = data.draw(st.sampled_from(["step-00000001", "step-x", "step-", "step-00000002", "step-٠٠٠٠٠٠٠١"]))
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "state").write_text("x")
    sums = {"state": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"}
    file = folder / "checksums.json"
    file.write_bytes(data.draw(damaged(_json(data.draw(mutants(sums))))))
    _holds(file, lambda: Checkpoints(root, on_damage=lambda message: None).latest())


@FEW
@given(st.data())
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (About, {"optimizer": "adamw", "steps": {"a": 1.0}}),
        (Position, {"epoch": 0, "window": 1, "used": 2}),
        (Composition, {"steps": [1, 3], "batches": [[0], [1]], "logprobs": [[0.5], [0.5]]}),
    ],
)
def test_records_of_a_checkpoint(tmp_path: Path, kind: type[Any], value: Any, data: Any) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(data.draw(damaged(_json(data.draw(mutants(value))))))
    _holds(file, lambda: read_json(file, kind, error=CheckpointError))

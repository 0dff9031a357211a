"""Runs of two processes: the same model as one process makes, kills and stops survived, a dead rank named (F42)."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.events import Entry
from aftertrain.core.events.lines import read_events

pytestmark = pytest.mark.slow
SOON = 120
"""Seconds in which a run with a dead rank must have ended; it takes about three."""
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra 'ray' is not installed")
EVERYWHERE = ["here", pytest.param("ray", marks=needs_ray)]
COMMAND = [sys.executable, "-P", "-m", "aftertrain.cli"]
TROUBLE = """
import os, signal, time
from aftertrain.core.loss import Loss
from aftertrain.core.settings import Settings
from aftertrain.plugins.losses.sft import SFT
from aftertrain.plugins.losses.settings import SFTSettings

class Trouble(SFT):
    '''SFT whose rank 1 fails at its tenth micro-batch.'''

    Config = SFTSettings
    calls = 0

    def __call__(self, batch, scores):
        self.calls += 1
        if os.environ.get("RANK") == "1" and self.calls == 10:
            {what}
        return super().__call__(batch, scores)
"""

LOOK = """
import json
from aftertrain.core.records import Artifact
from aftertrain.core.stage import Stage, StageInput, StageSettings

class Look(Stage[StageSettings]):
    '''A stage that knows nothing of ranks, with a checkpoint.'''

    Config = StageSettings
    output = "scores"

    def inputs(self):
        return (StageInput("model", self.settings.from_, frozenset({"model"})),)

    def fingerprints(self):
        return {}

    def plan(self, context):
        return []

    def run(self, context):
        context.checkpoints.save(1, lambda folder: (folder / "x").write_text("x"))
        found = context.folder / "found"
        found.mkdir()
        (found / "ranks.json").write_text(json.dumps([context.ranks.rank, context.ranks.size]))
        return Artifact("scores", str(found), context.name, digest="")
"""


@pytest.fixture
def recipe(tmp_path: Path, tiny_model: Path) -> Path:
    """SFT of a tiny model, 24 rows of unlike length, 20 steps."""
    rows = [
        {"question": f"What is {n} + 1?" + " Tell me why." * (n % 5), "answer": f"{n + 1}\n#### {n + 1}"}
        for n in range(24)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = tmp_path / "recipe.yaml"
    file.write_text(
        f"""
name: ranks
model: {tiny_model}
threads: 1
stages:
  sft:
    use: train
    loss: {{use: sft, reduction: token_mean}}
    data: {{use: jsonl, path: ./rows.jsonl, format: gsm8k}}
    # With a tiny eps Adam makes whole steps of the rounding of a gradient that is nearly 0.
    optimizer: {{lr: 1.0e-3, eps: 1.0e-4}}
    batch: {{sequences: 6, max_tokens: 128, micro_tokens: 128}}
    epochs: 5
    checkpoint_every: 3
"""
    )
    return file


def _start(
    recipe: Path, out: Path, *words: str, command: list[str] = COMMAND, **variables: str
) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    environment.pop("RAY_ADDRESS", None)
    environment |= variables
    return subprocess.Popen(
        [*command, "run", str(recipe), "--out", str(out), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def _run(recipe: Path, out: Path, *words: str, command: list[str] = COMMAND) -> Path:
    process = _start(recipe, out, *words, command=command)
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, output + errors
    return out / "ranks"


def _events(run: Path) -> list[Entry]:
    return read_events(run / "events.jsonl")


def _wait_for_step(process: subprocess.Popen[str], run: Path, step: int) -> None:
    while process.poll() is None:
        if (run / "events.jsonl").exists() and any(e.name == "metrics" and e.step == step for e in _events(run)):
            return
        time.sleep(0.01)
    raise AssertionError(f"ended before step {step}: {process.communicate()}")


def _ranks(out: Path) -> dict[int, int]:
    """Process ids of the ranks that work in `out`, by their environment: on Ray they are no children of ours."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            known = dict(entry.partition(b"=")[::2] for entry in (folder / "environ").read_bytes().split(b"\0"))
        except OSError:
            continue
        if str(out).encode() in words and b"RANK" in known:
            found[int(known[b"RANK"])] = int(folder.name)
    return found


def _gone(pids: Iterable[int]) -> bool:
    deadline = time.monotonic() + SOON
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def _digest(run: Path) -> str:
    (file,) = run.glob("stages/sft-*/model/model.safetensors")
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _weights(run: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    (file,) = run.glob("stages/sft-*/model/model.safetensors")
    return load_file(file)


def _furthest(one: Path, other: Path) -> float:
    a, b = _weights(one), _weights(other)
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def test_two_ranks_make_the_model_that_one_makes(recipe: Path, tmp_path: Path) -> None:
    one = _run(recipe, tmp_path / "one")
    two = _run(recipe, tmp_path / "two", "--nproc", "2")
    assert _furthest(one, two) < 1e-6
    curves = [[e.data for e in _events(run) if e.name == "metrics"] for run in (one, two)]
    assert len(curves[0]) == len(curves[1]) == 20
    for a, b in zip(*curves, strict=True):
        assert a["tokens"] <= b["tokens"], "fillers are computed, and counted as such"
        for name in ("loss", "grad_norm", "nll_per_token"):
            assert b[name] == pytest.approx(a[name], rel=1e-5), name
    books = [[event.data for event in _events(run) if event.name == "ledger"] for run in (one, two)]
    assert books[0] == books[1], "each rank enters its share"
    assert len(books[0]) == 1
    manifest = json.loads((two / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["ranks"] == 2
    started = [event for event in _events(two) if event.name == "stage_started"]
    assert len(started) == 1, "one rank alone writes events"


def test_a_stage_that_knows_no_ranks_runs_on_rank_0_alone_and_once(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "look.py").write_text(LOOK)
    train = recipe.read_text().partition("  sft:\n")[2]
    train = train.replace("    use: train", "    use: train\n    from: sft")
    more = f"  look: {{use: ./look.py:Look, from: sft}}\n  more:\n{train}"
    recipe.write_text(recipe.read_text() + more)
    run = _run(recipe, tmp_path / "out", "stages.sft.epochs=1", "stages.more.epochs=1", "--nproc", "2")
    (found,) = run.glob("stages/look-*/found/ranks.json")
    assert json.loads(found.read_text()) == [0, 1]
    done = [event.stage for event in _events(run) if event.name == "stage_done"]
    assert done == ["sft", "look", "more"], "the ranks meet again after it"


def test_kill_and_ctrl_c_of_two_ranks_change_no_bit(recipe: Path, tmp_path: Path) -> None:
    whole = _run(recipe, tmp_path / "whole", "--nproc", "2")
    run = tmp_path / "disturbed" / "ranks"

    process = _start(recipe, run.parent, "--nproc", "2")
    _wait_for_step(process, run, 5)
    process.kill()
    process.communicate()

    process = _start(recipe, run.parent, "--nproc", "2")
    _wait_for_step(process, run, 10)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=SOON)
    assert process.returncode == 130, output + errors
    assert f"Go on with: aftertrain run {recipe} --out {run.parent} --nproc 2" in errors
    assert "Traceback" not in errors

    output, errors = (process := _start(recipe, run.parent, "--nproc", "2")).communicate(timeout=240)
    assert process.returncode == 0, output + errors
    assert "goes on after step" in output
    assert _digest(run) == _digest(whole)
    books = [[event.data for event in _events(one) if event.name == "ledger"] for one in (run, whole)]
    assert books[0] == books[1] != [], "what was killed is entered once"


def test_two_ranks_are_gone_on_with_by_one_only_when_asked(recipe: Path, tmp_path: Path) -> None:
    whole = _run(recipe, tmp_path / "whole")
    run = tmp_path / "other" / "ranks"
    process = _start(recipe, run.parent, "--nproc", "2")
    _wait_for_step(process, run, 7)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=SOON)

    process = _start(recipe, run.parent)
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 1, output
    assert "ranks 2 then, 1 now" in errors
    assert "--nproc" in errors

    _run(recipe, run.parent, "--allow-other-machine")
    assert _furthest(run, whole) < 1e-6


@pytest.mark.parametrize("where", EVERYWHERE)
def test_a_killed_rank_ends_the_run_with_its_number(recipe: Path, tmp_path: Path, where: str) -> None:
    run = tmp_path / "out" / "ranks"
    process = _start(recipe, run.parent, "stages.sft.epochs=500", "--nproc", "2", "--on", where)
    _wait_for_step(process, run, 5)
    ranks = _ranks(run.parent)
    os.kill(ranks[1], signal.SIGKILL)
    _, errors = process.communicate(timeout=SOON)
    assert process.returncode == 1, errors
    assert "rank 1 was killed by SIGKILL" in errors
    failed = [event for event in _events(run) if event.name == "run_failed"]
    assert len(failed) == 1
    assert "stage 'sft': rank 1 was killed by SIGKILL" in failed[0].data["error"]
    assert _gone(ranks.values())


def test_rank_0_killed_ends_the_others_too(recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "out" / "ranks"
    process = _start(recipe, run.parent, "stages.sft.epochs=500", "--nproc", "2")
    _wait_for_step(process, run, 5)
    ranks = _ranks(run.parent)
    os.kill(ranks[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=SOON)
    assert process.returncode == 1, errors
    assert "error: rank 0 was killed by SIGKILL" in errors
    assert _gone(ranks.values())


@pytest.mark.parametrize("where", EVERYWHERE)
def test_a_failing_rank_is_named_with_its_reason(recipe: Path, tmp_path: Path, where: str) -> None:
    process = _troubled(recipe, tmp_path, 'raise KeyError("a defect of rank 1")', "--on", where)
    _, errors = process.communicate(timeout=SOON)
    assert process.returncode == 1, errors
    assert "rank 1 ended with status 1" in errors
    assert re.search(r"Traceback(.|\n)*trouble.py(.|\n)*KeyError: 'a defect of rank 1'", errors), errors
    assert str(tmp_path / "out" / "ranks" / "ranks" / "rank-1.log") in errors
    assert errors.count("rank 1 ended with status 1") == 1, "told once"


@needs_ray
def test_ray_stops_and_goes_on_as_here_and_changes_no_bit(recipe: Path, tmp_path: Path) -> None:
    whole = _run(recipe, tmp_path / "whole", "--nproc", "2")
    run = tmp_path / "ray" / "ranks"

    process = _start(recipe, run.parent, "--nproc", "2", "--on", "ray")
    _wait_for_step(process, run, 7)
    ranks = _ranks(run.parent)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=SOON)
    assert process.returncode == 130, errors
    assert f"Go on with: aftertrain run {recipe} --out {run.parent} --nproc 2 --on ray" in errors
    assert _gone(ranks.values())

    process = _start(recipe, run.parent, "--nproc", "2", "--on", "ray")
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, output + errors
    assert "goes on after step" in output, "rank 0's words reach the terminal"
    assert _digest(run) == _digest(whole)


@needs_ray
def test_ranks_on_ray_die_with_their_actor_or_their_launcher(recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "out" / "ranks"
    process = _start(recipe, run.parent, "stages.sft.epochs=500", "--nproc", "2", "--on", "ray")
    _wait_for_step(process, run, 5)
    ranks = _ranks(run.parent)
    os.kill(_parent(ranks[1]), signal.SIGKILL)
    _, errors = process.communicate(timeout=SOON)
    assert process.returncode == 1, errors
    assert "stage 'sft': rank 1 was lost with its Ray actor" in errors
    assert _gone(ranks.values())

    process = _start(recipe, run.parent, "stages.sft.epochs=500", "--nproc", "2", "--on", "ray")
    _wait_for_step(process, run, 20)
    ranks = _ranks(run.parent)
    process.kill()
    process.communicate(timeout=SOON)
    assert _gone(ranks.values())


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


NAN = "scores.logprobs.data.fill_(float('nan'))"


def test_a_nan_of_one_rank_stops_all_with_its_rows(recipe: Path, tmp_path: Path) -> None:
    process = _troubled(recipe, tmp_path, NAN)
    _, errors = process.communicate(timeout=SOON)
    assert process.returncode == 1, errors
    assert re.search(r"step \d+: loss 'policy' is nan; samples: rows-", errors), errors


def test_a_nan_of_one_rank_is_skipped_by_all(recipe: Path, tmp_path: Path) -> None:
    """Rank 0 records the step with rank 1's rows; both keep equal weights, which saving checks."""
    process = _troubled(recipe, tmp_path, NAN, "stages.sft.on_nonfinite=skip", "stages.sft.epochs=5")
    output, errors = process.communicate(timeout=SOON)
    assert process.returncode == 0, output + errors
    events = _events(tmp_path / "out" / "ranks")
    (skipped,) = [event for event in events if event.name == "skipped"]
    assert re.match(r"step \d+: loss 'policy' is nan; samples: rows-", skipped.data["message"])
    assert [e.step for e in events if e.name == "metrics"] == [n for n in range(1, 21) if n != skipped.step]


def _troubled(recipe: Path, folder: Path, what: str, *words: str) -> subprocess.Popen[str]:
    (folder / "trouble.py").write_text(TROUBLE.replace("{what}", what))
    loss = json.dumps({"use": f"{folder}/trouble.py:Trouble"})
    long = "stages.sft.epochs=500"
    return _start(recipe, folder / "out", f"stages.sft.loss={loss}", long, *words, "--nproc", "2")


TORCHRUN = [
    *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "aftertrain.cli")
]


def test_torchrun_starts_the_same(recipe: Path, tmp_path: Path) -> None:
    two = _run(recipe, tmp_path / "launcher", "--nproc", "2")
    same = _run(recipe, tmp_path / "torchrun", command=TORCHRUN)
    assert _digest(same) == _digest(two)


def test_under_torchrun_a_failing_rank_is_named_and_leaves_its_words(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "trouble.py").write_text(TROUBLE.replace("{what}", 'raise KeyError("a defect of rank 1")'))
    loss = json.dumps({"use": f"{tmp_path}/trouble.py:Trouble"})
    process = _start(recipe, tmp_path / "out", f"stages.sft.loss={loss}", "stages.sft.epochs=500", command=TORCHRUN)
    _, errors = process.communicate(timeout=SOON)
    run = tmp_path / "out" / "ranks"
    assert process.returncode == 1, errors
    (failed,) = [event.data["error"] for event in _events(run) if event.name == "run_failed"]
    log = run / "ranks" / "rank-1.log"
    assert failed == f"stage 'sft': rank 1 failed: KeyError: 'a defect of rank 1' (see {log})"
    assert re.search(r"Traceback(.|\n)*trouble.py(.|\n)*KeyError: 'a defect of rank 1'", log.read_text())


def test_a_stopped_rank_is_named_when_the_wait_for_it_ends(recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "out" / "ranks"
    process = _start(recipe, run.parent, "stages.sft.epochs=500", "--nproc", "2", **{"AFTERTRAIN_RANK_DEADLINE": "20"})
    _wait_for_step(process, run, 5)
    ranks = _ranks(run.parent)
    os.kill(ranks[1], signal.SIGSTOP)
    _, errors = process.communicate(timeout=SOON)
    assert process.returncode == 75, errors
    assert re.search(r"waited 20 s for the other ranks \(.+\): .*; rank 1 has given no sign of life for \d+ s", errors)
    (failed,) = [event.data["error"] for event in _events(run) if event.name == "run_failed"]
    assert "rank 1 has given no sign of life" in failed
    assert _gone(ranks.values())


def test_a_full_disk_under_the_logs_is_told(recipe: Path, tmp_path: Path) -> None:
    logs = tmp_path / "out" / "ranks" / "ranks"
    logs.mkdir(parents=True)
    (logs / "rank-1.log").symlink_to("/dev/full")
    process = _start(recipe, tmp_path / "out", "--nproc", "2")
    _, errors = process.communicate(timeout=SOON)
    assert process.returncode == 1, errors
    assert errors == (
        f"error: {logs / 'rank-1.log'}: cannot write: No space left on device; make room there, or choose "
        "another place with --out DIR\n"
    )


@needs_ray
@pytest.mark.parametrize(("listens", "why"), [(False, "Connection refused"), (True, r"no answer within 6 s")])
def test_a_wrong_ray_address_is_told_soon(recipe: Path, tmp_path: Path, listens: bool, why: str) -> None:
    """Nobody there, or a program that is no cluster; without the lines that Ray's C++ writes for ten minutes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        if not listens:
            server.close()
        variables = {"RAY_ADDRESS": address, "AFTERTRAIN_RANK_DEADLINE": "6"}
        process = _start(recipe, tmp_path / "out", "--nproc", "2", "--on", "ray", **variables)
        _, errors = process.communicate(timeout=SOON)
    assert process.returncode == 1, errors
    assert re.fullmatch(
        rf"error: the Ray cluster at {address} does not answer: {why}\. Is RAY_ADDRESS right, .*\n", errors
    ), errors

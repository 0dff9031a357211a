"""One rank = two ranks, to rounding, for every built-in loss (F42); and what the ranks do together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from aftertrain.core.errors import RunError
from aftertrain.core.learning.processes import joined
from aftertrain.core.ranks import ALONE
from tests.core.learning.ranks import start, worker

HERE = Path(__file__).parent
ENGINE = {"use": "torch", "device": "cpu"}


@pytest.fixture(scope="module")
def both(smallest_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """Results of one rank (this process) and of two."""
    out = tmp_path_factory.mktemp("two") / "results.pt"
    cases = {"torch": [str(smallest_model), ENGINE, None]}
    start.run_ranks(HERE / "worker.py", [str(out), json.dumps(cases)], 2)
    return worker.results(ALONE, str(smallest_model), ENGINE), torch.load(out)["torch"]


def test_no_built_in_loss_is_forgotten() -> None:
    there = {row.name for row in worker.REGISTRY.registrations("loss")}
    assert {use["use"] for use in worker.LOSSES.values()} == there


@pytest.mark.slow
@pytest.mark.parametrize("loss", worker.LOSSES)
def test_two_ranks_take_the_steps_of_one(both: tuple[dict[str, Any], dict[str, Any]], loss: str) -> None:
    one, two = (results[loss] for results in both)
    for step, (a, b) in enumerate(zip(one["steps"], two["steps"], strict=True), 1):
        assert b == pytest.approx(a, rel=1e-5, abs=1e-5), f"step {step}"
    assert one["weights"].keys() == two["weights"].keys()
    for name, weight in one["weights"].items():
        torch.testing.assert_close(two["weights"][name], weight, rtol=0, atol=5e-6, msg=f"{loss}: {name}")


@pytest.mark.slow
def test_the_steps_that_are_compared_need_fillers(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    from aftertrain.core.packed.packing import deal, group_by_budget

    one, two = (results["sft sum"]["micro_batches"] for results in both)
    assert one == [2, 2, 1]
    assert two == [1, 1, 1]
    pairs = [[30, 9, 9, 9], [14]]
    counts = [[len(group_by_budget([s[i] for i in hand], 40)) for hand in deal(s, 2)] for s in pairs]
    assert counts[1] == [1, 0], "in the last step rank 1 has nothing but a filler"


def test_one_process_is_alone() -> None:
    assert (ALONE.rank, ALONE.size, ALONE.first) == (0, 1, True)
    assert ALONE.sum({"a": 1.5}) == {"a": 1.5}
    assert ALONE.share("x", "nothing") == "x"
    tensor = torch.ones(3)
    ALONE.add([tensor], "nothing")
    assert tensor.tolist() == [1, 1, 1]


def test_an_incomplete_environment_is_told() -> None:
    expected = "WORLD_SIZE=4 but not RANK, MASTER_PORT: start the run with 'aftertrain run RECIPE --nproc N'"
    with pytest.raises(RunError, match=expected), joined({"WORLD_SIZE": "4", "MASTER_ADDR": "here"}):
        raise AssertionError("joined")


def test_buckets_keep_every_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    from aftertrain.core.learning import processes

    monkeypatch.setattr(processes, "BUCKET", 5)
    tensors = [torch.zeros(n) for n in (2, 2, 2, 9, 1)]
    buckets = [[tensor.numel() for tensor in bucket] for bucket in processes.buckets_of(tensors)]
    assert buckets == [[2, 2], [2], [9], [1]]


SCRIPT = """
import torch
from aftertrain.core.learning.processes import joined
with joined() as ranks:
    assert ranks.size == 2
    k = ranks.rank
    assert ranks.gather("ab"[k], "letters") == ["a", "b"]
    assert ranks.share({"from": k}, "a fact") == {"from": 0}
    assert ranks.any(k == 1, "a flag") and not ranks.any(False, "a flag")
    assert ranks.sum({"both": 1.0, f"only {k}": 2.0}) == {"both": 2.0, "only 0": 2.0, "only 1": 2.0}
    tensors = [torch.full((2,), 1.0 + k), torch.full((3, 1), 10.0 * k)]
    ranks.add(tensors, "tensors")
    assert [tensor.flatten().tolist() for tensor in tensors] == [[3.0, 3.0], [10.0, 10.0, 10.0]]
"""


@pytest.mark.slow
def test_what_ranks_do_together(tmp_path: Path) -> None:
    script = tmp_path / "together.py"
    script.write_text(SCRIPT)
    start.run_ranks(script, [], 2)


DRIFT = """
from types import SimpleNamespace
import torch
from aftertrain.core.errors import NumericsError
from aftertrain.core.learning.processes import joined
from aftertrain.plugins.torch_engine.replicas import check_equal
with joined() as ranks:
    layer = torch.nn.Linear(3, 3)
    torch.nn.init.ones_(layer.weight); torch.nn.init.zeros_(layer.bias)
    check_equal(layer, ranks)
    if ranks.rank == 1:
        layer.weight.data[0, 0] += 1e-7
    try:
        check_equal(layer, ranks)
    except NumericsError as error:
        assert "the weights of rank 1 are not rank 0's" in str(error), error
    else:
        raise AssertionError("not noticed")
"""


@pytest.mark.slow
def test_copies_that_drift_apart_are_noticed(tmp_path: Path) -> None:
    script = tmp_path / "drift.py"
    script.write_text(DRIFT)
    start.run_ranks(script, [], 2)


REFUSED = """
import sys
from aftertrain.core.engine import AdamW
from aftertrain.core.errors import NumericsError
from aftertrain.core.loss import Loss, LossOutput, Needs
from aftertrain.core.packed.packing import Segment, collate
from aftertrain.core.learning.processes import joined
from aftertrain.core.settings import Settings
from aftertrain.core.learning.step import measure, train_step
from aftertrain.plugins.torch_engine.engine import TorchEngine
from aftertrain.plugins.torch_engine.settings import TorchSettings

class Picky(Loss[Settings]):
    needs = Needs(records=frozenset({"Conversation"}))

    def __call__(self, batch, scores):
        if "bad" in batch.sample_ids:
            raise NumericsError("no number fits bad")
        return LossOutput({"policy": -scores.logprobs.sum()})

with joined() as ranks:
    engine = TorchEngine(TorchSettings(device="cpu"), None)
    engine.load(sys.argv[1], optimizer=AdamW(), ranks=ranks)
    names = [["a", "b"], ["c", "bad", "d"]][ranks.rank]
    batches = [collate([Segment(name, [5, 6, 7], [False, True, True])]) for name in names]
    loss = Picky(Settings(), None)
    for refused in (
        lambda: train_step({"policy": engine}, loss, batches, {"policy": 0.1}, step=1, progress=1.0),
        lambda: measure({"policy": engine}, loss, batches, progress=1.0),
    ):
        try:
            refused()
        except NumericsError as error:
            assert "no number fits bad" in str(error), error
        else:
            raise AssertionError("not refused")
"""


@pytest.mark.slow
def test_what_a_loss_refuses_on_one_rank_is_refused_on_all(tiny_model: Path, tmp_path: Path) -> None:
    """The other rank waited for gradients that never came."""
    script = tmp_path / "refused.py"
    script.write_text(REFUSED)
    start.run_ranks(script, [str(tiny_model)], 2)

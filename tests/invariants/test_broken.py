"""Each row of the table goes BROKEN for the fault it is about: a component with one fault, and all that it breaks."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from aftertrain.api.invariants import StageInvariants, check_invariants, trials
from aftertrain.core.ranks import Ranks
from aftertrain.invariants.bench import Bench
from aftertrain.invariants.finding import INVARIANTS
from aftertrain.invariants.reference import check_reference

FORWARD = {"packed", "neighbours", "chunked", "accumulation"}
TRAINED = set(INVARIANTS) - {"ranks", "reference", "resume", "dropout", "packed", "neighbours"}
FAULTS = [
    ("engine", "OneSegment", "sft", FORWARD | {"order", "filler", "saved"}),
    ("engine", "Padded", "sft", FORWARD | {"saved"}),
    ("engine", "ChunkEdge", "sft", {"chunked"}),
    ("engine", "InTraining", "sft", {"dropout"}),
    ("engine", "Detached", "sft", {"gradient", "chunked"}),
    ("engine", "Drifting", "sft", {"gradient", "chunked", "resume"}),
    ("engine", "Forgetful", "sft", {"resume"}),
    ("engine", "WarmReference", "dpo", {"reference"}),
    ("engine", "Misnamed", "sft", {"saved"}),
    ("engine", "Stale", "sft", {"saved"}),
    ("engine", "Reconfigured", "sft", {"saved"}),
    ("loss", "Plain", None, set()),
    ("loss", "LocalMean", None, {"accumulation"}),
    ("loss", "Positional", None, {"accumulation", "order", "filler"}),
    ("loss", "Weightless", None, {"filler"}),
    ("loss", "Remembers", None, {"resume"}),
    ("loss", "WrongMetric", None, {"accumulation", "filler"}),
    ("loss", "NoGradient", None, TRAINED | {"resume"}),
]


@pytest.fixture
def run(recipe: Callable[..., str], tmp_path: Path) -> Callable[..., StageInvariants]:
    """Checks a recipe with one component of `broken.py`."""
    shutil.copy(Path(__file__).with_name("broken.py"), tmp_path)

    def check(kind: str, name: str, loss: str | None = None, **options: object) -> StageInvariants:
        local = f"./broken.py:{name}"
        if kind == "loss":
            path = recipe(local)
        else:
            path = recipe(loss, "preference" if loss == "dpo" else "messages", engine={"use": local, "device": "cpu"})
        (found,) = check_invariants(path, **{"ranks": False, "rows": 4, **options})  # type: ignore[arg-type]
        return found

    return check


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name", "loss", "expected"), FAULTS, ids=[fault[1] for fault in FAULTS])
def test_a_fault_breaks_what_it_is_about(
    kind: str, name: str, loss: str | None, expected: set[str], run: Callable[..., StageInvariants]
) -> None:
    found = run(kind, name, loss)
    assert {finding.invariant for finding in found.broken} == expected, [f.dump() for f in found.findings]


@pytest.mark.slow
def test_dropout_in_training_alone_is_found(run: Callable[..., StageInvariants]) -> None:
    found = {finding.invariant: finding for finding in run("engine", "Drops", "sft").findings}
    measures = {measure.name: measure for measure in found["dropout"].measures}
    assert not measures["training"].holds
    assert measures["scoring"].holds
    assert found["packed"].state == "holds"


@pytest.mark.slow
def test_what_is_not_finite_is_told_once(run: Callable[..., StageInvariants]) -> None:
    found = {finding.invariant: finding for finding in run("loss", "Infinite").findings}
    assert found["finite"].state == "broken"
    assert "loss 'policy' is -inf" in found["finite"].note
    assert {name for name, finding in found.items() if finding.state == "broken"} == {"finite"}
    assert found["accumulation"].note.startswith("loss or gradient is not finite")


@pytest.mark.slow
def test_ranks_that_do_not_meet(run: Callable[..., StageInvariants]) -> None:
    assert [finding.invariant for finding in run("engine", "Lonely", "sft", ranks=True).broken] == ["ranks"]


@pytest.mark.slow
def test_the_loss_that_says_so_depends_on_how_a_step_is_cut(recipe: Callable[..., str]) -> None:
    loss = {"use": "sft", "reduction": "micro_batch_mean"}
    (found,) = check_invariants(recipe(loss), ranks=False, rows=4)
    assert {finding.invariant for finding in found.broken} >= {"accumulation"}


def test_a_cache_that_rounds(recipe: Callable[..., str], tmp_path: Path) -> None:
    """Kept in bfloat16, reference log-probs are off by up to 2⁻⁹ of themselves."""
    ((_, trial, _),) = trials(recipe("dpo", "preference"), (), None, 2)
    assert trial is not None
    assert trial.reference is not None
    kept = trial.reference

    def rounded(folder: Path, ranks: Ranks) -> list[object]:
        return [
            [replace(s, columns={k: torch.tensor(v).bfloat16().tolist() for k, v in s.columns.items()}) for s in atom]
            for atom in kept(folder, ranks)
        ]

    assert check_reference(Bench(trial, tmp_path)).state == "holds"
    found = check_reference(Bench(replace(trial, reference=rounded), tmp_path))  # type: ignore[arg-type]
    measures = {measure.name: measure for measure in found.measures}
    assert not measures["live"].holds
    assert 1e-4 < measures["live"].deviation < 2**-8
    assert measures["read back"].holds

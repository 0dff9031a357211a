"""Kill, stop and garble at every point of a worker's life: no neighbour is lost, and the culprit is named.

CI runs a part of the table in which each point and each fault occurs; AFTERTRAIN_WHOLE_TABLE=1 runs all of it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.errors import RunError
from aftertrain.core.records import VerificationCase
from aftertrain.core.verification import PoolSettings, VerifierPool, call, children, keeper
from aftertrain.core.verification.process import Process
from tests.core.verification.faulty import AT_IMPORT, FAULTS, LETHAL, ODD, Faulty, FaultySettings, Truth

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="tables of descriptors are kept apart on Linux alone")

IN_LIFE = ("importing", "unpickling", "loading", "receiving", "judging", "writing", "between cases", "idle")
SLOW = "hold the interpreter"
"""While it loads, a verifier may take two minutes: it is its own culprit."""
WHOLE = "AFTERTRAIN_WHOLE_TABLE" in os.environ
TABLE = [
    (point, fault)
    for row, point in enumerate(IN_LIFE)
    for column, fault in enumerate(FAULTS)
    if (fault != SLOW or point not in IN_LIFE[:3])
    and (WHOLE or (row + column) % len(FAULTS) in (0, 7) or (point, fault) == ("judging", "kill"))
]


@pytest.fixture(scope="module")
def shared() -> Iterator[VerifierPool]:
    with VerifierPool(PoolSettings(workers=1)) as pool:
        yield pool


def _faulty(point: str = "", fault: str = "", mark: str = "") -> Faulty:
    return Faulty(FaultySettings(point=point, fault=fault, mark=mark))


def _cases(*responses: str, truth: Any = None) -> list[VerificationCase]:
    return [VerificationCase(str(n), "", text, truth if n == 1 else None) for n, text in enumerate(responses)]


def _gone(pid: int) -> bool:
    for _ in range(200):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(("point", "fault"), TABLE)
def test_a_fault_costs_no_case(
    shared: VerifierPool, point: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Committed once, as by somebody outside: every case is judged in the end, the one that was being judged too."""
    mark = str(tmp_path / "done")
    act = f"{fault}|{mark}"
    verifier, pool, truth = _faulty(), shared, None
    responses = ["a", "b", "c", "d"]
    if point == "importing":
        monkeypatch.setenv(AT_IMPORT, act)
        pool = VerifierPool(PoolSettings(workers=1))
    elif point in ("unpickling", "loading"):
        verifier = _faulty(point, fault, mark)
    elif point == "receiving":
        truth = Truth(fault, mark)
    elif point == "between cases":
        responses = ["a", f"later|{act}", "wait", "wait", "d"]
    elif point == "idle":
        responses = ["a", f"later|{act}"]
    else:
        responses[1] = f"{point}|{act}"
    verdicts = pool.verify(verifier, _cases(*responses, truth=truth))
    if point == "idle":
        deadline = time.monotonic() + 20
        while not Path(mark).exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.05)
        verdicts += pool.verify(verifier, _cases("c", "d"))
    if pool is not shared:
        pool.close()
    assert Path(mark).exists(), "the fault was not committed"
    assert [(verdict.outcome, verdict.value) for verdict in verdicts] == [("scored", 1.0)] * len(verdicts)
    expected = [response if not response.startswith("writing") else "written" for response in responses]
    assert [verdict.detail for verdict in verdicts] == expected + (["c", "d"] if point == "idle" else [])


@pytest.mark.parametrize("fault", sorted(LETHAL) if WHOLE else ["real-time", "kill the keeper"])
def test_a_case_that_always_ends_its_process_is_named_and_its_neighbours_are_judged(
    shared: VerifierPool, fault: str
) -> None:
    verdicts = shared.verify(_faulty(), _cases("a", f"judging|{fault}|always", "c"))
    assert [verdict.outcome for verdict in verdicts] == ["scored", "error", "scored"]
    names = {
        "real-time": "SIGRTMIN+2",
        "kill": "SIGKILL",
        "kill the keeper": "SIGKILL",
        "terminate": "SIGTERM",
        "interrupt": "SIGINT",
        "exit": "exit status 0",
    }
    assert verdicts[1].detail.startswith("the verifier failed: its process ")
    assert verdicts[1].detail.endswith(names[fault])


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_verdict_is_its_own_cases_error(shared: VerifierPool, kind: str) -> None:
    pids = {verdict.extracted for verdict in shared.verify(_faulty(), _cases("a"))}
    verdicts = shared.verify(_faulty(), _cases("a", f"odd|{kind}", "c"))
    assert [verdict.outcome for verdict in verdicts] == ["scored", "error", "scored"]
    assert verdicts[1].detail.startswith("the verifier raised ")
    assert {verdicts[0].extracted, verdicts[2].extracted} == pids, "the process goes on"


def test_a_verifier_that_never_loads_is_named_after_a_few_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call, "FRUITLESS", 2)
    with (
        VerifierPool(PoolSettings(workers=1)) as pool,
        pytest.raises(RunError, match="ended by SIGKILL, 2 times one after the other"),
    ):
        pool.verify(_faulty("loading", "kill", "always"), _cases("a"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP, signal.SIGRTMIN])
@pytest.mark.parametrize("moment", ["spawning", "idle"])
def test_a_keeper_that_is_hit_costs_no_case(moment: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Process] = []

    class Watched(Process):
        def __init__(self, memory: int) -> None:
            super().__init__(memory)
            started.append(self)
            if moment == "spawning" and len(started) == 1:
                os.kill(self._popen.pid, number)

    monkeypatch.setattr(children, "Process", Watched)
    with VerifierPool(PoolSettings(workers=1)) as pool:
        for _ in range(2):
            verdicts = pool.verify(_faulty(), _cases("a", "b"))
            assert [verdict.detail for verdict in verdicts] == ["a", "b"]
            if moment == "idle" and started[0].alive:
                os.kill(started[0]._popen.pid, number)
                time.sleep(0.05)
    assert all(_gone(child._popen.pid) for child in started)


@pytest.mark.parametrize(("end", "environment"), [("close", "own"), ("kill", "bare"), ("exit", "bare")])
def test_a_daemon_does_not_outlive_its_pool(tmp_path: Path, end: str, environment: str) -> None:
    """Whether the pool is closed, the worker killed or the worker ends by itself; a daemon without our mark too."""
    file = tmp_path / "pid"
    with VerifierPool(PoolSettings(workers=1)) as pool:
        (verdict,) = pool.verify(_faulty(), _cases(f"daemon|{file}|{environment}"))
        daemon = int(file.read_text())
        assert not _gone_now(daemon)
        if end == "kill":
            os.kill(int(verdict.extracted or 0), signal.SIGKILL)
            assert _gone(daemon)
        elif end == "exit":
            pool.verify(_faulty(), _cases("judging|exit|always"))
            assert _gone(daemon)
    assert _gone(daemon)


def test_a_daemon_does_not_outlive_a_keeper_that_was_killed(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    with VerifierPool(PoolSettings(workers=1)) as pool:
        pool.verify(_faulty(), _cases(f"daemon|{file}|own"))
        (verdict,) = pool.verify(_faulty(), _cases(f"judging|kill the keeper|{tmp_path / 'done'}"))
        assert verdict.outcome == "scored"
        assert _gone(int(file.read_text()))


def _gone_now(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


ORPHANS = """
import os, sys
sys.path.insert(0, sys.argv[1])
from tests.core.verification.faulty import Faulty, FaultySettings
from aftertrain.core.records import VerificationCase
from aftertrain.core.verification import PoolSettings, VerifierPool
pool = VerifierPool(PoolSettings(workers=1))
pool.verify(Faulty(FaultySettings()), [VerificationCase("", "", f"daemon|{sys.argv[2]}|own", None)])
os.kill(os.getpid(), 9)
"""


def test_a_daemon_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", ORPHANS, str(Path(__file__).parents[3]), str(tmp_path / "pid")]
    assert subprocess.run(arguments, timeout=60, check=False).returncode == -9
    assert _gone(int((tmp_path / "pid").read_text()))


def test_many_threads_lose_no_case_while_processes_are_killed() -> None:
    """Somebody kills, stops and ends whatever child there is, while it starts, loads, idles or judges.

    Once less than one call bears: on a slow machine every signal may hit the same call's process while it starts.
    """
    numbers = [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, signal.SIGRTMIN + 1]
    with VerifierPool(PoolSettings(workers=2)) as pool, ThreadPoolExecutor(8) as threads:
        calls = [threads.submit(pool.verify, _faulty(), _cases(*(f"{c} {n}" for n in range(200)))) for c in range(20)]
        for number in (numbers * 2)[: call.FRUITLESS - 1]:
            time.sleep(0.15)
            for pid in pool.pids()[:1]:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    continue
        for name, future in enumerate(calls):
            assert [verdict.detail for verdict in future.result(120)] == [f"{name} {n}" for n in range(200)]


def test_a_case_that_cannot_travel_is_its_own_error(shared: VerifierPool) -> None:
    class Local:
        pass

    verdicts = shared.verify(_faulty(), _cases("a", "b", "c", truth=Local()))
    assert [verdict.outcome for verdict in verdicts] == ["scored", "error", "scored"]
    assert "cannot be sent to a process of its own" in verdicts[1].detail


def test_what_a_worker_says_to_standard_error_commands_no_terminal() -> None:
    code = ORPHANS.partition("pool.verify")[0]
    code += "pool.verify(Faulty(FaultySettings()), [VerificationCase('', '', sys.argv[2], None)])"
    arguments = [sys.executable, "-c", code, str(Path(__file__).parents[3]), "judging|garbage|always"]
    told = subprocess.run(arguments, stderr=subprocess.PIPE, timeout=60, check=True).stderr
    assert told == b"\\xff\\x00 this is no verdict\n"


def test_what_starts_daemons_without_end_is_ended_with_all_of_them(tmp_path: Path) -> None:
    """Each has a session of its own, no environment of ours, and is started while the others are being killed."""
    name = tmp_path / "one-of-many"
    name.symlink_to("/bin/sleep")
    with VerifierPool(PoolSettings(workers=1, timeout=0.5)) as pool:
        (verdict, other) = pool.verify(_faulty(), _cases(f"spawn|{name}", "b"))
    assert (verdict.outcome, other.outcome) == ("timeout", "scored")
    left = [pid for pid in keeper.all_parents() if str(name).encode() in _command(pid)]
    assert left == []


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""

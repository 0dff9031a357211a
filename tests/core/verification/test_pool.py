"""The pool of killable processes: whatever a case does costs its own verdict, in time, from any kind of caller."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.errors import DataError, RunError
from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.settings import Settings
from aftertrain.core.verification import PoolSettings, VerifierPool, close_pools, isolate, shared_pool
from aftertrain.core.verification.process import Process
from aftertrain.core.verifier import Verifier
from tests.core.verification.troublesome import Careless, Needy, Obedient, Slow, judge_in_a_pool

GIB = 2**30
OBEDIENT = Obedient(Settings(), builder=None)  # type: ignore[arg-type]


def _cases(*responses: str) -> list[VerificationCase]:
    return [VerificationCase(str(number), "", response, None) for number, response in enumerate(responses)]


@pytest.fixture(scope="module")
def pool() -> Iterator[VerifierPool]:
    with VerifierPool(PoolSettings(workers=2, memory_gib=1.0)) as pool:
        yield pool


def _gone(pid: int) -> bool:
    """Whether a process has ended, waiting a moment for the kernel."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):  # gone before it was opened, or before it was read
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_verdicts_come_in_order_from_other_processes(pool: VerifierPool) -> None:
    verdicts = pool.verify(OBEDIENT, _cases(*(f"case {n}" for n in range(2000))))
    assert [verdict.detail for verdict in verdicts] == [f"case {n}" for n in range(2000)]
    assert str(os.getpid()) not in {verdict.extracted for verdict in verdicts}
    assert pool.verify(OBEDIENT, []) == []


def test_both_processes_are_used(pool: VerifierPool) -> None:
    verdicts = pool.verify(OBEDIENT, _cases(*["sleep 0.1"] * 16))
    assert len({verdict.extracted for verdict in verdicts}) == 2


@pytest.mark.parametrize("trouble", ["sleep 1000", "spin", "hold", "deaf"])
def test_a_case_that_hangs_is_a_timeout_and_its_neighbours_are_judged(pool: VerifierPool, trouble: str) -> None:
    started = time.monotonic()
    verdicts = pool.verify(OBEDIENT, _cases("a", "b", trouble, "c", "d"))
    assert time.monotonic() - started < OBEDIENT.timeout + 5.0
    assert [verdict.outcome for verdict in verdicts] == ["scored", "scored", "timeout", "scored", "scored"]
    assert verdicts[2].detail == "no verdict in 1 s"
    assert [verdicts[n].detail for n in (0, 1, 3, 4)] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("trouble", "why"),
    [
        ("exit 0", "exit status 0"),
        ("exit 3", "exit status 3"),
        ("leave 0", "SystemExit: 0"),
        ("crash", "SIGSEGV"),
        ("raise wrong", "ValueError: wrong"),
        (f"eat {3 * GIB}", "more memory"),
    ],
)
def test_a_case_that_breaks_its_process_is_an_error(pool: VerifierPool, trouble: str, why: str) -> None:
    verdicts = pool.verify(OBEDIENT, _cases("a", trouble, "b", trouble, "c"))
    assert [verdict.outcome for verdict in verdicts] == ["scored", "error", "scored", "error", "scored"]
    assert why in verdicts[1].detail
    assert [verdicts[n].detail for n in (0, 2, 4)] == ["a", "b", "c"]


def test_every_case_can_be_trouble(pool: VerifierPool) -> None:
    verdicts = pool.verify(OBEDIENT, _cases(*["exit 1"] * 4))
    assert [verdict.outcome for verdict in verdicts] == ["error"] * 4


def test_descendants_are_killed_too(pool: VerifierPool, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    (verdict,) = pool.verify(OBEDIENT, _cases(f"breed {file}"))
    assert verdict.outcome == "timeout"
    assert _gone(int(file.read_text()))


def test_long_texts_pass_and_long_answers_are_cut(pool: VerifierPool) -> None:
    long = "é\ud800" + "ü" * 10_000_000
    first, second, third = pool.verify(OBEDIENT, _cases(long, "flood 5000000", long))
    assert first.detail == third.detail == "é\\ud800" + "ü" * 98
    assert second.extracted is not None
    assert len(second.extracted) == len(second.detail) == 10_000
    assert second.extracted.endswith("…")


def test_threads_share_a_pool(pool: VerifierPool) -> None:
    def judge(name: int) -> list[str]:
        return [verdict.detail for verdict in pool.verify(OBEDIENT, _cases(*(f"{name} {n}" for n in range(50))))]

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(judge, range(24)))
    assert found == [[f"{name} {n}" for n in range(50)] for name in range(24)]


def test_a_hanging_case_is_killed_from_a_worker_thread(pool: VerifierPool) -> None:
    found: list[Verdict] = []
    thread = threading.Thread(target=lambda: found.extend(pool.verify(OBEDIENT, _cases("hold", "a"))))
    thread.start()
    thread.join(20)
    assert [verdict.outcome for verdict in found] == ["timeout", "scored"]


def test_a_pool_works_inside_asyncio(pool: VerifierPool) -> None:
    async def together() -> list[list[Verdict]]:
        calls = [asyncio.to_thread(pool.verify, OBEDIENT, _cases("spin", "a")) for _ in range(2)]
        return [*await asyncio.gather(*calls), pool.verify(OBEDIENT, _cases("b"))]

    first, second, third = asyncio.run(together())
    assert [[verdict.outcome for verdict in found] for found in (first, second, third)] == [
        ["timeout", "scored"],
        ["timeout", "scored"],
        ["scored"],
    ]


def _answer(sender: Connection) -> None:
    sender.send(judge_in_a_pool("hold"))


def test_a_pool_works_in_a_daemonic_process() -> None:
    """Which may have no children by `multiprocessing`: a data loader's worker, say."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_answer, args=(sender,), daemon=True)
    process.start()
    assert receiver.poll(30)
    assert receiver.recv() == ("timeout", "scored")
    process.join(10)


class Judge:
    """Becomes a Ray actor: its methods run in a thread or the main thread, as Ray likes."""

    def judge(self, response: str) -> tuple[str, str]:
        return judge_in_a_pool(response)


@pytest.mark.slow
def test_a_pool_works_in_a_ray_actor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain actor, and one of several threads, whose methods run outside the main thread."""
    ray = pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        plain, threaded = ray.remote(Judge).remote(), ray.remote(Judge).options(max_concurrency=2).remote()
        asked = [plain.judge.remote("hold"), threaded.judge.remote("hold"), threaded.judge.remote("exit 1")]
        assert ray.get(asked, timeout=240) == [("timeout", "scored"), ("timeout", "scored"), ("error", "scored")]
    finally:
        ray.shutdown()


def test_leaving_a_stream_early_leaves_no_process_busy(pool: VerifierPool) -> None:
    stream = pool.stream(OBEDIENT, _cases("a", "sleep 1000"))
    assert next(iter(stream))[1].detail == "a"
    stream.close()  # type: ignore[attr-defined]
    assert [verdict.detail for verdict in pool.verify(OBEDIENT, _cases("b", "c"))] == ["b", "c"]


def test_a_thread_with_two_streams_does_not_wait_for_itself() -> None:
    with VerifierPool(PoolSettings(workers=1)) as pool:
        first, second = (iter(pool.stream(OBEDIENT, _cases("a", "b"))) for _ in range(2))
        assert next(first)[1].detail == next(second)[1].detail == "a"
        assert [index for index, _ in (*first, *second)] == [1, 1]
        assert len(pool.pids()) == 1, "the one too many is ended"


def test_closing_under_another_threads_hands_is_one_clear_error() -> None:
    """And never a shorter list of verdicts: descriptors of a closed pipe must not be used anew meanwhile."""
    pool = VerifierPool(PoolSettings(workers=2))
    stop = threading.Event()
    faults: list[BaseException] = []

    def judge() -> None:
        while not stop.is_set():
            try:
                verdicts = pool.verify(OBEDIENT, _cases(*(f"case {n}" for n in range(1500))))
                assert [verdict.detail for verdict in verdicts] == [f"case {n}" for n in range(1500)]
            except RunError as error:
                if "closed while it judged" not in str(error):
                    faults.append(error)
            except BaseException as error:  # noqa: BLE001 - told by the main thread
                faults.append(error)

    threads = [threading.Thread(target=judge) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(12):
        time.sleep(0.15)
        pool.close()
    stop.set()
    for thread in threads:
        thread.join(60)
    pool.close()
    assert faults == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_while_a_process_is_started_leaves_no_lock_behind() -> None:
    with VerifierPool(PoolSettings(workers=1)) as pool:
        starting = threading.Thread(target=pool.verify, args=(OBEDIENT, _cases("a")))
        starting.start()
        for _ in range(3):
            time.sleep(0.005)
            if (pid := os.fork()) == 0:
                signal.alarm(30)
                os._exit(0 if pool.verify(OBEDIENT, _cases("b"))[0].detail == "b" else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        starting.join(30)


def test_a_process_is_replaced_after_enough_cases() -> None:
    with VerifierPool(PoolSettings(workers=1, recycle=2)) as pool:
        pids = [pool.verify(OBEDIENT, _cases("a"))[0].extracted for _ in range(4)]
        assert pids[0] == pids[1] != pids[2] == pids[3]
        assert _gone(int(pids[0] or 0))


def test_a_process_that_dies_between_two_calls_costs_no_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """While its last thread ends it still seems to run, and takes a batch that it never comes to."""
    with VerifierPool(PoolSettings(workers=1)) as pool:
        (first,) = pool.verify(OBEDIENT, _cases("a"))
        os.kill(int(first.extracted or 0), 9)
        assert _gone(int(first.extracted or 0))
        monkeypatch.setattr(Process, "alive", True)
        assert pool.verify(OBEDIENT, _cases("b"))[0].detail == "b"


def test_a_process_that_died_while_idle_costs_nothing() -> None:
    with VerifierPool(PoolSettings(workers=1)) as pool:
        (first,) = pool.verify(OBEDIENT, _cases("a"))
        os.kill(int(first.extracted or 0), 9)
        assert _gone(int(first.extracted or 0))
        assert pool.verify(OBEDIENT, _cases("b"))[0].detail == "b"


def test_the_settings_deadline_wins() -> None:
    with VerifierPool(PoolSettings(workers=1, timeout=0.2)) as pool:
        assert pool.verify(OBEDIENT, _cases("sleep 0.6"))[0].detail == "no verdict in 0.2 s"
        assert isolate(OBEDIENT, pool).timeout == 0.2


def test_loading_is_not_a_cases_time(pool: VerifierPool) -> None:
    assert pool.verify(Slow(Settings(), builder=None), _cases("a"))[0].outcome == "scored"  # type: ignore[arg-type]


def test_closing_kills_and_a_closed_pool_can_be_used_again() -> None:
    pool = VerifierPool(PoolSettings(workers=1))
    pids = []
    for _ in range(2):
        (verdict,) = pool.verify(OBEDIENT, _cases("a"))
        pool.close()
        pids.append(int(verdict.extracted or 0))
        assert _gone(pids[-1])
    assert pids[0] != pids[1]


def test_a_pool_that_is_garbage_leaves_nothing() -> None:
    pool = VerifierPool(PoolSettings(workers=1))
    (verdict,) = pool.verify(OBEDIENT, _cases("a"))
    del pool
    assert _gone(int(verdict.extracted or 0))


ORPHANS = """
import os, sys, threading, time
sys.path.insert(0, sys.argv[1])
from tests.core.verification.troublesome import Obedient
from aftertrain.core.records import VerificationCase
from aftertrain.core.settings import Settings
from aftertrain.core.verification import PoolSettings, VerifierPool
pool = VerifierPool(PoolSettings(workers=1))
verifier = Obedient(Settings(), None)
print(pool.verify(verifier, [VerificationCase("", "", "a", None)])[0].extracted, flush=True)
cases = [VerificationCase("", "", sys.argv[2], None)]
threading.Thread(target=pool.verify, args=(verifier, cases), daemon=True).start()
time.sleep(0.3)
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("trouble", ["a", "hold", "sleep 1000"])
def test_a_killed_parent_leaves_no_child(trouble: str) -> None:
    arguments = [sys.executable, "-c", ORPHANS, str(Path(__file__).parent), trouble]
    ended = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, timeout=60, check=False)
    assert ended.returncode == -9
    if trouble == "hold":  # what never lets go of the interpreter's lock is ended by the kernel's timer
        time.sleep(OBEDIENT.timeout + 1.0)
    assert _gone(int(ended.stdout))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_copy_starts_its_own_children(pool: VerifierPool) -> None:
    (before,) = pool.verify(OBEDIENT, _cases("a"))
    if (pid := os.fork()) == 0:
        (inside,) = pool.verify(OBEDIENT, _cases("b"))
        pool.close()
        os._exit(0 if inside.detail == "b" and inside.extracted != before.extracted else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert pool.verify(OBEDIENT, _cases("c"))[0].detail == "c"


def test_what_is_missing_is_found_first(pool: VerifierPool) -> None:
    needy = Needy(Settings(), builder=None)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="pip install stopwords"):
        needy.preflight()
    with pytest.raises(RunError, match=r"cannot be loaded.*pip install stopwords"):
        pool.verify(needy, _cases("a"))
    assert pool.verify(OBEDIENT, _cases("b"))[0].detail == "b"


def test_what_cannot_be_sent_is_refused_with_a_cure(pool: VerifierPool) -> None:
    class Local(Obedient):
        pass

    with pytest.raises(RunError, match=r"Local cannot be sent.*isolated = False"):
        pool.verify(Local(Settings(), builder=None), _cases("a"))  # type: ignore[arg-type]
    Local.__module__ = "__main__"
    with pytest.raises(RunError, match="put it into a module"):
        pool.verify(Local(Settings(), builder=None), _cases("a"))  # type: ignore[arg-type]


class Held(Verifier[Settings]):
    """Holds something that cannot leave this process."""

    isolated = False

    def verify(self, cases: Any) -> list[Verdict]:
        return [Verdict.scored(1.0, str(os.getpid())) for _ in cases]


class Both(Held):
    """Made of two verifiers."""

    def __init__(self, *parts: Verifier[Any]) -> None:
        super().__init__(Settings(), builder=None)  # type: ignore[arg-type]
        self._parts = parts

    @property
    def parts(self) -> tuple[Verifier[Any], ...]:
        return self._parts

    def with_parts(self, parts: Any) -> Both:
        return Both(*parts)

    def verify(self, cases: Any) -> list[Verdict]:
        first, second = (part.verify(cases) for part in self.parts)
        return [Verdict.scored(1.0, f"{a.extracted} {b.extracted}") for a, b in zip(first, second, strict=True)]


def test_what_is_no_verdict_is_an_error_that_says_so(pool: VerifierPool) -> None:
    careless = Careless(Settings(), builder=None)  # type: ignore[arg-type]
    none, number = pool.verify(careless, _cases("none", "number"))
    assert none.detail.endswith("verify must return a list of one Verdict per case, not []")
    assert number.detail.endswith("not [1.0]")


def test_only_what_may_leave_is_isolated(pool: VerifierPool) -> None:
    held = Held(Settings(), builder=None)  # type: ignore[arg-type]
    assert isolate(held, pool) is held
    nested = isolate(Both(Both(OBEDIENT, held), held), pool)
    (verdict,) = nested.verify(_cases("a"))
    inner, own = (verdict.extracted or "").rsplit(" ", 1)
    child, held_pid = inner.split(" ")
    assert held_pid == own == str(os.getpid()) != child


def test_calls_with_the_same_settings_share_their_children() -> None:
    settings = PoolSettings(workers=1, recycle=7)
    try:
        assert shared_pool(settings) is shared_pool(PoolSettings(workers=1, recycle=7))
        (verdict,) = shared_pool(settings).verify(OBEDIENT, _cases("a"))
    finally:
        close_pools()
    assert _gone(int(verdict.extracted or 0))


def test_a_verifier_in_a_file_of_ones_own_is_found_by_the_children(tmp_path: Path) -> None:
    import aftertrain

    (tmp_path / "mine.py").write_text(
        "from aftertrain.core.records import Verdict\n"
        "from aftertrain.core.settings import Settings\n"
        "from aftertrain.core.verifier import Verifier\n"
        "class MySettings(Settings):\n    word: str = 'yes'\n"
        "class Mine(Verifier[MySettings]):\n"
        "    Config = MySettings\n"
        "    def verify(self, cases):\n"
        "        return [Verdict.scored(float(case.response == self.settings.word)) for case in cases]\n"
    )
    cases = [{"response": word, "ground_truth": ""} for word in ("yes", "no")]
    found = aftertrain.verify(f"{tmp_path}/mine.py:Mine", cases, word="no")
    assert [verdict.value for verdict in found] == [0.0, 1.0]

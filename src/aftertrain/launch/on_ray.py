"""Ranks on a Ray cluster: one actor a rank in a placement group, each the keeper of that rank's process (F42).

The cluster is the one at `RAY_ADDRESS`, or one of this machine alone that ends with the run. Its machines need
aftertrain installed and the run's folder on a disk that all of them share. Ray is imported only here and in the actors.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aftertrain.core.errors import MissingExtra, RunError
from aftertrain.core.ground.cores import usable_cores
from aftertrain.core.learning.deadline import waiting
from aftertrain.core.learning.meeting import patience
from aftertrain.core.run.launched import WHERE, Failure
from aftertrain.launch.keeper import Keeper, News, Place
from aftertrain.launch.process import LOOPBACK, rank_environment
from aftertrain.launch.rank import Rank

ROOM = 300.0
"""Seconds that the cluster has to make room for all ranks and to start their actors."""
ANSWER = 60.0
"""Seconds that a cluster has to take a program in, starting Python and Ray included."""
CONNECTING = 5.0
"""Seconds that its port has to accept a connection."""
NEWS = 10.0
"""Seconds that one question for news waits in the actor."""
PARTING = 10.0
"""Seconds that a killed rank has to be seen ended before its actor is ended too."""
LOST = 1
"""Exit status of a rank whose actor is gone."""
STORE = 1 << 27
"""Bytes of shared memory for objects in a cluster of our own: ranks do not speak through it."""
PASSED_ON = ("AFTERTRAIN_", "CUDA_DEVICE_", "GLOO_", "HF_", "MKL_", "NCCL_", "OMP_", "PYTHON", "TOKENIZERS_", "TORCH_")
"""How environment variables begin that ranks on other machines get from this process."""


@contextlib.contextmanager
def actors(arguments: Sequence[str], size: int, logs: Path) -> Iterator[list[ActorRank]]:
    """All ranks, started; they are gone when the context is left.

    Raises:
        MissingExtra: Ray is not installed.
        RunError: the cluster cannot be reached, has no room, or a machine of it cannot start a rank.
    """
    with contextlib.ExitStack() as stack:
        ray = stack.enter_context(_cluster(size))
        keepers = stack.enter_context(_keepers(ray, size))
        places: list[Place] = _asked(ray, [keeper.place.remote() for keeper in keepers])
        shared = len({place.node for place in places}) > 1
        host = places[0].host if shared else LOOPBACK
        (port,) = _asked(ray, [keepers[0].listen.remote(host, size)])
        environments = environments_of(places, host, port)
        ranks: list[ActorRank] = []
        for number, (keeper, environment) in enumerate(zip(keepers, environments, strict=True)):
            log = logs / f"rank-{number}.log"
            start = keeper.start.remote(number, list(arguments), environment, str(log), os.getcwd())
            (trouble,) = _asked(ray, [start])
            if trouble:
                raise RunError(
                    f"rank {number} cannot start on {places[number].host}: {trouble}. All machines of the cluster need "
                    "this folder and the run's, on a disk that they share"
                )
            ranks.append(ActorRank(number, log, keeper, ray))
            stack.callback(ranks[-1].close)
        yield ranks


def environments_of(places: Sequence[Place], host: str, port: int) -> list[dict[str, str]]:
    """Each rank's environment: its numbers, its share of the cores, and the GPUs of its machine in ranks' order.

    Ray shows each actor its own GPU alone, torch wants those of all ranks of a machine, by local rank.
    """
    passed = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
    environments = []
    for rank, place in enumerate(places):
        here = [other for other in range(len(places)) if places[other].node == place.node]
        own = rank_environment(rank, len(places), (host, port), here.index(rank), len(here), place.cores)
        gpus = [gpu for other in here for gpu in places[other].gpus]
        if gpus:
            own["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        # Through a pipe Python would keep what rank 0 says until there is a lot of it.
        environments.append({**passed, **own, WHERE: "ray", "PYTHONUNBUFFERED": "1"})
    return environments


class ActorRank(Rank):
    """One rank, by its actor. A thread asks for news, another passes requests on: signal handlers only leave them."""

    def __init__(self, number: int, log: Path, keeper: Any, ray: Any) -> None:
        self.number, self.log = number, log
        self._keeper, self._ray = keeper, ray
        self._ended: News | None = None
        self._requests: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=work, daemon=True, name=f"rank {number}") for work in (self._ask, self._request)
        ]
        for thread in self._threads:
            thread.start()

    def poll(self) -> int | None:
        return None if self._ended is None else self._ended.status

    def send_signal(self, number: int) -> None:
        self._requests.put(("send_signal", number))

    def kill(self) -> None:
        self._requests.put(("kill",))

    def tell(self, failure: Failure) -> None:
        self._requests.put(("tell", failure))

    def failure(self) -> Failure:
        assert self._ended is not None
        assert self._ended.failure is not None
        return self._ended.failure

    def close(self) -> None:
        """End it, or at least its actor, with which it ends too."""
        if self.poll() is None:
            self.kill()
            self.wait(PARTING)
        self._requests.put(None)
        self._ray.kill(self._keeper)
        for thread in self._threads:
            thread.join(PARTING)

    def _ask(self) -> None:
        while self._ended is None:
            try:
                news: News = self._ray.get(self._keeper.news.remote(NEWS))
            except self._ray.exceptions.RayError as error:
                news = News((), LOST, self._lost(error))
            for descriptor, data in news.output:
                stream = sys.stdout if descriptor == 1 else sys.stderr
                stream.write(data.decode(errors="replace"))
                stream.flush()
            if news.status is not None:
                self._ended = news

    def _request(self) -> None:
        while (request := self._requests.get()) is not None:
            # If the actor is gone, the other thread finds out.
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._keeper.request.remote(*request)

    def _lost(self, error: Exception) -> Failure:
        why = " ".join(str(error).split())
        return Failure(self.number, f"was lost with its Ray actor ({why})", "", str(self.log) if self.number else "")


@contextlib.contextmanager
def _cluster(size: int) -> Iterator[Any]:
    try:
        ray = importlib.import_module("ray")
    except ImportError as error:
        raise MissingExtra("ray", "ray", "--on ray") from error
    # A run tells nobody of itself unless its user wants it to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = os.environ.get("RAY_ADDRESS", "")
    if address.startswith("ray://"):
        raise RunError(
            f"RAY_ADDRESS is {address}: ranks are started from a machine of the cluster (there, RAY_ADDRESS=auto), or "
            "by 'ray job submit'"
        )
    name = f"the Ray cluster at {address or 'this machine'}"
    options: dict[str, Any] = {"address": address or "local"}
    if address in ("", "local"):
        options |= {"num_cpus": max(size, usable_cores()), "include_dashboard": False, "object_store_memory": STORE}
    else:
        _answers(address, name)
    try:
        with waiting(f"{name} to take this program in", patience(ROOM)):
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise RunError(f"{name} does not answer: {error}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _answers(address: str, name: str) -> None:
    """See that a cluster takes programs in, by one that may be killed: `ray.init` has no deadline, and dies in C++.

    Raises:
        RunError: nothing is there, something else is, or it does not answer in time.
    """
    timeout = min(patience(ANSWER), ANSWER)
    cure = (
        f"Is RAY_ADDRESS right, and does the cluster run ('ray status --address {address}')? Unset RAY_ADDRESS for a "
        "cluster of this machine alone"
    )
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=min(timeout, CONNECTING)).close()
        except (OSError, OverflowError) as error:
            raise RunError(f"{name} does not answer: {getattr(error, 'strerror', None) or error}. {cure}") from error
    probe = f"import ray; ray.init(address={address!r}, log_to_driver=False, logging_level='ERROR'); ray.shutdown()"
    # A session of its own, so that what Ray starts is ended with it; a file, so that none of it can hold a pipe open.
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-c", probe],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if status == 0:
            return
        output.seek(0)
        lines = output.read().decode(errors="replace").strip().splitlines()
    why = f"no answer within {timeout:g} s" if status is None else lines[-1].strip() if lines else f"status {status}"
    raise RunError(f"{name} does not answer: {why}. {cure}")


@contextlib.contextmanager
def _keepers(ray: Any, size: int) -> Iterator[list[Any]]:
    """An actor for each rank, side by side as far as there is room."""
    placing = importlib.import_module("ray.util.placement_group")
    scheduling = importlib.import_module("ray.util.scheduling_strategies")
    total: Mapping[str, float] = ray.cluster_resources()
    gpus = int(total.get("GPU", 0))
    if 0 < gpus < size:
        raise RunError(
            f"the Ray cluster has {gpus} GPU for {size} ranks, one each: lower --nproc, or hide them from Ray to train "
            "on CPUs (CUDA_VISIBLE_DEVICES= where it is started)"
        )
    want = {"CPU": 1, **({"GPU": 1} if gpus else {})}
    group = placing.placement_group([want] * size, strategy="PACK")
    try:
        room = patience(ROOM)
        if not group.wait(room):
            there = ", ".join(f"{name} {total[name]:g}" for name in ("CPU", "GPU") if name in total)
            raise RunError(
                f"the Ray cluster made no room in {room:g} s for {size} ranks of {want}: it has {there or 'nothing'} "
                "in all; lower --nproc, or wait for others to end"
            )
        kind = ray.remote(Keeper)
        yield [
            kind.options(
                num_cpus=1,
                num_gpus=1 if gpus else 0,
                max_concurrency=4,
                scheduling_strategy=scheduling.PlacementGroupSchedulingStrategy(group, number),
            ).remote()
            for number in range(size)
        ]
    finally:
        placing.remove_placement_group(group)


def _asked(ray: Any, questions: Sequence[Any]) -> list[Any]:
    try:
        return list(ray.get(list(questions), timeout=patience(ROOM)))
    except ray.exceptions.RayError as error:
        raise RunError(f"a Ray actor did not start: {' '.join(str(error).split())}") from error

"""The process inside a sandbox's walls that forks a child for each program. Started by `worker.py`, runs alone.

In the role `programs` it takes one order at a time from its owner: a JSON line with file descriptors (`case.py` says
which). It never sees a program or a result itself, so that every program starts from the same state. When the child
ends, the owner asks, or time or memory runs out, every process of the program is killed and its scratch folder thrown
away; then it answers. In the role `tests` it keeps one child that takes the orders itself (`examiner.py`), and replaces
it when it ends. It ends when the owner's end of the connection closes.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import re
import select
import signal
import socket
import sys
import tempfile
import time
from typing import Any, NoReturn

from aftertrain.core.sandbox import case, keeper, landlock, linux, orders, scratch, walls
from aftertrain.core.sandbox.cgroup import Door
from aftertrain.core.sandbox.limits import LOOK
from aftertrain.core.sandbox.seccomp import Neighbours

_HELD = re.compile(rb"^(?:RssAnon|RssShmem|VmSwap):\s*([0-9]+) kB", re.MULTILINE)
"""Lines of /proc/PID/status that count as memory: private, shared (also anonymous mappings), swapped out."""
_SHARED_MEMORY = "/dev/shm"
"""Where locks and values that processes share lie; behind walls, the scratch folder."""
_PRELOAD = "bisect collections copy functools heapq itertools math operator random re string typing"
"""Modules that programs use most; more of them make every fork slower."""


def main(text: str) -> NoReturn:
    """Get behind the walls, say so, serve, end."""
    config: dict[str, Any] = json.loads(text)
    control = socket.socket(fileno=os.dup(0))
    try:
        _enter(config)
        for name in _PRELOAD.split():
            __import__(name)
        sys.path.extend(config["packages"])
        # A collection in a child would touch, and so copy, every page that it shares with us.
        gc.collect()
        gc.freeze()
        zygote = Zygote(control, config)
    except OSError as error:
        orders.send(control, {"failed": str(error)})
        os._exit(1)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)
    os.close(null)
    if config["role"] == "tests":
        zygote.keep_examiner()
    zygote.serve()


def _enter(config: dict[str, Any]) -> None:
    """Get behind the walls, and let no program look into this process: without that the level is refused."""
    if config["level"] == "inside":
        walls.own_mounts()
    else:
        _build_walls(config, os.getppid())
    if sys.platform == "linux":
        linux.set_dumpable(False)


def _build_walls(config: dict[str, Any], owner: int) -> None:
    paths = walls.visible(config["packages"])
    if config["level"] == "rlimits":
        config |= {"owner": owner, "readable": [*paths, *walls.DEVICES], "own_user": walls.leave_root(paths)}
        if sys.platform == "linux":
            linux.adopt_orphans()
        return
    seen = walls.places(paths, config["code"], own_names=config["own_names"])
    walls.refuse_hidden(seen.values())
    walls.leave_root(list(seen))
    inside = {
        "level": "inside",
        "role": config["role"],
        "limits": config["limits"],
        "packages": [walls.inside(path, seen) for path in config["packages"]],
        "others": case.tasks_of_user() if _kernel() < case.COUNTS_BY_NAMESPACE else 0,
    }
    python, *options, _ = config["python"]
    command = [walls.inside(os.path.realpath(python), seen), *options, walls.CODE, json.dumps(inside)]
    if config["level"] == "namespaces":
        walls.enter_namespaces(seen, command, owner)
    scratch_bytes = config["limits"]["file_bytes"]
    walls.enter_bubblewrap(config["bwrap"], seen, command, scratch_bytes=scratch_bytes, owner=owner)


class Zygote:
    """Forks, waits, kills, answers."""

    def __init__(self, control: socket.socket, config: dict[str, Any]) -> None:
        self.control = control
        self.limits = config["limits"]
        self.alone = config["level"] != "rlimits"
        """Whether a process namespace holds us and nobody else."""
        self.own_user = config.get("own_user", False)
        self.mounts = self.alone and walls.may_mount()
        self.folder = walls.SCRATCH
        self.wake, wake_end = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(wake_end, False)
        self.handlers = case.ignore_signals()
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        self.neighbours = Neighbours(os.getpid(), self.alone or self.own_user, self.alone)
        self.readable = config.get("readable") or _root_without_processes()
        """Behind walls all but /proc, which tells of mounts and paths. The links of /dev/stdin lead through it."""
        self.keeps_doors = not self.alone or landlock.version() >= landlock.MOVES
        case.prepare(self.limits, self.folder, self.neighbours, config.get("others", 0))
        self.child = 0
        self.door: Door | None = None
        """To the control group of programs, where there is one."""
        if not self.alone:
            walls.watch_owner(config["owner"], self._end)
        self.proc = _open_folder("/proc")
        self.line = socket.socket(socket.AF_UNIX)
        """The program's end of the line to the examiner."""
        self.private = [control.fileno(), self.wake, wake_end, *([] if self.proc is None else [self.proc])]

    def serve(self) -> NoReturn:
        """Until the owner is gone."""
        self._tell({"ready": True, "counts": self.proc is not None})
        before = keeper.state(self.proc)
        while True:
            order, descriptors = orders.receive(self.control)
            if order is None:
                self._end()
            if order["mode"] == "group":
                self._take(Door(*descriptors))
                before = keeper.state(self.proc)
                continue
            self._prepare()
            killed = self.door.killed() if self.door else 0
            child = self.child = os.fork()
            if child == 0:
                self._become(order, descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            answer = self._wait(child, order["timeout"])
            if self.door and self.door.killed() > killed:
                answer = {"status": None, "why": "memory"}
            self._kill_all(child)
            self.child = 0
            if changed := keeper.changes(before, keeper.state(self.proc)):
                answer["changed"] = changed
            self._tell(answer)
            self._clear()

    def _tell(self, answer: dict[str, Any]) -> None:
        """Answer, with the examiner's end of a line to the next program. We make it, so that it belongs to our own
        network namespace and not to the owner's.
        """
        self.line.close()
        self.line, other_end = socket.socketpair()
        with other_end:
            orders.send(self.control, answer, [other_end.fileno()])

    def _take(self, door: Door) -> None:
        """Have programs run in a control group from now on, or say why they cannot."""
        if reason := door.refuses():
            for descriptor in door.descriptors:
                os.close(descriptor)
        else:
            self.door = door
            self.private += door.descriptors
        orders.send(self.control, {"group": reason})

    def keep_examiner(self) -> NoReturn:
        """Have one child examine tests, order by order; when it ends, say how, and have another."""
        orders.send(self.control, {"ready": True})
        waiting = select.poll()
        waiting.register(self.control, 0)
        waiting.register(self.wake, select.POLLIN)
        while True:
            child = self.child = os.fork()
            if child == 0:
                case.examine(self.control, self.private[1:], self.handlers, self.neighbours)
            status = None
            while status is None:
                ready = [descriptor for descriptor, _ in waiting.poll()]
                if self.wake in ready:
                    status = self._reap(child)
                else:
                    self._end()
            self._kill_all(child)
            if status != 0:
                orders.send(self.control, {"died": status})

    def _become(self, order: dict[str, Any], descriptors: list[int]) -> NoReturn:
        if self.door:
            try:
                self.door.enter()
            except OSError:
                os._exit(70)  # nothing runs uncounted; the canary ends so, too, and the keeper is replaced
        line = self.line.detach()
        if order["mode"] == "module":
            descriptors = [*descriptors, line]
        else:
            os.close(line)
        shared = [_SHARED_MEMORY] if self.own_user else []
        doors = landlock.Doors(self.readable, [self.folder, "/dev/null", "/dev/full", *shared], self.alone)
        case.run(
            order,
            descriptors,
            private=self.private,
            handlers=self.handlers,
            limits=self.limits,
            folder=self.folder,
            neighbours=self.neighbours,
            doors=doors if self.keeps_doors else None,
        )

    def _wait(self, child: int, timeout: float) -> dict[str, Any]:
        """Wait for the child's end; None as status where something else ended it."""
        end = time.monotonic() + timeout
        waiting = select.poll()
        waiting.register(self.control, select.POLLIN)
        waiting.register(self.wake, select.POLLIN)
        while (left := end - time.monotonic()) > 0:
            ready = [descriptor for descriptor, _ in waiting.poll(min(left, LOOK) * 1000 + 1)]
            if self.wake in ready:
                if (status := self._reap(child)) is not None:
                    return {"status": status}
            elif self.control.fileno() in ready:
                if not self.control.recv(4096):
                    self._end()
                return {"status": None, "why": "stopped"}
            elif self._memory() > self.limits["memory_bytes"]:
                return {"status": None, "why": "memory"}
            elif self._files() > walls.SCRATCH_FILES:
                return {"status": None, "why": "files"}
        return {"status": None, "why": "timeout"}

    def _reap(self, child: int) -> int | None:
        """Once woken, take in every process that has ended; the child's status if it was among them."""
        status = None
        with contextlib.suppress(BlockingIOError):
            os.read(self.wake, 4096)
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == child:
                    status = os.waitstatus_to_exitcode(ended[1])
        return status

    def _memory(self) -> int:
        """Bytes of all processes of the program, in memory and swapped out; mapped files of the disk left out."""
        statuses = [keeper.read(self.proc, f"{pid}/status") or b"" for pid in self._descendants()]
        held = sum(int(size) * 1024 for status in statuses for size in _HELD.findall(status))
        return held + sum(size for _, size in self._left_in_shared_memory())

    def _descendants(self) -> list[int]:
        """All processes that descend from this one, by /proc; none where there is no /proc."""
        if self.proc is None:
            return []
        parents: dict[int, int] = {}
        for name in os.listdir(self.proc):
            if name.isdigit() and (stat := keeper.read(self.proc, f"{name}/stat")):
                parents[int(name)] = int(stat.rpartition(b")")[2].split()[1])
        descendants: list[int] = []
        level = {os.getpid()}
        while level := {pid for pid, parent in parents.items() if parent in level and pid not in descendants}:
            descendants += level
        return descendants

    def _files(self) -> int:
        """Files in the scratch folder, where its file system counts them and does not limit them itself."""
        if self.mounts or not self.alone:
            return 0
        counts = os.statvfs(self.folder)
        return counts.f_files - counts.f_ffree

    def _kill_all(self, child: int) -> None:
        """Kill every process of the program and wait until none is left."""
        if self.door:
            self.door.kill()
        if self.alone or self.own_user:
            # All at once, ourselves and the first process excepted: no fork can slip through.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(-1, signal.SIGKILL)
        else:
            _kill_group(child)
            frozen: set[int] = set()
            while more := set(self._descendants()) - frozen:
                for pid in more:
                    with contextlib.suppress(OSError):
                        os.kill(pid, signal.SIGSTOP)
                frozen |= more
            for pid in frozen:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)

    def _prepare(self) -> None:
        if self.mounts:
            walls.fresh_scratch(self.limits["file_bytes"])
        elif not self.alone:
            self.folder = tempfile.mkdtemp(prefix="aftertrain-case-")

    def _clear(self) -> None:
        if self.mounts:
            linux.unmount(walls.SCRATCH)
        elif self.alone:
            with os.scandir(self.folder) as entries:
                for entry in entries:
                    scratch.remove(entry.path)
        else:
            scratch.remove(self.folder)
            for path, _ in self._left_in_shared_memory():
                os.unlink(path)

    def _left_in_shared_memory(self) -> list[tuple[str, int]]:
        """Path and bytes of each file that programs have there, where they share it with the machine and the user is
        theirs alone.
        """
        if self.alone or not self.own_user or not os.path.isdir(_SHARED_MEMORY):
            return []
        with os.scandir(_SHARED_MEMORY) as entries:
            stats = [(entry.path, entry.stat(follow_symlinks=False)) for entry in entries]
        return [(path, stat.st_blocks * 512) for path, stat in stats if stat.st_uid == os.geteuid()]

    def _end(self) -> NoReturn:
        """End with all that is left of a program."""
        if not self.alone:
            if self.child:
                self._kill_all(self.child)
            if self.folder != walls.SCRATCH and os.path.isdir(self.folder):
                self._clear()
        os._exit(0)


def _open_folder(path: str) -> int | None:
    """A folder, open; None where there is nothing in it."""
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if os.listdir(path) else None
    except OSError:
        return None


def _root_without_processes() -> list[str]:
    """All folders of the root but /proc; links lead to what is in them."""
    return [f"/{name}" for name in os.listdir("/") if name != "proc" and not os.path.islink(f"/{name}")]


def _kernel() -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]+", os.uname().release)[:2])


def _kill_group(child: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(child, signal.SIGKILL)
    with contextlib.suppress(OSError):
        os.kill(child, signal.SIGKILL)

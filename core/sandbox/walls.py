"""How a sandbox's own process gets behind its walls, on each level. Runs inside the new process, before any program.

`namespaces` (Linux 5.12 with unprivileged user namespaces): user, mount, network, IPC, host name, control group and
process namespaces of its own. The new root is built from nothing: an empty file system with Python and the system's
libraries mounted read-only, so that what is not named (home folders, keys, data, weights) is not there at all. What
does not belong to the system is shown under other names, and a fresh Python is executed there, so that neither paths
nor arguments tell of this machine.

`bubblewrap`: the same by the program bwrap. `rlimits`: no walls; only what `case.py` sets for each program.

Root first becomes a user that owns nothing, because limits on processes do not hold for root.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import sysconfig
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from aftertrain.core.sandbox import linux

NOBODY = 65534
SCRATCH = "/tmp"
SCRATCH_FILES = 4096
"""Files and folders that a program may have in its scratch folder."""
_OWN_USERS = 0x7000_0000
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store")
_FILES = ("/etc/ld.so.cache", "/etc/localtime")
_LINKS = (
    ("/proc/self/fd", "dev/fd"),
    ("/proc/self/fd/0", "dev/stdin"),
    ("/proc/self/fd/1", "dev/stdout"),
    ("/proc/self/fd/2", "dev/stderr"),
    (SCRATCH, "dev/shm"),
)
_PASSWD = f"nobody:x:{NOBODY}:{NOBODY}::{SCRATCH}:/bin/false\n"
DEVICES = ("/dev/null", "/dev/full", "/dev/random", "/dev/urandom")
"""Devices that a program may read. Not `zero`: memory mapped from it is shared without a file that is counted."""
_TREE_BYTES = "1m"
CODE, PYTHON, PACKAGES = "/aftertrain", "/python", "/packages"
"""What programs see in place of the paths of this package, of Python, and of installed packages."""
HOST = "sandbox"
ENVIRONMENT = {"PYTHONHASHSEED": "0"}
_PRELOAD = "/etc/ld.so.preload"


def visible(more: Sequence[str]) -> list[str]:
    """The folders and files that a program may read: the system's, Python's, and `more`; none inside another."""
    python = [sys.base_prefix, sys.base_exec_prefix, os.path.dirname(os.path.realpath(os.__file__))]
    paths: list[str] = []
    for path in [*_SYSTEM, *_FILES, *python, *more]:
        if path != "/" and not any(_within(path, other) for other in paths) and os.path.lexists(path):
            paths.append(path)
    return paths


def places(paths: Sequence[str], code: str, *, own_names: bool = False) -> dict[str, str]:
    """Where programs see each of these paths, and `code`. The system's stay where they are; the others get neutral
    names, unless Python needs its `own_names`.
    """
    seen: dict[str, str] = {}
    for path in paths:
        if own_names or any(_within(path, system) for system in (*_SYSTEM, *_FILES)):
            seen[path] = path
        elif path == sys.base_prefix:
            seen[path] = PYTHON
        else:
            seen[path] = f"{PACKAGES}/{len(seen)}"
    return {**seen, code: CODE}


def inside(path: str, seen: Mapping[str, str]) -> str:
    """What programs see in place of `path`."""
    for outer, inner in seen.items():
        if _within(path, outer):
            return inner + path[len(outer.rstrip("/")) :]
    return path


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def refuse_hidden(paths: Iterable[str]) -> None:
    """Refuse a level whose scratch folder would hide what programs need.

    Raises:
        OSError: one of them lies there.
    """
    if hidden := next((path for path in paths if path.startswith(SCRATCH + "/")), None):
        raise OSError(
            f"{hidden} lies in {SCRATCH}, which behind walls is the programs' scratch folder and hides it: "
            "install Python and its packages elsewhere"
        )


def leave_root(readable: Sequence[str]) -> bool:
    """As root, become another user, still able to read `readable`; whether it is one that nobody else is."""
    if os.geteuid() != 0:
        return False
    if sys.platform != "linux":
        os.setgroups([])
        os.setregid(NOBODY, NOBODY)
        os.setreuid(NOBODY, NOBODY)
        return False
    keep_reading = False
    try:
        if closed := [(path, gate) for path in readable if (gate := _closed_folder(path))]:
            linux.unshare(linux.NEWNS)
            linux.mount("none", "/", None, linux.MS_REC | linux.MS_PRIVATE)
            _open_up(closed)
    except OSError:
        keep_reading = True
    try:
        linux.become(_OWN_USERS + os.getpid(), keep_reading)
    except OSError:
        linux.become(NOBODY, keep_reading)
        return False
    return True


def _closed_folder(path: str) -> str | None:
    """The first folder above `path` that only its owner may enter."""
    parts = path.strip("/").split("/")[:-1]
    folders = ["/" + "/".join(parts[: count + 1]) for count in range(len(parts))]
    return next((folder for folder in folders if not os.stat(folder).st_mode & 0o001), None)


def _open_up(closed: Sequence[tuple[str, str]]) -> None:
    """Cover each closed folder, in this process's view only, by an empty one that holds nothing but what is needed."""
    held = [(path, os.open(path, os.O_PATH)) for path, _ in closed]
    for gate in dict.fromkeys(gate for _, gate in closed):
        linux.mount("tmpfs", gate, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, f"size={_TREE_BYTES},mode=755")
    for path, descriptor in held:
        os.makedirs(path, exist_ok=True)
        linux.mount(f"/proc/self/fd/{descriptor}", path, None, linux.MS_BIND | linux.MS_REC)
        os.close(descriptor)


def watch_owner(owner: int, end: Callable[[], Any]) -> None:
    """Call `end` when the process `owner` ends. A mere thread of it that started us may end."""
    if sys.platform == "linux":

        def parent_thread_ended(number: int, frame: object) -> None:
            if os.getppid() != owner:
                end()

        signal.signal(signal.SIGHUP, parent_thread_ended)
        linux.die_with_parent(signal.SIGHUP)
        if os.getppid() != owner:
            end()


def enter_namespaces(seen: Mapping[str, str], command: Sequence[str], owner: int) -> None:
    """Execute `command` as the first process of new namespaces; the old process stays outside, waits, and passes its
    end on. Does not return.

    Raises:
        OSError: this machine does not allow it; the message says which step.
    """
    user, group = os.geteuid(), os.getegid()
    linux.unshare(
        linux.NEWUSER | linux.NEWNS | linux.NEWNET | linux.NEWIPC | linux.NEWUTS | linux.NEWPID | linux.NEWCGROUP
    )
    _be_nobody(user, group)
    child_only(owner)
    linux.name_host(HOST)
    _build_root(seen)
    linux.keep_mounting()
    os.execve(command[0], list(command), ENVIRONMENT)


def library(seen: Mapping[str, str]) -> str:
    """The line for /etc/ld.so.preload, where a Python under another name would not find its own shared library."""
    name = sysconfig.get_config_var("INSTSONAME")
    moved = PYTHON in seen.values() and sysconfig.get_config_var("Py_ENABLE_SHARED")
    return f"{PYTHON}/lib/{name}\n" if moved and os.path.isfile(f"{sys.base_prefix}/lib/{name}") else ""


def enter_bubblewrap(
    program: str, seen: Mapping[str, str], command: Sequence[str], *, scratch_bytes: int, owner: int
) -> None:
    """Execute `command` behind bubblewrap's walls as their first process. Does not return."""
    words = [program, "--unshare-all", "--unshare-user", "--uid", str(NOBODY), "--gid", str(NOBODY), "--as-pid-1"]
    words += ["--die-with-parent", "--new-session", "--hostname", HOST, "--cap-drop", "ALL", "--clearenv"]
    for name, value in ENVIRONMENT.items():
        words += ["--setenv", name, value]
    for name, text in ((_PRELOAD, library(seen)), ("/etc/passwd", _PASSWD)):
        words += ["--ro-bind-data", str(_readable(text)), name] if text else []
    for path, target in seen.items():
        link = path == target and os.path.islink(path)
        words += ["--symlink", os.readlink(path), path] if link else ["--ro-bind", path, target]
    words += ["--proc", "/proc", "--dir", "/dev", "--size", str(scratch_bytes), "--tmpfs", SCRATCH]
    for device in DEVICES:
        words += ["--dev-bind", device, device]
    for target, name in _LINKS:
        words += ["--symlink", target, f"/{name}"]
    words += ["--remount-ro", "/", "--chdir", SCRATCH, "--", *command]
    child_only(owner)
    os.execv(program, words)


def _readable(text: str) -> int:
    """A descriptor, for a program that is executed, from which `text` (less than a pipe holds) can be read."""
    reader, writer = os.pipe()
    os.write(writer, text.encode())
    os.close(writer)
    os.set_inheritable(reader, True)
    return reader


def own_mounts() -> None:
    """Inside: get a view of the files in which scratch folders can be mounted, if the system allows it."""
    if not may_mount():
        with contextlib.suppress(OSError):
            linux.unshare(linux.NEWUSER | linux.NEWNS)
            _be_nobody(NOBODY, NOBODY)


def _be_nobody(user: int, group: int) -> None:
    """In a new user namespace: show these, outside it this process's own, as nobody."""
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{NOBODY} {user} 1")
    _write("/proc/self/gid_map", f"{NOBODY} {group} 1")


def child_only(owner: int) -> None:
    """Fork: the child, which dies with this process, returns; this process never returns."""
    watch_owner(owner, lambda: os._exit(0))
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        linux.die_with_parent(signal.SIGKILL)
        return
    os.closerange(0, 2)
    while True:
        pid, status = os.waitpid(child, 0)
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def fresh_scratch(limit: int) -> None:
    """Mount a new empty scratch folder.

    Raises:
        OSError: this process may not mount.
    """
    options = f"size={limit},nr_inodes={SCRATCH_FILES},mode=700"
    linux.mount("tmpfs", SCRATCH, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, options)


def may_mount() -> bool:
    """Whether scratch folders can be mounted in this process's view of the files."""
    try:
        fresh_scratch(4096)
        linux.unmount(SCRATCH)
    except OSError:
        return False
    return True


def _build_root(seen: Mapping[str, str]) -> None:
    links = {path: os.readlink(path) for path, target in seen.items() if path == target and os.path.islink(path)}
    real = {path: os.path.realpath(path) for path in seen}
    folders = {path: os.path.isdir(path) for path in seen}
    preload = library(seen)
    quiet = linux.MS_NOSUID | linux.MS_NODEV
    linux.mount("none", "/", None, linux.MS_REC | linux.MS_PRIVATE)
    linux.mount("tmpfs", SCRATCH, "tmpfs", quiet, "size=64k,mode=755")
    os.mkdir(f"{SCRATCH}/old")
    os.mkdir(f"{SCRATCH}/new")
    linux.pivot_root(SCRATCH, f"{SCRATCH}/old")
    os.chdir("/")
    linux.mount("tmpfs", "/new", "tmpfs", quiet, f"size={_TREE_BYTES},mode=755")
    for path, name in seen.items():
        target = f"/new{name}"
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if path in links:
            os.symlink(links[path], target)
        else:
            _bind(f"/old{real[path]}", target, folders[path], linux.RDONLY | linux.NOSUID | linux.NODEV)
    for folder in ("dev", "proc", "etc", SCRATCH.strip("/")):
        os.makedirs(f"/new/{folder}", exist_ok=True)
    for device in DEVICES:
        _bind(f"/old{device}", f"/new{device}", False, linux.RDONLY | linux.NOSUID)
    for target, name in _LINKS:
        os.symlink(target, f"/new/{name}")
    _write("/new/etc/passwd", _PASSWD)
    if preload:
        _write(f"/new{_PRELOAD}", preload)
    # Where parts of /proc are covered (in most containers) the kernel refuses a new one: programs do without.
    try:
        linux.mount("proc", "/new/proc", "proc", quiet | linux.MS_NOEXEC, "subset=pid")
    except OSError:
        os.chmod("/new/proc", 0o555)
    os.chdir("/new")
    linux.pivot_root(".", ".")
    linux.unmount(".")
    os.chdir("/")
    linux.restrict_mount("/", linux.RDONLY)
    fresh_scratch(4096)
    linux.unmount(SCRATCH)


def _bind(source: str, target: str, folder: bool, attributes: int) -> None:
    if folder:
        os.makedirs(target, exist_ok=True)
    else:
        _write(target, "")
    linux.mount(source, target, None, linux.MS_BIND | linux.MS_REC)
    linux.restrict_mount(target, attributes)


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)

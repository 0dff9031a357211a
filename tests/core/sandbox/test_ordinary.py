"""What ordinary programs need works behind the filter and the walls."""
# ruff: noqa: E501  (a program reads better on its line)

from __future__ import annotations

import os
import sys
from textwrap import dedent, indent

import pytest

from aftertrain.core.sandbox.level import LEVELS, why_not
from aftertrain.core.sandbox.limits import Limits
from aftertrain.core.sandbox.sandbox import Sandbox

USES = {
    "threads": """
        import queue, threading
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(3) as pool: assert sum(pool.map(abs, range(5))) == 10
        lock, event = threading.Lock(), threading.Event()
        thread = threading.Thread(target=event.set); thread.start(); assert event.wait(5); thread.join()
    """,
    "subprocess": """
        import subprocess, sys
        assert subprocess.run(["/bin/echo", "x"], capture_output=True, text=True).stdout == "x\\n"
        assert subprocess.run([sys.executable, "-c", "print(5)"], capture_output=True).stdout == b"5\\n"
    """,
    "ended children": """
        import subprocess
        try: subprocess.run(["/bin/sleep", "9"], timeout=0.05)
        except subprocess.TimeoutExpired: pass
    """,
    "asyncio": """
        import asyncio
        async def main():
            process = await asyncio.create_subprocess_exec("/bin/echo", "x", stdout=-1)
            assert (await process.communicate())[0] == b"x\\n"
            assert await asyncio.wait_for(asyncio.to_thread(len, "abc"), 5) == 3
            return await asyncio.gather(*(asyncio.sleep(0.01, n) for n in range(3)))
        assert asyncio.run(main()) == [0, 1, 2]
    """,
    "pipes between processes": """
        import multiprocessing
        context = multiprocessing.get_context("fork")
        here, there = context.Pipe()
        process = context.Process(target=there.send, args=(4,))
        process.start(); assert here.recv() == 4; process.join()
    """,
    "a pool of processes": """
        import multiprocessing
        with multiprocessing.get_context("fork").Pool(2) as pool: assert pool.map(abs, [-1, -2]) == [1, 2]
    """,
    "values of many processes": """
        import multiprocessing
        from multiprocessing import shared_memory
        value = multiprocessing.Value("i", 3)
        with value.get_lock(): value.value += 1
        memory = shared_memory.SharedMemory(create=True, size=10); memory.buf[0] = 1; memory.close(); memory.unlink()
    """,
    "temporary files": """
        import os, shutil, tempfile
        with tempfile.TemporaryDirectory() as folder:
            open(folder + "/a", "w").write("x"); shutil.copy2(folder + "/a", folder + "/b"); os.rename(folder + "/a", folder + "/c")
            shutil.copytree(folder, "copy"); shutil.rmtree("copy"); os.mkfifo(folder + "/f"); os.chmod(folder + "/b", 0o600)
        with tempfile.NamedTemporaryFile() as file: file.write(b"x")
    """,
    "standard streams by their names": """
        import subprocess
        assert open("/dev/stdin").read() == "given"
        with open("/dev/stdout", "w") as out: out.write("")
        with open("/dev/stderr", "w") as err: err.write("")
        assert subprocess.run(["cat", "/dev/stdin"], input=b"x", capture_output=True).stdout == b"x"
    """,
    "moves between folders": """
        import os
        os.makedirs("from/here"); os.mkdir("to"); open("from/here/f", "w").close()
        os.rename("from/here/f", "to/f"); os.replace("to/f", "from/g"); os.link("from/g", "to/h")
    """,
    "time": """
        import datetime, time
        from zoneinfo import ZoneInfo
        time.sleep(0.01); datetime.datetime.now().astimezone(); time.process_time(); time.thread_time(); time.perf_counter()
        datetime.datetime.now(ZoneInfo("UTC"))
    """,
    "its own signals": """
        import os, signal, threading, time
        got = []
        signal.signal(signal.SIGUSR1, lambda *a: got.append(1)); signal.signal(signal.SIGALRM, lambda *a: got.append(2))
        os.kill(os.getpid(), signal.SIGUSR1); signal.raise_signal(signal.SIGUSR1)
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        signal.setitimer(signal.ITIMER_REAL, 0.01); time.sleep(0.1)
        assert sorted(got) == [1, 1, 1, 2], got
    """,
    "its own limits": """
        import os, resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)); resource.getrusage(resource.RUSAGE_SELF)
        os.sched_setaffinity(0, os.sched_getaffinity(0)); os.sched_setaffinity(os.getpid(), os.sched_getaffinity(0)); os.nice(1)
    """,
    "mapped files": """
        import mmap
        open("m", "wb").write(b"x" * 4096)
        with open("m", "r+b") as file: held = mmap.mmap(file.fileno(), 0); held[0] = 65; held.flush()
        mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE)
    """,
    "sockets of its own": """
        import select, socket
        here, there = socket.socketpair(); here.send(b"x"); assert there.recv(1) == b"x"
        assert select.select([there], [there], [], 0)[1]
    """,
    "a data base": "import sqlite3; base = sqlite3.connect('b'); base.execute('create table t(a)'); base.commit(); base.close()",
    "the rest of the library": """
        import bz2, ctypes, decimal, faulthandler, gc, gzip, hashlib, logging, lzma, pickle, secrets, tracemalloc, uuid, zlib
        uuid.uuid1(); uuid.uuid4(); secrets.token_hex(); logging.basicConfig(filename="log"); logging.warning("x")
        tracemalloc.start(); gc.collect(); ctypes.CDLL(None).getpid()
    """,
}
_NOT_WITHOUT_ROOT = {"ended children", "a pool of processes", "values of many processes"}
"""What a program of a user that others share may not do where there are no walls."""


def program() -> str:
    bodies = (f"def u{at}():\n" + indent(dedent(body).strip(), "    ") for at, body in enumerate(USES.values()))
    listed = ", ".join(f"{name!r}: u{at}" for at, name in enumerate(USES))
    run = "for name, use in uses.items():\n    try: use()\n    except BaseException as e: print(name, repr(e))"
    return "\n".join([*bodies, f"uses = {{{listed}}}", run])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="there is no filter")
@pytest.mark.parametrize("level", LEVELS)
def test_ordinary_programs_work(level: str) -> None:
    if reason := why_not(level):  # type: ignore[arg-type]
        pytest.skip(reason)
    with Sandbox(Limits(seconds=60), use=level, workers=1) as sandbox:  # type: ignore[arg-type]
        result = sandbox.run(program(), "given")
    assert result.outcome == "ok", result
    failed = result.stdout.splitlines()
    if level == "rlimits" and os.getuid() != 0:
        failed = [line for line in failed if not line.startswith(tuple(_NOT_WITHOUT_ROOT))]
    assert failed == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="there is no filter")
def test_numpy_works() -> None:
    pytest.importorskip("numpy")
    source = "import numpy as np\na = np.random.default_rng(0).random((64, 64))\nprint(np.allclose(np.linalg.inv(a) @ a, np.eye(64)))"
    with Sandbox(Limits(seconds=60, memory_bytes=4 * 2**30), workers=1, packages=True) as sandbox:
        result = sandbox.run(source)
    assert result.stdout == "True\n", result

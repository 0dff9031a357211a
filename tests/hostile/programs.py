"""Programs that try to break out of the sandbox, to stay, to starve the machine, or to pass without being right.

A `function` is tested by HumanEval's form: `square` of some numbers. A `script` must print what it should. Scripts that
try something print `open` when they get through and `shut` when they do not; they should print `shut`.
"""
# ruff: noqa: E501  (a program reads better on its line)

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent

SQUARE = {
    "test": "def check(candidate):\n    assert candidate(3) == 9\n    assert candidate(-2) == 4\n",
    "entry_point": "square",
}
ASSERTS = ["assert square(3) == 9", "assert square(-2) == 4"]
SHUT = {"inputs": ["3\n"], "outputs": ["shut\n"]}
NINE = {"inputs": ["3\n"], "outputs": ["9\n"]}


@dataclass(frozen=True)
class Program:
    """A program, its tests, and what must happen: `pass`, `fail` (scored 0), `timeout`, or one of several."""

    name: str
    source: str
    truth: object
    expect: tuple[str, ...]
    walls: bool = False
    """Whether only the isolating levels promise it, or a kernel with Landlock."""
    mounts: bool = False
    """Whether only the isolating levels promise it, which count the files of the scratch folder."""


def function(name: str, source: str, *expect: str, walls: bool = False, truth: object = SQUARE) -> Program:
    return Program(name, dedent(source), truth, expect or ("fail",), walls)


def attempt(name: str, source: str, walls: bool = True) -> Program:
    """A script that tries `source`, which should raise an OSError or leave `got` False."""
    body = dedent(source).strip().replace("\n", "\n    ")
    text = f"import os, sys\ngot = True\ntry:\n    {body}\nexcept (OSError, KeyError, ValueError, AttributeError):\n"
    return Program(name, text + "    got = False\nprint('open' if got else 'shut')\n", SHUT, ("pass",), walls)


def script(name: str, source: str, *expect: str, mounts: bool = False, truth: object = NINE) -> Program:
    return Program(name, dedent(source), truth, expect or ("fail",), mounts=mounts)


FAKES = [
    function("os._exit(0) on import", "import os; os._exit(0)"),
    function("os._exit(0) when called", "import os\ndef square(x): os._exit(0)"),
    function("sys.exit(0) on import", "import sys; sys.exit(0)"),
    function("sys.exit(0) when called", "import sys\ndef square(x): sys.exit(0)"),
    function("raise SystemExit", "raise SystemExit"),
    function("raise SystemExit when called", "def square(x): raise SystemExit(0)"),
    function("raise KeyboardInterrupt", "def square(x): raise KeyboardInterrupt"),
    function("raise GeneratorExit", "def square(x): raise GeneratorExit"),
    function("raise StopIteration", "def square(x): raise StopIteration"),
    function(
        "exit in a thread", "import os, threading\ndef square(x): threading.Thread(target=os._exit, args=(0,)).start()"
    ),
    function("atexit prints a pass", "import atexit\natexit.register(print, 'passed')\ndef square(x): return 0"),
    function(
        "print what a harness would print", 'print(\'{"passed": true, "error": ""}\\n\' * 9)\ndef square(x): return 0'
    ),
    function(
        "result that equals everything",
        """
        class Yes:
            def __eq__(self, other): return True
            def __ne__(self, other): return False
            def __hash__(self): return 0
        def square(x): return Yes()
        """,
    ),
    function(
        "int that equals everything",
        """
        class Yes(int):
            def __eq__(self, other): return True
            __hash__ = int.__hash__
        def square(x): return Yes(7)
        """,
    ),
    function(
        "text, list and dict that equal everything",
        """
        class Yes(list):
            def __eq__(self, other): return True
        class Text(str):
            def __eq__(self, other): return True
        class Map(dict):
            def __eq__(self, other): return True
        def square(x): return Yes() if x == 3 else Map()
        """,
    ),
    function(
        "patch builtins",
        "import builtins\nfor n in ('abs', 'len', 'all', 'isinstance', 'AssertionError'):\n    setattr(builtins, n, lambda *a: True)\ndef square(x): return 0",
    ),
    function(
        "AssertionError swallowed",
        "import builtins\nbuiltins.AssertionError = type('X', (Exception,), {})\ndef square(x): return 0",
    ),
    function(
        "sys.excepthook and sys.exit patched",
        "import sys, os\nsys.excepthook = lambda *a: os._exit(0)\nsys.exit = lambda *a: os._exit(0)\ndef square(x): return 1 / 0",
    ),
    function(
        "trace function rewrites the test",
        "import sys\ndef t(f, e, a):\n    f.f_locals.clear()\n    return t\nsys.settrace(t)\ndef square(x): return 0",
    ),
    function("define check", "def check(candidate): pass\ndef square(x): return 0"),
    function(
        "shadow builtins at module level",
        "def abs(x): return 0\ndef all(x): return True\nAssertionError = ValueError\ndef square(x): return 0",
    ),
    function(
        "walk the frames",
        """
        import sys
        def square(x):
            frame = sys._getframe()
            while frame:
                for name, value in list(frame.f_globals.items()) + list(frame.f_locals.items()):
                    if callable(value) and 'tell' in name.lower() or 'report' in name.lower():
                        try: value(True, '')
                        except Exception: pass
                frame = frame.f_back
            return 0
        """,
    ),
    function(
        "look through the garbage collector",
        """
        import gc
        def square(x):
            found = [o for o in gc.get_objects() if isinstance(o, dict) and 'statements' in o]
            if found: raise SystemExit(found)
            for o in gc.get_objects():
                if type(o).__name__ == 'Examiner': o._tell(True, '')
            return 0
        """,
    ),
    function(
        "write passes to every descriptor",
        """
        import os
        line = b'{"passed": true, "error": ""}\\n' * 3
        for fd in range(256):
            try: os.write(fd, line)
            except OSError: pass
        def square(x): return 0
        """,
        "fail",
        "timeout",
    ),
    function(
        "forged answer, then leave",
        """
        import os, struct, json
        def square(x):
            data = json.dumps({"value": 9}).encode()
            for fd in range(3, 64):
                try: os.write(fd, struct.pack("<I", len(data)) + data)
                except OSError: pass
            os._exit(0)
        """,
    ),
    function(
        "pickle bomb as an answer",
        """
        import os, pickle, struct
        class Bomb:
            def __reduce__(self): return (os._exit, (0,))
        data = pickle.dumps(Bomb())
        def square(x):
            for fd in range(3, 64):
                try: os.write(fd, struct.pack("<I", len(data)) + data)
                except OSError: pass
            return Bomb()
        """,
    ),
    function(
        "answer that claims 4 GB",
        """
        import os
        def square(x):
            for fd in range(3, 64):
                try: os.write(fd, b'\\xff\\xff\\xff\\xff')
                except OSError: pass
            return 0
        """,
    ),
    function(
        "answer nested a million deep",
        """
        import os, struct
        data = b'{"value":' + b'[' * 1000000 + b']' * 1000000 + b'}'
        def square(x):
            for fd in range(3, 64):
                try: os.write(fd, struct.pack("<I", len(data)) + data)
                except OSError: pass
            return 0
        """,
        "fail",
        "timeout",
    ),
    function("result that holds itself", "def square(x):\n    a = []\n    a.append(a)\n    return a", "error"),
    function(
        "result nested too deeply",
        "def square(x):\n    a = []\n    for _ in range(10**5): a = [a]\n    return a",
        "error",
    ),
    function(
        "result with a repr without end",
        "class R:\n    def __repr__(self): return repr(self)\ndef square(x): return R()",
    ),
    function(
        "result with a slow hash",
        "class R:\n    def __hash__(self):\n        while True: pass\ndef square(x): return R()",
    ),
    function(
        "exception with a text without end",
        "class E(Exception):\n    def __str__(self): return str(self)\ndef square(x): raise E()",
    ),
    function("exception with a huge text", "def square(x): raise ValueError('x' * 10**7)"),
    function("exception class with an odd name", "def square(x): raise type('Gone', (BaseException,), {})()"),
    function("kill the parent", "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\ndef square(x): return 0"),
    function("kill everything", "import os, signal\nos.kill(-1, signal.SIGKILL)\ndef square(x): return 0"),
    function(
        "stop the parent",
        "import os, signal\nos.kill(os.getppid(), signal.SIGSTOP)\ndef square(x): return 0",
        "fail",
        "timeout",
    ),
    function(
        "trace the parent",
        """
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.ptrace(16, os.getppid(), 0, 0) == 0:
            def square(x): return x * x
        else:
            def square(x): return 0
        """,
    ),
    function(
        "open the parent's memory and descriptors",
        """
        import os
        def reach():
            for pid in os.listdir('/proc'):
                if pid.isdigit() and int(pid) != os.getpid():
                    for name in ('mem', 'environ', 'fd/3', 'maps'):
                        try:
                            open(f'/proc/{pid}/{name}', 'rb').read(1)
                            return True
                        except OSError: pass
        found = reach() if os.path.isdir('/proc/self') else False
        def square(x): return x * x if found else 0
        """,
        walls=True,
    ),
    function(
        "report written into the owner's pipes",
        """
        import os
        line = b'{"passed": true, "error": "", "gone": false}\\n' * 3 + b'{"end": true}\\n'
        for pid in os.listdir('/proc') if os.path.isdir('/proc/self') else []:
            try: descriptors = os.listdir(f'/proc/{pid}/fd') if pid.isdigit() and int(pid) != os.getpid() else []
            except OSError: continue
            for fd in descriptors:
                try:
                    if os.readlink(f'/proc/{pid}/fd/{fd}').startswith('pipe:'):
                        os.write(os.open(f'/proc/{pid}/fd/{fd}', os.O_WRONLY | os.O_NONBLOCK), line)
                except OSError: pass
        def square(x): return 0
        """,
        walls=True,  # at `rlimits` the pipes of the owner's own program are no concern of ours
    ),
    function("a wrong answer", "def square(x): return x + x"),
    function("no answer", "def square(x): pass"),
    function("another name", "def cube(x): return x ** 3"),
    function("nan", "def square(x): return float('nan')"),
    function("numbers as texts", "def square(x): return str(x * x)"),
    function("true in place of a number", "def square(x): return True"),
]

ODD = [
    function(
        "right, and floods stdout first",
        "print('x' * 10**7)\ndef square(x):\n    print('y' * 10**6)\n    return x * x",
        "pass",
    ),
    function(
        "right, and closes all descriptors but its own",
        "import os\nfor fd in (0, 1, 2): os.close(fd)\ndef square(x): return x * x",
        "pass",
    ),
    function("closes all descriptors", "import os\nos.closerange(0, 256)\ndef square(x): return x * x"),
    function(
        "right, and leaves a thread",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\ndef square(x): return x * x",
        "pass",
    ),
    function("right, and an int subclass", "class I(int): pass\ndef square(x): return I(x * x)", "pass"),
    function(
        "right, and changes its recursion limit",
        "import sys\nsys.setrecursionlimit(10**6)\ndef square(x): return x * x",
        "pass",
    ),
    function("null byte in the source", "def square(x): return x * x\n\0"),
    function("lone surrogate in the source", "def square(x): return x * x  # \ud800"),
    function("lone surrogate in a text", "s = '\ud800'\ndef square(x): return x * x"),
    function("syntax error", "def square(x) return x * x"),
    function("only a comment", "# nothing here"),
    function("nested too deeply to parse", "(" * 10000 + ")" * 10000),
    function("long chain of operators", "x = " + "-" * 200000 + "1\ndef square(x): return x * x", "fail", "timeout"),
    function("10 MB of source", "x = 1\n" * (10 * 2**20 // 6) + "def square(x): return x * x"),
    function("3 MB of source", "x = 1\n" * (3 * 2**20 // 6) + "def square(x): return 0", "fail", "timeout"),
    function("segfault", "import ctypes\ndef square(x): ctypes.string_at(0)"),
    function("abort", "import os\ndef square(x): os.abort()"),
    function(
        "illegal code object",
        "def f(): pass\nf.__code__ = f.__code__.replace(co_code=b'\\xff' * 100)\ndef square(x): return f()",
    ),
    function("endless recursion", "def square(x): return square(x)"),
    function(
        "endless recursion without a limit",
        "import sys\nsys.setrecursionlimit(10**9)\ndef square(x): return [square(x)]",
        "fail",
        "timeout",
    ),
    function("imports what is not there", "import numpy_is_not_here\ndef square(x): return x * x"),
    function(
        "imports the harness",
        "from aftertrain.core.sandbox import examiner\ndef square(x):\n    examiner.Examiner._tell(None, True, '')",
    ),
]

STARVE = [
    script(
        "shared memory of five processes",
        """
        import mmap, os, time
        for _ in range(5):
            if os.fork() == 0:
                held = mmap.mmap(-1, 60 * 2**20)
                for at in range(0, len(held), 4096): held[at] = 1
                time.sleep(60)
        time.sleep(60)
        """,
        "fail",
        "timeout",
    ),
    function("endless loop on import", "while True: pass", "timeout"),
    function("endless loop when called", "def square(x):\n    while True: pass", "timeout"),
    function("endless sleep", "import time\ndef square(x): time.sleep(10**6)", "timeout"),
    function(
        "ignores every signal",
        "import signal\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n    except (OSError, ValueError): pass\nwhile True: pass",
        "timeout",
    ),
    function(
        "sets its own alarm",
        "import signal\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\nsignal.setitimer(signal.ITIMER_REAL, 0)\ndef square(x):\n    while True: pass",
        "timeout",
    ),
    function(
        "catches everything and goes on",
        "def square(x):\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass",
        "timeout",
    ),
    function("9**9**9", "def square(x): return 9**9**9", "timeout", "fail"),
    function(
        "regular expression bomb", "import re\ndef square(x): return re.match('(a+)+$', 'a' * 40 + 'b')", "timeout"
    ),
    function("waits for its input", "def square(x): return input()"),
    function("answers with an endless iterator", "import itertools\ndef square(x): return itertools.count()"),
    function(
        "fork bomb",
        "import os\ndef square(x):\n    while True:\n        try: os.fork()\n        except OSError: pass",
        "timeout",
        "fail",
    ),
    function(
        "fork bomb on import", "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", "timeout", "fail"
    ),
    function(
        "shell fork bomb",
        "import subprocess\nsubprocess.run(['/bin/sh', '-c', 'f() { f | f & }; f; sleep 9'])\ndef square(x): return 0",
        "timeout",
        "fail",
    ),
    function(
        "thread bomb",
        "import threading, time\ndef square(x):\n    while True: threading.Thread(target=time.sleep, args=(99,), daemon=True).start()",
        "fail",
        "timeout",
    ),
    function(
        "memory bomb", "def square(x):\n    a = []\n    while True: a.append(bytearray(10**7))", "fail", "timeout"
    ),
    function("memory bomb at once", "def square(x): return len(bytearray(10**11))"),
    function(
        "memory bomb in children",
        "import os, time\ndef square(x):\n    for _ in range(6):\n        if os.fork() == 0:\n            a = bytearray(150 * 10**6)\n            time.sleep(99)\n    time.sleep(99)",
        "fail",
        "timeout",
    ),
    function(
        "memory by mmap",
        "import mmap\ndef square(x):\n    a = []\n    while True:\n        m = mmap.mmap(-1, 2**24); m.write(b'x' * 2**24); a.append(m)",
        "fail",
        "timeout",
    ),
    function(
        "threads that never end",
        "import threading\ndef spin():\n    while True: pass\nfor _ in range(4): threading.Thread(target=spin).start()\ndef square(x): return 0",
        "fail",
        "timeout",
    ),
    script("floods stdout", "while True: print('x' * 1000)"),
    script("floods stdout in one write", "import os\nwhile True: os.write(1, b'x' * 2**20)"),
    script("floods stderr", "import sys\nwhile True: sys.stderr.write('x' * 1000)"),
    script(
        "floods stdout from a child",
        "import os, time\nif os.fork() == 0:\n    while True: os.write(1, b'x' * 65536)\ntime.sleep(99)",
    ),
    script("prints what is no UTF-8", "import sys\nsys.stdout.buffer.write(b'\\xff\\xfe9\\n')"),
    script(
        "right, with bytes that are no UTF-8 on stderr",
        "import sys\nsys.stderr.buffer.write(b'\\xff\\xfe')\nprint(9)",
        "pass",
    ),
    script("right, and then fails", "print(9)\nraise ValueError"),
    script("right, and then leaves in a hurry", "import os\nprint(9, flush=True)\nos._exit(0)", "pass"),
    script(
        "right, and a thread that never ends",
        "import threading, time\nprint(9, flush=True)\nthreading.Thread(target=time.sleep, args=(99,)).start()",
        "timeout",
    ),
    script("prints what was asked for in the error", "import sys\nsys.exit('9')"),
    script("endless script", "while True: pass", "timeout"),
    script(
        "fork bomb script", "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", "timeout", "fail"
    ),
    script("one huge file", "with open('f', 'wb') as f:\n    while True: f.write(b'x' * 2**20)"),
    script("sparse file of a terabyte", "with open('f', 'wb') as f: f.truncate(2**40)\nprint(9)"),
    script("many files", "n = 0\nwhile True:\n    open(f'f{n}', 'wb').write(b'x' * 4096)\n    n += 1", mounts=True),
    script("many folders", "import os\nn = 0\nwhile True:\n    os.mkdir(f'd{n}')\n    n += 1", mounts=True),
    script(
        "folders nested without end",
        "import os\nwhile True:\n    os.mkdir('d')\n    os.chdir('d')",
        "fail",
        "timeout",
        mounts=True,
    ),
    script(
        "folder that cannot be entered",
        "import os\nos.mkdir('d')\nopen('d/f', 'w')\nos.chmod('d', 0)\nprint(9)",
        "pass",
    ),
    script("memory file", "import os\nfd = os.memfd_create('x')\nos.write(fd, b'x')\nprint(9)"),
    script(
        "daemon that outlives",
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        for fd in range(3): os.close(fd)\n        time.sleep(600)\n    os._exit(0)\nprint(9)",
        "pass",
    ),
    script(
        "daemon that ignores signals",
        "import os, time, signal\nif os.fork() == 0:\n    os.setsid()\n    for s in (1, 2, 15): signal.signal(s, signal.SIG_IGN)\n    for fd in range(3): os.close(fd)\n    while True: time.sleep(600)\nprint(9)",
        "pass",
    ),
    script(
        "daemon that holds stdout",
        "import os, time\nprint(9, flush=True)\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(600)\n    os._exit(0)",
        "pass",
    ),
]

ESCAPE = [
    attempt("TCP to this machine", "import socket; socket.create_connection(('127.0.0.1', PORT), 0.5)", walls=False),
    attempt("TCP to the world", "import socket; socket.create_connection(('1.1.1.1', 53), 0.5)", walls=False),
    attempt("TCP over IPv6", "import socket; socket.create_connection(('::1', PORT), 0.5)", walls=False),
    attempt(
        "UDP",
        "import socket, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('127.0.0.1', PORT)); s.send(b'x'); time.sleep(0.1); s.send(b'x')",
        walls=False,
    ),
    attempt("raw packets", "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", walls=False),
    attempt("virtual machine's host", "import socket; socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)", walls=False),
    attempt("netlink", "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)", walls=False),
    attempt(
        "unix socket of this machine",
        "import socket; socket.socket(socket.AF_UNIX).connect('FOLDER/socket')",
        walls=False,
    ),
    attempt(
        "abstract unix socket",
        "import socket; socket.socket(socket.AF_UNIX).connect('\\0aftertrain-test-ABSTRACT')",
        walls=False,
    ),
    attempt("names from the network", "import socket; socket.getaddrinfo('example.org', 80)", walls=False),
    attempt("this machine's users", "got = 'root' in open('/etc/passwd').read()"),
    attempt("this machine's passwords", "open('/etc/shadow').read()"),
    attempt("a secret file", "open('FOLDER/secret').read()"),
    attempt("a secret file by a link", "os.symlink('FOLDER/secret', 'link'); open('link').read()"),
    attempt("a secret file by dots", "open('../' * 20 + 'FOLDER/secret').read()"),
    attempt("a secret file by /proc/1/root", "open('/proc/1/root' + 'FOLDER/secret').read()"),
    attempt("home folders", "got = bool(os.listdir('/home') or os.listdir('/root'))"),
    attempt("the environment", "got = 'AFTERTRAIN_SECRET' in os.environ", walls=False),
    attempt(
        "the environment by getenv",
        "import ctypes; got = bool(ctypes.CDLL(None).getenv(b'AFTERTRAIN_SECRET'))",
        walls=False,
    ),
    attempt(
        "the environment in /proc",
        "got = any(b'AFTERTRAIN_SECRET' in open(f'/proc/{p}/environ', 'rb').read() for p in ('self', '1'))",
    ),
    attempt("the owner's environment", "open('/proc/OWNER/environ').read()"),
    attempt("the owner's memory", "open('/proc/OWNER/mem', 'rb')"),
    attempt("a signal to the owner", "os.kill(OWNER, 0)", walls=False),
    function(
        "every signal to the zygote",
        """
        import os, signal
        for pid in (1, os.getppid()):
            for number in signal.valid_signals():
                try: os.kill(pid, number)
                except OSError: pass
        def square(x): return x * x
        """,
        "pass",
    ),
    attempt(
        "the zygote's memory",
        "got = any(os.access(f'/proc/{p}/mem', os.R_OK) and open(f'/proc/{p}/mem', 'rb') for p in (1, os.getppid()))",
        walls=False,
    ),
    attempt("the zygote's descriptors", "got = bool(os.listdir(f'/proc/{os.getppid()}/fd'))", walls=False),
    attempt("a signal to the zygote", "import signal; os.kill(1, signal.SIGKILL); got = False", walls=False),
    attempt(
        "tracing of the zygote",
        "import ctypes; got = ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0",
        walls=False,
    ),
    attempt(
        "descriptors left open", "got = any(os.path.exists(f'/proc/self/fd/{n}') for n in range(3, 256))", walls=False
    ),
    attempt("a file in the root", "open('/hole', 'w')", walls=False),
    attempt("a file among Python's", "open(os.path.dirname(os.__file__) + '/hole.py', 'w')", walls=False),
    attempt("a file in /usr", "open('/usr/hole', 'w')", walls=False),
    attempt("a file in the owner's folder", "open('FOLDER/hole', 'w')"),
    attempt("a file in /dev", "open('/dev/hole', 'w')", walls=False),
    attempt("a disk", "open('/dev/vda', 'rb').read(1)", walls=False),
    attempt("a device of its own", "os.mknod('disk', 0o60600, os.makedev(8, 0))", walls=False),
    attempt(
        "a mount", "import ctypes; got = ctypes.CDLL(None).mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0", walls=False
    ),
    attempt(
        "taking the read-only away",
        "import ctypes; got = ctypes.CDLL(None).mount(b'none', b'/', None, 32, None) == 0",
        walls=False,
    ),
    attempt("a new user namespace", "import ctypes; got = ctypes.CDLL(None).unshare(0x10000000) == 0", walls=False),
    attempt("another root", "os.chroot('.')", walls=False),
    attempt("root", "os.setuid(0); got = os.getuid() == 0", walls=False),
    attempt(
        "root by a program",
        "import subprocess; got = subprocess.run(['/bin/su', '-c', 'true'], stdin=-3, capture_output=True).returncode == 0",
    ),
    attempt("more memory", "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**40, 2**40))", walls=False),
    attempt(
        "more processes", "import resource; resource.setrlimit(resource.RLIMIT_NPROC, (10**6, 10**6))", walls=False
    ),
    attempt(
        "shared memory of the system",
        "import ctypes; got = ctypes.CDLL(None).shmget(7, 4096, 0o1600) >= 0",
        walls=False,
    ),
    attempt("kernel keys", "import ctypes; got = ctypes.CDLL(None).syscall(250, 0, -3, 1) >= 0", walls=False),
    attempt("what the last program left", "got = os.path.exists('mark'); open('mark', 'w').close()", walls=False),
    attempt(
        "other scratch folders",
        "got = len([n for n in os.listdir(os.path.dirname(os.getcwd()) or '/') if n.startswith('aftertrain-case-')]) > 1",
    ),
]

PROGRAMS = [*FAKES, *ODD, *STARVE, *ESCAPE]

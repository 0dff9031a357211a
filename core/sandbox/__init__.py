"""Runs programs that a model wrote, away from everything: no network, no files, no environment, no time without end.

    with Sandbox(Limits(seconds=2)) as sandbox:
        sandbox.run("print(int(input()) + 1)", stdin="41").stdout      # "42\n"

A worker (`worker.py`) is one warm Python process behind its walls (`zygote.py`, `walls.py`). It forks a fresh child
for each program (`case.py`) and kills every process of the program before the next. Two questions can be asked: what
does a script print (`program.py`), and do tests of a module's functions pass? The tests run in a second worker
(`examiner.py`), the module in the first (`candidate.py`), and only plain data crosses (`wire.py`), so that no program
can declare itself right. `booth.py` brings the two together.
"""

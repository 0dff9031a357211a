"""Runs programs that a model wrote, away from everything: no network, no files, no environment, no time without end.

    with Sandbox(Limits(seconds=2)) as sandbox:
        sandbox.run("print(int(input()) + 1)", stdin="41").stdout      # "42\n"

A worker (`worker.py`) is one warm Python process inside its walls (`zygote.py`, `walls.py`). It forks a fresh child for
each program and kills every process of the program before the next. Two questions can be asked: what does a script
print (`program.py`), and do tests of a module's functions pass (`examiner.py`, `candidate.py`)? The tests run in a
process of their own, and only plain data crosses (`wire.py`), so that no program can declare itself right.
"""

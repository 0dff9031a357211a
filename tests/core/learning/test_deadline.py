"""A wait that passes its deadline ends the process and says what it waited for."""

from __future__ import annotations

import subprocess
import sys

from aftertrain.core.learning.deadline import EXIT_CODE, waiting

CODE = """
import logging, time
from aftertrain.core.learning.deadline import on_deadline, waiting
logging.basicConfig(format="%(message)s")
on_deadline.set(lambda message: print("told:", message, flush=True))
def stuck_here():
    time.sleep(600)
with waiting("the server at :8000 to answer", timeout=0.05):
    stuck_here()
"""


def test_a_passed_deadline_names_the_wait_dumps_stacks_and_ends_non_zero() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == EXIT_CODE != 0
    assert done.stdout == "told: waited 0.05 s for the server at :8000 to answer: the deadline has passed\n"
    assert "waited 0.05 s for the server at :8000 to answer: the deadline has passed; the stacks" in done.stderr
    assert "in stuck_here" in done.stderr


def test_a_wait_that_ends_in_time_changes_nothing() -> None:
    with waiting("nothing", timeout=60):
        pass

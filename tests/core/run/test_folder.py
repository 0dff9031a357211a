"""The run's folder: one process at a time, files whole or absent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aftertrain.core.errors import RunError
from aftertrain.core.run.folder import RunFolder, read_json, write_json


def test_a_second_run_in_the_same_folder_is_refused_with_the_first_s_process(tmp_path: Path) -> None:
    with (
        RunFolder(tmp_path / "run"),
        pytest.raises(RunError, match=rf"run is in use by process {os.getpid()} on .*--out DIR"),
        RunFolder(tmp_path / "run"),
    ):
        pass
    with RunFolder(tmp_path / "run"):
        pass


def test_a_killed_process_leaves_no_lock_even_when_a_forked_child_lives_on(tmp_path: Path) -> None:
    code = (
        "import os, sys, time; from pathlib import Path; from aftertrain.core.run.folder import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])):\n"
        "    child = os.fork()\n"
        "    if child: print(child, flush=True)\n"
        "    time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        time.sleep(0.1)  # the child drops its copy of the lock just after the fork
        with pytest.raises(RunError, match=f"process {process.pid}"), RunFolder(tmp_path):
            pass
        process.kill()
        process.wait()
        process.stdout.close()
        with RunFolder(tmp_path):
            os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)
        process.kill()


def test_a_folder_that_cannot_be_made_is_told_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file is in the way")
    with (
        pytest.raises(RunError, match=r"runs.*: cannot write the run folder: Not a directory; .*--out DIR"),
        RunFolder(tmp_path / "runs" / "x"),
    ):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder_is_told_with_the_cure(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(RunError, match="Permission denied"), RunFolder(tmp_path / "x"):
            pass
    finally:
        tmp_path.chmod(0o755)


def test_temporaries_are_swept_on_entering(tmp_path: Path) -> None:
    with RunFolder(tmp_path):
        pass
    stage = tmp_path / "stages" / "a-0123"
    (stage / ".removed-checkpoints").mkdir(parents=True)
    (stage / ".writing-done.json").write_text("{")
    (tmp_path / ".writing-manifest.json").write_text("{")
    with RunFolder(tmp_path):
        assert os.listdir(stage) == []
        assert sorted(os.listdir(tmp_path)) == [".lock", "stages"]


def test_a_json_file_is_replaced_or_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "done.json"
    write_json(file, {"n": 1})

    def full(self: Path, text: str, encoding: str) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(RunError, match=r"done\.json: cannot write: No space left on device"):
            write_json(file, {"n": 2})
    assert read_json(file, dict[str, int]) == {"n": 1}
    assert os.listdir(tmp_path) == ["done.json"]


def test_a_missing_json_file_reads_as_none_a_damaged_one_is_told(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("{")
    assert read_json(tmp_path / "y", dict[str, int]) is None
    with pytest.raises(RunError, match=r"x:1:2: not JSON: .*; mend it$"):
        read_json(tmp_path / "x", dict[str, int], cure="mend it")
    (tmp_path / "z").symlink_to(tmp_path / "nowhere")
    with pytest.raises(RunError, match="z: cannot be read: No such file"):
        read_json(tmp_path / "z", dict[str, int])

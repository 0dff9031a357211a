"""A checkpoint is whole or absent; what is damaged is refused by name."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from aftertrain.core.errors import CheckpointError, RunError
from aftertrain.core.run import checkpoint
from aftertrain.core.run.checkpoint import Checkpoints, verify
from aftertrain.core.run.folder import sweep


def _writer(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "state.json").write_text(json.dumps(text))
        (folder / "engine").mkdir()
        (folder / "engine" / "weights.bin").write_bytes(text.encode() * 100)

    return write


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints")


def _again(checkpoints: Checkpoints) -> tuple[Checkpoints, list[str]]:
    """As the next process sees them, with what it is told."""
    told: list[str] = []
    later = Checkpoints(checkpoints.folder, on_damage=told.append)
    sweep(later.folder)
    return later, told


def test_the_newest_is_found_and_two_are_kept(checkpoints: Checkpoints) -> None:
    assert checkpoints.latest() is None
    for step in (10, 20, 30):
        checkpoints.save(step, _writer(str(step)))
    found = _again(checkpoints)[0].latest()
    assert found is not None
    assert found == checkpoints.latest()
    assert found[0] == 30
    assert json.loads((found[1] / "state.json").read_text()) == "30"
    assert sorted(os.listdir(checkpoints.folder)) == ["step-00000020", "step-00000030"]


@pytest.mark.parametrize("name", ["state.json", "engine/weights.bin"])
@pytest.mark.parametrize("bit", [0, 7, 1001])
def test_a_flipped_bit_is_refused_by_name_and_the_one_before_used(
    checkpoints: Checkpoints, name: str, bit: int
) -> None:
    checkpoints.save(10, _writer("ten"))
    file = checkpoints.save(20, _writer("twenty")) / name
    raw = bytearray(file.read_bytes())
    raw[bit // 8 % len(raw)] ^= 1 << bit % 8
    file.write_bytes(bytes(raw))
    later, told = _again(checkpoints)
    found = later.latest()
    assert found is not None
    assert found[0] == 10
    assert told == [f"{file}: checksum differs; this checkpoint is refused, the one before it is used"]


def test_a_missing_an_added_and_an_unlisted_file_are_named(checkpoints: Checkpoints) -> None:
    folder = checkpoints.save(10, _writer("ten"))
    (folder / "extra").write_text("x")
    assert verify(folder) == f"{folder / 'extra'}: not in checksums.json"
    (folder / "extra").unlink()
    (folder / "state.json").unlink()
    assert verify(folder) == f"{folder / 'state.json'}: missing"
    (folder / "checksums.json").write_text('{"state.json": "12')
    assert str(verify(folder)).startswith(f"{folder / 'checksums.json'}:1:16: not JSON")
    for other in ("[]", '{"state.json": 1}', "null"):
        (folder / "checksums.json").write_text(other)
        assert str(verify(folder)).startswith(f"{folder / 'checksums.json'}: ")
    (folder / "checksums.json").unlink()
    os.mkfifo(folder / "checksums.json")
    assert verify(folder) == f"{folder / 'checksums.json'}: is no regular file"


def test_what_has_a_checkpoint_s_name_and_is_none_is_told_and_left_alone(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    good = checkpoints.save(10, _writer("ten"))
    root = checkpoints.folder
    for name in ("step-", "step-x", "step-00000020x", "step--0000030", "step-٠٠٠٠٠٠٤٠"):
        (root / name).mkdir()
    (root / "step-00000050").write_text("a file")
    (root / "step-00000060").symlink_to(good)
    (root / "step-00000070").symlink_to(tmp_path / "nowhere")
    fresh, told = _again(checkpoints)
    assert fresh.latest() == (10, good)
    assert len(told) == 8
    assert all(message.endswith("is no checkpoint's folder; it is left alone") for message in told)
    fresh.save(11, _writer("eleven"))
    assert [step for step, _ in fresh._all()] == [10, 11]
    assert (root / "step-00000050").read_text() == "a file"


def test_without_a_good_one_there_is_none(checkpoints: Checkpoints) -> None:
    file = checkpoints.save(10, _writer("ten")) / "state.json"
    file.write_text("")
    later, told = _again(checkpoints)
    assert later.latest() is None
    assert len(told) == 1


def test_a_refused_checkpoint_is_gone_once_a_new_one_is_saved(checkpoints: Checkpoints) -> None:
    """Else its step would shadow the good ones, or count among the two that are kept."""
    for step in (10, 20, 30):
        (checkpoints.save(step, _writer(str(step))) / "state.json")
    (checkpoints.folder / "step-00000030" / "state.json").write_text("torn")
    later, _ = _again(checkpoints)
    assert later.latest() == (20, checkpoints.folder / "step-00000020")
    later.save(25, _writer("25"))
    assert sorted(os.listdir(checkpoints.folder)) == ["step-00000020", "step-00000025"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), PermissionError(13, "denied")])
def test_a_full_disk_is_told_and_leaves_the_checkpoint_before(checkpoints: Checkpoints, error: OSError) -> None:
    checkpoints.save(10, _writer("ten"))

    def write(folder: Path) -> None:
        (folder / "state.json").write_text("half of the sta")
        raise error

    with pytest.raises(CheckpointError, match=r"step-00000020: cannot write the checkpoint: .*earlier checkpoints are"):
        checkpoints.save(20, write)
    assert os.listdir(checkpoints.folder) == ["step-00000010"]
    assert checkpoints.latest() == (10, checkpoints.folder / "step-00000010")


def test_a_full_disk_that_safetensors_wraps_is_told_too(checkpoints: Checkpoints) -> None:
    """safetensors raises its own error, whose text alone tells what the operating system said. Here the operating
    system refuses to let a file grow beyond 1000 bytes."""
    import resource

    import torch
    from safetensors.torch import save_file

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(CheckpointError, match="cannot write the checkpoint: File too large"):
            checkpoints.save(1, lambda folder: save_file({"w": torch.zeros(1000)}, folder / "w.safetensors"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(checkpoints.folder) == []


def test_a_defect_in_the_writer_stays_a_defect_and_leaves_no_draft(checkpoints: Checkpoints) -> None:
    def write(folder: Path) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        checkpoints.save(10, write)
    assert os.listdir(checkpoints.folder) == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file is in the way")
    with pytest.raises(CheckpointError, match="File exists"):
        Checkpoints(tmp_path / "checkpoints").save(10, _writer("ten"))


class _Killed(BaseException):
    """Stands for SIGKILL at one point: nothing after it runs (the draft's removal is undone by the test)."""


def _operations(monkeypatch: pytest.MonkeyPatch, die_at: int) -> list[str]:
    """Count the durable operations of a save and die before number `die_at`, leaving the disk as a kill would."""
    done: list[str] = []

    def counted(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            if len(done) >= die_at:
                raise _Killed
            done.append(name)
            return real(*args, **kwargs)

        return call

    for owner, name in ((os, "fsync"), (os, "rename"), (os, "mkdir"), (os, "unlink"), (os, "rmdir"), (os, "open")):
        monkeypatch.setattr(owner, name, counted(name, getattr(owner, name)))
    return done


def test_a_kill_before_any_operation_of_a_save_leaves_a_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        checkpoints = Checkpoints(tmp_path / "count")
        for step in (10, 20):
            checkpoints.save(step, _writer(str(step)))
        done = _operations(patch, die_at=10**6)
        checkpoints.save(30, _writer("30"))
    assert "rename" in done, "the operations are seen"
    found_steps = set()
    for die_at in range(len(done)):
        checkpoints = Checkpoints(tmp_path / str(die_at))
        for step in (10, 20):
            checkpoints.save(step, _writer(str(step)))
        with monkeypatch.context() as patch:
            _operations(patch, die_at)
            with pytest.raises(_Killed):
                checkpoints.save(30, _writer("30"))
        later, told = _again(checkpoints)
        found = later.latest()
        assert found is not None
        assert told == [], f"died before operation {die_at} ({done[die_at]})"
        assert json.loads((found[1] / "state.json").read_text()) == str(found[0])
        found_steps.add(found[0])
        assert not [name for name in os.listdir(checkpoints.folder) if name.startswith(".")]
    assert found_steps == {20, 30}


def test_drafts_and_half_removed_folders_are_swept(checkpoints: Checkpoints) -> None:
    checkpoints.save(10, _writer("ten"))
    for leftover in (".writing-00000020", ".removed-step-00000005"):
        (checkpoints.folder / leftover).mkdir()
        (checkpoints.folder / leftover / "state.json").write_text("ha")
    sweep(checkpoints.folder)
    assert os.listdir(checkpoints.folder) == ["step-00000010"]


def test_all_is_on_the_disk_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    monkeypatch.setattr(checkpoint, "fsync", lambda path: order.append(path.name))
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        order.append(f"rename to {target.name}")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    checkpoints = Checkpoints(
        tmp_path / "checkpoints",
        before_commit=lambda: order.append("events"),
        on_saved=lambda step, folder: order.append(f"told {step} {folder.name}"),
    )
    checkpoints.save(10, _writer("ten"))
    assert order == [
        "weights.bin",
        "state.json",
        "checksums.json",
        "engine",
        ".writing-00000010",
        "events",
        "rename to step-00000010",
        "checkpoints",
        "told 10 step-00000010",
    ]


def test_events_that_cannot_be_forced_to_the_disk_keep_the_checkpoint_from_counting(tmp_path: Path) -> None:
    def full() -> None:
        raise RunError("events.jsonl: cannot write events: No space left on device")

    checkpoints = Checkpoints(tmp_path / "checkpoints", before_commit=full)
    with pytest.raises(RunError):
        checkpoints.save(10, _writer("ten"))
    assert checkpoints.latest() is None

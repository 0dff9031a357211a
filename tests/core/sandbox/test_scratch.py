"""What programs leave is thrown away, whatever they made of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aftertrain.core.sandbox.scratch import remove


def test_rights_links_and_depth_are_no_obstacle(tmp_path: Path) -> None:
    """Deeper than a path may be long; a link goes, what it leads to stays."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("kept")
    scratch = tmp_path / "scratch"
    (scratch / "closed" / "inner").mkdir(parents=True)
    (scratch / "link").symlink_to(outside)
    start = os.open(".", os.O_RDONLY)
    try:
        os.chdir(scratch)
        for _ in range(40):
            os.mkdir("d" * 200)
            os.chdir("d" * 200)
    finally:
        os.fchdir(start)
        os.close(start)
    (scratch / "closed").chmod(0)
    remove(str(scratch))
    assert not scratch.exists()
    assert (outside / "file").read_text() == "kept"


@pytest.mark.parametrize("name", [f".aftertrain-{number}" for number in (1, 2, 3)])
def test_no_name_that_a_program_chose_is_in_the_way(tmp_path: Path, name: str) -> None:
    """Folders were once moved to numbered names, and a folder of that name with something in it ended the keeper."""
    scratch = tmp_path / "scratch"
    (scratch / name / "inner" / "most").mkdir(parents=True)
    (scratch / "other").mkdir()
    remove(str(scratch))
    assert not scratch.exists()

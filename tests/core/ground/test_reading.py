"""Files that anyone may have written into: bounded, decoded, typed; a clear error with the place, or the content."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aftertrain.core.errors import DataError, RunError
from aftertrain.core.ground.reading import read_bytes, read_json, read_lines, read_text


def test_what_is_sound_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(b'\xef\xbb\xbf{"a": [1, -9223372036854775808, 18446744073709551615], "\xc3\xbc": [0.5]}')
    assert read_json(file, dict[str, list[float]])["ü"] == [0.5]
    assert read_json(file, dict[str, list[int | float]])["a"] == [1, -(2**63), 2**64 - 1]
    assert read_text(file).startswith('{"a"')
    file.write_text("[" * 100 + "]" * 100)
    assert read_json(file, list[object])
    file.write_text('["' + "[" * 5000 + '", "\\"[{[{' + "[" * 5000 + '"]')
    assert len(read_json(file, list[str])) == 2


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "a.json:1:1: not JSON: Expecting value"),
        (b'{"a": 1,\n "b": }', "a.json:2:7: not JSON: Expecting value"),
        (b'{"a": "x"}', "a.json: a: input should be a valid integer"),
        (b'{"a": ' + b"9" * 5000 + b"}", "a.json: not JSON: a whole number of 5,000 digits; at most 64 bits"),
        (b'{"a": 18446744073709551616}', "a.json: not JSON: a whole number of 20 digits"),
        (b"[" * 5_000_000, "a.json: more than 100 brackets inside one another"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "a.json: more than 100 brackets"),
        ('{"a": 1}'.encode("utf-16"), "a.json: is UTF-16 text; save it as UTF-8"),
        ('{"a": 1}'.encode("utf-32-be"), "a.json:1:1: not JSON"),
        (b'{\n"\xff": 1}', "a.json:2: byte 0xff is no UTF-8 text"),
        (b'{"a": 1}\x00', "a.json:1:9: not JSON: Extra data"),
    ],
)
def test_what_is_not_is_told_with_its_place(tmp_path: Path, content: bytes, told: str) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_json(file, dict[str, int], error=DataError, cure="mend it")
    assert str(caught.value).startswith(str(file.parent / told))
    assert str(caught.value).endswith("; mend it")
    assert len(str(caught.value)) < 600 + len(str(file))


def test_only_regular_files_of_bounded_size_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path, told in (
        (tmp_path / "pipe", "is no regular file"),
        (tmp_path, "is no regular file"),
        (Path("/dev/zero"), "is no regular file"),
        (tmp_path / "none", "cannot be read: No such file"),
        (tmp_path / "loop", "cannot be read: Too many levels"),
        (tmp_path / ("x" * 5000), "cannot be read: File name too long"),
        (Path("a\0b"), "cannot be read: embedded null byte"),
    ):
        with pytest.raises(RunError, match=told):
            read_bytes(path)
        with pytest.raises(RunError, match=told):
            list(read_lines(path))
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", 1 << 40)
    with pytest.raises(RunError, match=r"large: has 1,099,511,627,776 bytes; at most 67,108,864 are read"):
        read_bytes(tmp_path / "large")


def test_a_line_without_end_is_cut(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_bytes(b"a\n" + b"b" * 3_000_000 + b"\n\nc")
    assert list(read_lines(file, limit=10)) == [(1, b"a\n"), (2, b"b" * 10), (3, b"\n"), (4, b"c")]

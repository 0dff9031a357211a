"""Tokenised rows on disk, under a key of all that decides them; checked when they are read, safe for many writers.

`$AFTERTRAIN_CACHE/tokens/<key>/` holds `rows.arrow` and `about.json`; without that variable the cache is
`$XDG_CACHE_HOME/aftertrain`, or `~/.cache/aftertrain`. An entry appears whole, by a rename, and may be deleted at any
time. One process makes an entry while the others that want it wait; a lock of a dead process frees itself.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.core.errors import RunError
from aftertrain.core.ground.reading import read_json
from aftertrain.core.run.checkpoint import digest, fsync
from aftertrain.plugins.training.columns import write
from aftertrain.plugins.training.store import Store, read

if TYPE_CHECKING:
    import pyarrow as pa

ROWS, ABOUT = "rows.arrow", "about.json"
LIBRARIES = ("transformers", "tokenizers", "jinja2")
"""Their versions are part of the key: a template or a merge rule may be read otherwise by another."""
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
_POLL = 0.1


def cache_folder() -> Path:
    """Where tokenised rows are kept."""
    named = os.environ.get("AFTERTRAIN_CACHE")
    base = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aftertrain"
    return base.expanduser() / "tokens"


def key_of(*, data: str, tokenizer: str, rules: Mapping[str, Any], code: Mapping[str, str]) -> str:
    """SHA-256 over the data's fingerprint, the tokenizer's with its template, the rules, and all code on the way."""
    libraries = {name: version(name) for name in LIBRARIES}
    facts = [data, tokenizer, dict(rules), dict(code), libraries]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def cached(
    folder: Path,
    key: str,
    make: Callable[[], Iterable[pa.RecordBatch]],
    *,
    warn: Callable[[str], None],
    pause: Callable[[], None] = lambda: None,
) -> Store:
    """The entry `key`, made if it is not there or damaged.

    Args:
        make: yields the rows; called only if there is no good entry.
        warn: told of damage.
        pause: called over and over while another process makes the entry; may raise.

    Raises:
        OSError: the folder cannot be written.
    """
    entry = folder / key
    if (store := _load(entry, key, warn)) is not None:
        return store
    folder.mkdir(parents=True, exist_ok=True)
    with lock_file(folder / f"{key}.lock", pause) as locked:
        if (store := _load(entry, key, lambda message: None)) is not None:
            return store
        if locked:
            _sweep(folder, key)
        draft = Path(tempfile.mkdtemp(prefix=f"{key}.writing.", dir=folder))
        try:
            write(draft / ROWS, make())
            about = {"key": key, "sha256": digest(draft / ROWS)}
            (draft / ABOUT).write_text(json.dumps(about) + "\n", encoding="utf-8")
            fsync(draft / ROWS)
            fsync(draft / ABOUT)
            _put_in_place(draft, entry)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    return read(entry / ROWS)


def _load(entry: Path, key: str, warn: Callable[[str], None]) -> Store | None:
    """The store of a good entry, None where there is none."""
    import pyarrow as pa

    if not entry.exists():
        return None
    try:
        about: dict[str, str] = read_json(entry / ABOUT, dict[str, str])
        sha256 = digest(entry / ROWS)
        if about["key"] == key and about["sha256"] == sha256:
            return read(entry / ROWS)
        damage = "its checksum differs"
    except FileNotFoundError:
        damage = "a file is missing"
    except (RunError, OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        damage = str(error)
    warn(f"{entry}: damaged ({damage}); the rows are tokenised again")
    return None


def _put_in_place(draft: Path, entry: Path) -> None:
    """Rename; a damaged entry goes first. Where locks do not work, another writer's equal entry may be there by now."""
    shutil.rmtree(entry, ignore_errors=True)
    try:
        draft.rename(entry)
    except OSError:
        if not (entry / ABOUT).exists():
            raise
        shutil.rmtree(draft)
    fsync(entry.parent)


def _sweep(folder: Path, key: str) -> None:
    """Remove what killed writers of this entry left; the lock says that none is alive."""
    for left in folder.glob(f"{key}.writing.*"):
        shutil.rmtree(left, ignore_errors=True)


@contextmanager
def lock_file(path: Path, pause: Callable[[], None]) -> Iterator[bool]:
    """Hold a file's lock; False where the file system knows none, and several may write at once."""
    with path.open("w", encoding="utf-8") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pause()
                time.sleep(_POLL)
                continue
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                yield False
                return
            yield True
            return

"""Data sets of the Hugging Face hub, or of its cache where the hub cannot be reached, found out once and quickly."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from aftertrain.core.errors import DataError, Unreachable

if TYPE_CHECKING:
    from datasets import Dataset

CONVERTED = "refs/convert/parquet"
"""The hub's own conversion of a data set. Its folders are the configurations, which it does not name otherwise."""
CONNECT_SECONDS = 3.0
"""How long the hub may take to accept a connection before this machine counts as cut off."""


def load_from_hub(
    path: str,
    config: str | None,
    split: str,
    revision: str | None,
    *,
    named: str,
    cure: str = "",
    options: Mapping[str, Any] | None = None,
) -> Dataset:
    """One split of a data set.

    Args:
        path: its id on the hub, or a folder.
        named: what messages call it.
        cure: how else its rows may be given, at the end of a message.
        options: more arguments of `datasets.load_dataset`, such as data_dir, or delimiter for a reader of CSV.

    Raises:
        Unreachable: it is nowhere to be had. DataError: it cannot be loaded.
    """
    import datasets

    try:
        with from_cache_when_cut_off(path):
            if revision == CONVERTED:
                return datasets.load_dataset(path, data_dir=config, split=split, revision=revision)
            return datasets.load_dataset(path, config, split=split, revision=revision, **(options or {}))
    except (ConnectionError, datasets.exceptions.DatasetNotFoundError) as error:
        raise Unreachable(
            f"{named} is neither a local folder, nor in the local cache, nor to be had from the hub: {error}{cure}"
        ) from error
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise DataError(f"{named}: cannot be loaded: {error}{cure}") from error


@contextmanager
def from_cache_when_cut_off(path: str) -> Iterator[None]:
    """Without a way to the hub, go to the cache at once: the library would try again for half a minute a data set."""
    import datasets
    from huggingface_hub import constants

    places: tuple[Any, ...] = (constants, datasets.config)
    before = [place.HF_HUB_OFFLINE for place in places]
    if any(before) or Path(path).exists() or _answers(constants.ENDPOINT):
        yield
        return
    try:
        for place in places:
            place.HF_HUB_OFFLINE = True
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.HF_HUB_OFFLINE = value


def _answers(endpoint: str) -> bool:
    """Whether something accepts connections there. Behind a proxy that cannot be told, so it counts as yes."""
    if getproxies():
        return True
    url = urlsplit(endpoint)
    try:
        socket.create_connection((url.hostname or "", url.port or 443), timeout=CONNECT_SECONDS).close()
    except OSError:
        return False
    return True

"""The manifest can say which source a component came from."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

from aftertrain.registry.discovery import discover
from aftertrain.registry.provenance import commit, provenance
from tests.registry.conftest import Install, registering


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def site(install: Install, tmp_path: Path) -> Path:
    """The dist-info folder of an installed plugin."""
    entry = install(registering(("loss", "acme/margin")), distribution="acme-from-git")
    assert isinstance(entry.dist, PathDistribution)
    commit.cache_clear()
    return tmp_path / "site-1" / "acme_from_git-1.2.dist-info"


def test_an_editable_package_has_the_commit_of_its_folder(site: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_text("1")
    git(source, "init", "-q")
    git(source, "add", "a")
    git(source, "commit", "-q", "-m", "one")
    (site / "direct_url.json").write_text(json.dumps({"url": source.as_uri(), "dir_info": {"editable": True}}))
    head = git(source, "rev-parse", "HEAD")
    assert commit("acme-from-git") == head
    (source / "a").write_text("2")
    commit.cache_clear()
    assert commit("acme-from-git") == f"{head}-dirty"


def test_a_package_from_a_repository_has_its_recorded_commit(site: Path) -> None:
    record = {"url": "https://example.org/x.git", "vcs_info": {"vcs": "git", "commit_id": "c0ffee"}}
    (site / "direct_url.json").write_text(json.dumps(record))
    assert commit("acme-from-git") == "c0ffee"


@pytest.mark.parametrize("record", [None, {"url": "file:///x", "dir_info": {}}])
def test_other_packages_have_none(site: Path, record: object) -> None:
    if record:
        (site / "direct_url.json").write_text(json.dumps(record))
    assert commit("acme-from-git") is None
    assert commit("no-such-package") is None


def test_provenance_is_json_for_each_plugin(install: Install) -> None:
    registry = discover([install(registering(("loss", "acme/margin")))], ["acme"])
    (found,) = provenance(registry)
    assert asdict(found) == {
        "plugin": "acme",
        "distribution": "acme-aftertrain",
        "version": "1.2",
        "module": "acme",
        "file": found.file,
        "state": "blocked",
        "commit": None,
    }

"""The hash covers all that decides a result and nothing else; differences are told in words."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from aftertrain.core.errors import PluginError
from aftertrain.core.run.graph import build_graph
from aftertrain.core.run.job import Job
from aftertrain.core.run.lineage import Lineage, changes, nameless, trace
from aftertrain.core.run.sources import read_source, source_digests
from aftertrain.core.settings import Settings, Use, components, unhashed
from aftertrain.core.stage import Stage
from aftertrain.registry.load import load_file

MakeJob = Callable[..., Job]


def _trace(job: Job, base: str = "b1") -> Lineage:
    (node,) = build_graph(job.recipe.stages, job.builder)
    return trace(node, job.recipe, job.builder, {"base": base})


def test_the_same_recipe_has_the_same_hash(make_job: MakeJob) -> None:
    job = make_job({"a": {}})
    assert _trace(job).hash == _trace(job).hash


def test_each_part_changes_the_hash_and_is_named(make_job: MakeJob, tmp_path: Path) -> None:
    data = tmp_path / "rows"
    data.write_text("one")
    job = make_job({"a": {"data": str(data)}})
    old = _trace(job)
    variants = {
        "steps: 6 -> 7": _trace(_changed(job, {"steps": 7})),
        "seed: 0 -> 1": _trace(_changed(job, {}, seed=1)),
        'chat_template: null -> "tulu"': _trace(_changed(job, {}, chat_template="tulu")),
        "input model (base): the base model changed": _trace(job, base="b2"),
    }
    data.write_text("two")
    variants["data data: content changed"] = _trace(job)
    for told, new in variants.items():
        assert changes(asdict(old), new) == [told]
        assert new.hash != old.hash
    assert len({new.hash for new in variants.values()}) == len(variants)
    assert changes(None, old) == ["first run"]
    assert changes(asdict(old), old) == ["nothing changed"]


def _changed(job: Job, values: dict[str, object], **recipe: object) -> Job:
    use = job.recipe.stages["a"]
    settings = use.settings.model_copy(update=values)
    stages = {"a": Use(use.kind, use.name, settings)}
    return replace(job, recipe=job.recipe.model_copy(update={"stages": stages, **recipe}))


def test_settings_that_cannot_change_the_result_do_not_count(make_job: MakeJob) -> None:
    job = make_job({"a": {}})
    assert _trace(_changed(job, {"every": 5})).hash == _trace(job).hash


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An importable package `acme` of several modules."""
    folder = tmp_path / "acme"
    (folder / "inner").mkdir(parents=True)
    files = {
        "__init__.py": "",
        "loss.py": "import os, acme.used\nfrom acme import sibling\nfrom .inner import deep\n"
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import acme.types_only\n"
        "def later():\n    from acme.inner.lazy import thing\nclass Loss: ...\n",
        "used.py": "from aftertrain.core.learning.seeding import sub_seed\n",
        "sibling.py": "",
        "types_only.py": "",
        "unused.py": "",
        "inner/__init__.py": "",
        "inner/deep.py": "from ..used import sub_seed\n",
        "inner/lazy.py": "thing = 1\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "acme"]:
        del sys.modules[name]


def test_imports_are_followed_without_running_them(package: Path) -> None:
    from acme.loss import Loss  # type: ignore[import-not-found]

    found = source_digests([Loss])
    assert sorted(found) == [
        "acme.inner.deep",
        "acme.inner.lazy",
        "acme.loss",
        "acme.sibling",
        "acme.used",
        "aftertrain.core.learning.seeding",
    ]
    assert "acme.inner.lazy" not in sys.modules


def test_a_changed_module_is_seen_an_unused_one_does_not_count(package: Path) -> None:
    from acme.loss import Loss

    before = source_digests([Loss])
    (package / "unused.py").write_text("x = 1\n")
    assert source_digests([Loss]) == before
    (package / "inner" / "deep.py").write_text('"""Told."""\nfrom ..used import sub_seed  # told\n')
    assert source_digests([Loss]) == before
    (package / "inner" / "deep.py").write_text("from ..used import sub_seed\nRATE = 0.5\n")
    after = source_digests([Loss])
    assert [name for name in after if after[name] != before.get(name)] == ["acme.inner.deep"]


def test_a_file_outside_a_package_goes_by_its_file_name(tmp_path: Path) -> None:
    """Else moving a recipe's folder would redo its stages."""
    found = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        file = tmp_path / folder / "margin.py"
        file.write_text("from aftertrain.core.learning.seeding import sub_seed\nclass Loss: ...\n")
        spec = importlib.util.spec_from_file_location(f"local_{folder}", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        found.append(source_digests([module.Loss]))
        del sys.modules[spec.name]
    assert found[0] == found[1]
    assert sorted(found[0]) == ["aftertrain.core.learning.seeding", "margin.py"]


def test_relative_imports_are_resolved(tmp_path: Path) -> None:
    file = tmp_path / "m.py"
    file.write_text("from . import a\nfrom .b import c\nfrom .. import d\nfrom ..e import f\nimport g.h as i\n")
    assert read_source(file, "top.pkg.m").imports == ("top.pkg.a", "top.pkg.b.c", "top.d", "top.e.f", "g.h")


class _Tool(Settings):
    size: int = Field(1, description="Size.")


class _Box(Settings):
    tools: tuple[Use[Stage[Any]], ...] = Field((), description="Tools.")
    by_name: dict[str, Use[Stage[Any]]] = Field({}, description="Tools by name.")
    shown: tuple[Use[Stage[Any]], ...] = unhashed((), description="Tools that cannot change the result.")


def test_nested_components_are_found_at_any_depth_those_that_cannot_matter_left_out() -> None:
    def tool(name: str) -> Use[Any]:
        return Use("stage", name, _Tool())

    inner = Use[Any]("stage", "inner", _Box(tools=(tool("deep"),)))
    box = Use[Any]("stage", "box", _Box(tools=(tool("a"), inner), by_name={"x": tool("b")}, shown=(tool("c"),)))
    assert [use.name for use in components(box)] == ["box", "a", "inner", "deep", "b"]


SETTINGS = '''"""Of two losses."""
from __future__ import annotations
from typing import Annotated
from pydantic import Field
from acme.used import sub_seed
from aftertrain.core.settings import Settings
LOW = 0.0
Share = Annotated[float, Field(ge=LOW)]
class PairSettings(Settings):
    """Both."""
    beta: Share = Field(0.1, description="Scale.")
class NearSettings(PairSettings):
    """Near."""
    near: float = Field(0.5, description="How near.")
class FarSettings(PairSettings):
    """Far."""
    far: float = Field(2.0, description="How far.")
    seed: int = sub_seed(0)
'''


def test_of_a_module_of_settings_counts_what_is_imported_from_it(package: Path) -> None:
    """A third party's, too: one file may serve many components."""
    (package / "settings.py").write_text(SETTINGS)
    (package / "loss.py").write_text("from acme.settings import NearSettings\nclass Loss:\n    Config = NearSettings\n")
    from acme.loss import Loss

    def changed(*edit: str) -> list[str]:
        (package / "settings.py").write_text(SETTINGS.replace(*edit))
        after = source_digests([Loss])
        return [name for name in after | before if after.get(name) != before.get(name)]

    before = source_digests([Loss])
    assert "acme.used" not in before
    assert changed("Far.", "Far, or further.") == []
    assert changed("Field(2.0", "Field(3.0") == []
    assert changed("How near.", "How close.") == []
    assert changed("Field(0.5", "Field(0.6") == ["acme.settings:NearSettings"]
    assert changed("Field(0.1", "Field(0.2") == ["acme.settings:NearSettings"]
    assert changed("LOW = 0.0", "LOW = 0.1") == ["acme.settings:NearSettings"]
    assert changed("LOW = 0.0", "LOW = 0.0\nprint(LOW)")[:2] == ["acme.settings:NearSettings", "acme.used"]


HEAD = "from aftertrain.core.settings import Settings\n"
REACHED = {
    "a star": ("from acme.table import *\nclass NearSettings(Settings):\n    x: int = DEFAULT\n", {}),
    "an import for its effect": (
        "from acme import patch\nfrom acme.table import DEFAULT\nclass NearSettings(Settings):\n    x: int = DEFAULT\n",
        {"patch.py": "import acme.table\nacme.table.DEFAULT = 1\n"},
    ),
    "an assignment in a value": ("_ALL = [DEFAULT := 1]\nclass NearSettings(Settings):\n    x: int = DEFAULT\n", {}),
    "an annotation in a text": (
        "class FarSettings(Settings):\n    y: int = 1\n"
        "class NearSettings(Settings):\n    x: 'FarSettings | None' = None\n",
        {},
    ),
    "a name put together": (
        "DEFAULT_X = 1\nclass NearSettings(Settings):\n    x: int = globals()['DEFAULT_' + 'X']\n",
        {},
    ),
    "a value that another assignment fills": (
        "TABLE = {}\nFAR = 1\n_ = TABLE.setdefault('x', FAR)\nclass NearSettings(Settings):\n    x: int = TABLE['x']\n",
        {},
    ),
    "a decorator of another": (
        "TABLE = {}\ndef kept(cls):\n    TABLE['x'] = cls.X\n    return cls\n@kept\nclass Far:\n    X = 1\n"
        "class NearSettings(Settings):\n    x: int = TABLE['x']\n",
        {},
    ),
}


@pytest.mark.parametrize("how", REACHED)
def test_what_settings_reach_in_odd_ways_counts(package: Path, how: str) -> None:
    settings, others = REACHED[how]
    files = {"table.py": "DEFAULT = 1\n", "settings.py": HEAD + settings, **others}
    files["loss.py"] = "from acme.settings import NearSettings\nclass Loss:\n    Config = NearSettings\n"
    for name, text in files.items():
        (package / name).write_text(text)
    from acme.loss import Loss

    before = source_digests([Loss])
    for name, text in files.items():
        (package / name).write_text(text.replace("= 1\n", "= 2\n").replace(":= 1", ":= 2"))
    assert source_digests([Loss]) != before


def test_docstrings_count_in_a_package_that_reads_them(package: Path) -> None:
    (package / "tool.py").write_text('def add(a):\n    """Adds."""\n')
    reader = "from acme.tool import add\nclass Loss:\n    def prompt(self): return {}\n"
    digests = []
    for read in ("add", "getattr(add, '__doc__')"):
        (package / "loss.py").write_text(reader.format(read))
        from acme.loss import Loss

        for text in ("Adds.", "Sums."):
            (package / "tool.py").write_text(f'def add(a):\n    """{text}"""\n')
            digests.append(source_digests([Loss])["acme.tool"])
    assert digests[0] == digests[1]
    assert digests[2] != digests[3]


def test_two_files_of_one_name_both_count(tmp_path: Path) -> None:
    classes = []
    for folder in ("short", "polite"):
        file = tmp_path / folder / "reward.py"
        file.parent.mkdir()
        file.write_text("class Reward:\n    most = 1\n")
        classes.append(load_file(file).Reward)
    before = source_digests(classes)
    assert before.keys() == {"reward.py", "reward.py (2)"}
    (tmp_path / "polite" / "reward.py").write_text("class Reward:\n    most = 2\n")
    assert source_digests(classes)["reward.py (2)"] != before["reward.py (2)"]
    assert source_digests(classes)["reward.py"] == before["reward.py"]


def test_only_the_name_of_a_parent_is_left_out_of_settings() -> None:
    """A stranger's setting under the name of a role may say more than which stage it is."""
    assert nameless({"teacher": {"from": "sft", "weight": 0.3}}, {"teacher": "sft"}) == {
        "teacher": {"from": "sft", "weight": 0.3}
    }
    assert nameless({"from": "sft", "reward": {"base": "rm"}}, {"model": "sft", "reward.base": "rm"}) == {"reward": {}}


def test_what_is_started_or_read_by_name_counts_where_it_is_named(package: Path) -> None:
    loss = "RELIES_ON = ('acme.unused', 'words.json')\nclass Loss: ...\n"
    (package / "loss.py").write_text(loss)
    (package / "words.json").write_text("[]")
    from acme.loss import Loss

    before = source_digests([Loss])
    assert list(before) == ["acme.loss", "acme.loss/words.json", "acme.unused"]
    (package / "words.json").write_text("[1]")
    assert source_digests([Loss])["acme.loss/words.json"] != before["acme.loss/words.json"]
    (package / "loss.py").write_text(loss.replace("words", "wrods"))
    with pytest.raises(PluginError, match=r"names 'wrods\.json', neither a module nor a file beside it"):
        source_digests([Loss])


def test_what_is_reached_aside_does_not_count(package: Path) -> None:
    (package / "loss.py").write_text(
        "from typing import TYPE_CHECKING\nfrom aftertrain.core.component import aside\n"
        "if TYPE_CHECKING:\n    from acme import unused\nelse:\n    unused = aside('acme.unused')\nclass Loss: ...\n"
    )
    from acme import loss

    assert "acme.unused" not in source_digests([loss.Loss])
    (package / "unused.py").write_text("told = 'in words'\n")
    assert loss.unused.told == "in words"


def test_a_module_that_is_no_python_is_named(package: Path) -> None:
    from acme.loss import Loss

    (package / "sibling.py").write_text("x = 1\ndef f(:\n")
    with pytest.raises(PluginError, match=r"sibling\.py:2: cannot be read as Python"):
        source_digests([Loss])


def test_names_of_stages_are_not_in_the_hash(make_job: MakeJob) -> None:
    def hash_of(name: str, parent: str, critic: str | None = None, digests: str = "pq") -> str:
        job = make_job({name: {"from": parent, "critic": critic}, parent: {}, "other": {"use": "reward"}})
        node = next(node for node in build_graph(job.recipe.stages, job.builder) if node.name == name)
        known = {parent: digests[0], "other": digests[1]}
        return trace(node, job.recipe, job.builder, known).hash

    assert hash_of("a", "b") == hash_of("c", "d")
    assert hash_of("a", "b", digests="xq") != hash_of("a", "b")
    assert hash_of("a", "b", critic="other") != hash_of("a", "b")
    assert hash_of("a", "b", critic="other", digests="qp") != hash_of("a", "b", critic="other")


def test_a_changed_setting_is_told_as_one(make_job: MakeJob, tmp_path: Path) -> None:
    """Another parent is the setting that names it; rows that a setting changed are not called content alone."""
    _write_rows(tmp_path, "one")
    old = asdict(_trace(make_job({"a": {"data": str(tmp_path / "rows")}})))
    _write_rows(tmp_path, "two")
    job = make_job({"a": {"data": str(tmp_path / "rows"), "steps": 7}})
    assert changes(old, _trace(job)) == [
        "steps: 6 -> 7",
        "data data: changed, by the settings above or by its content",
    ]
    new = _trace(make_job({"a": {"data": str(tmp_path / "rows")}}))
    assert changes(asdict(replace(new, inputs={"model (sft)": "1"})), replace(new, inputs={"model (dpo)": "2"})) == [
        "from: sft -> dpo"
    ]
    assert changes(asdict(replace(new, inputs={"model (sft)": "1"})), replace(new, inputs={"model (dpo)": "1"})) == [
        "nothing changed"
    ]


def _write_rows(folder: Path, text: str) -> int:
    return (folder / "rows").write_text(text)

"""A recipe's mistakes: all at once, each with its place and its cure."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from aftertrain.core.errors import RecipeError, UnknownName
from aftertrain.registry import recipe as recipes
from aftertrain.registry.builder import ComponentBuilder
from aftertrain.registry.discovery import discover
from aftertrain.registry.recipe import LoadedRecipe, load, loads
from aftertrain.registry.tables import Registry
from tests.registry.conftest import Install, registering

STAGE = """
from typing import Any, Literal, cast
from pydantic import Field
from aftertrain.core.loss import Loss
from aftertrain.core.settings import LocalPath, Settings, Use
from aftertrain.core.stage import StageSettings

class Rates(Settings):
    warmup: float = Field(0.0, le=1, description="Share of the steps.")
    kind: Literal["float32", "bfloat16"] = Field("float32", description="Precision.")
    keep: bool | Literal["selective"] = Field(False, description="What is kept.")
    layers: tuple[str, ...] | Literal["all"] = Field("all", description="Which layers.")
    lr: float = Field(description="Peak learning rate.")
    steps: tuple[int, ...] = Field((), description="Some steps.")

class TrainSettings(StageSettings):
    loss: Use[Loss[Any]] = Field(description="The loss.")
    losses: tuple[Use[Loss[Any]], ...] = Field((), description="More.")
    optimizer: Rates = Field(Rates(lr=1.0), description="Rates.")
    file: LocalPath | None = Field(None, description="A file.")
    backup: Use[Loss[Any]] = Field(cast("Any", "margin"), description="Another, with a default.")
"""
REGISTER = """
from aftertrain.core.plugin import hookimpl
AFTERTRAIN_API = 2

@hookimpl
def aftertrain_register(registry):
    registry.add("loss", "margin", "house.loss:Margin", "house.settings:MarginSettings", "a margin")
    registry.add("loss", "plain", "house.loss:Margin", "house.settings:Inner", "a rate")
    registry.add("stage", "fit", "house.stage:Fit", "house.stage:TrainSettings", "fits")
"""
HEAD = "name: x\nmodel: ./m\nstages:\n"


@pytest.fixture
def registry(install: Install, tmp_path: Path) -> Registry:
    """A built-in plugin with two losses and a stage."""
    entry = install(REGISTER, name="house", distribution="aftertrain", version="0.1.0", package="house")
    (tmp_path / "site-1" / "house" / "stage.py").write_text(STAGE)
    return discover([entry])


def mistakes(text: str, registry: Registry, overrides: Any = ()) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        loads(text, overrides, source="r.yaml", registry=registry)
    return str(caught.value).splitlines()


def good(text: str, registry: Registry, overrides: Any = (), **more: Any) -> LoadedRecipe:
    return loads(text, overrides, source="r.yaml", registry=registry, **more)


def test_all_mistakes_are_told_at_once_with_their_places(registry: Registry) -> None:
    text = """name: x
modle: ./m
seed: -1
stages:
  a:
    use: fit
    loss: {use: margn}
  b:
    use: fit
    loss: {use: margin, marjin: 2, inner: {rat: 1}}
    optimizer: {lr: fast}
  c: {use: fit, loss: {use: margin, other: {use: plain, rate: no}, several: [plain, {use: plain, x: 1}]}}
  d: 7
  e: {loss: plain}
"""
    has = "it has margin, inner, file, other, several."
    fit = "stage 'fit' (aftertrain 0.1.0)"
    assert mistakes(text, registry) == [
        "r.yaml:2:1 modle: not a setting of a recipe; it has name, description, model, chat_template, seed, threads, "
        "stages, observers, plugins. Did you mean 'model'?",
        "r.yaml:3:1 seed: should be greater than or equal to 0, not -1: Seed of everything random, "
        "where a stage has none of its own.",
        "r.yaml:7:12 stages.a.loss.use: no loss named 'margn'. Did you mean 'margin'? There are: margin, plain.",
        f"r.yaml:10:25 stages.b.loss.marjin: not a setting of loss 'margin' (aftertrain 0.1.0); {has} "
        "Did you mean 'margin'?",
        "r.yaml:10:44 stages.b.loss.inner.rat: not a setting of 'inner' of loss 'margin' (aftertrain 0.1.0); "
        "it has rate. Did you mean 'rate'?",
        "r.yaml:11:17 stages.b.optimizer.lr: should be a number, not 'fast'",
        "r.yaml:12:57 stages.c.loss.other.rate: should be a number, not 'no'",
        "r.yaml:12:98 stages.c.loss.several.1.x: not a setting of loss 'plain' (aftertrain 0.1.0); it has rate.",
        "r.yaml:13:3 stages.d: a stage is written as a name or as a mapping with 'use:', not 7",
        "r.yaml:14:3 stages.e: 'use:' must name the stage; there are: fit",
    ]
    assert "loss: " + fit in mistakes(HEAD + "  a: {use: fit}\n", registry)[0]


def test_a_missing_setting_is_told_with_its_description(registry: Registry) -> None:
    text = HEAD + "  a: {use: fit, loss: plain, optimizer: {}}\n"
    assert mistakes(text, registry) == [
        "r.yaml:4:30 stages.a.optimizer.lr: stage 'fit' (aftertrain 0.1.0) needs it: Peak learning rate."
    ]


def test_numbers_are_those_of_yaml_1_2(registry: Registry) -> None:
    text = HEAD + "  a: {use: fit, loss: {use: plain, rate: %s}}\n"
    for written, value in [("5e-6", 5e-6), ("5.0e-6", 5e-6), ("-1E+3", -1000.0), (".5", 0.5), ("0x10", 16.0)]:
        recipe = good(text % written, registry).recipe
        assert recipe.stages["a"].settings.loss.settings.rate == value  # type: ignore[attr-defined]


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "1_000", "12:30", "2001-01-01", "'5'", '"5"', "!!str 5"])
def test_words_stay_words(registry: Registry, word: str) -> None:
    text = HEAD + "  a: {use: fit, loss: plain}\ndescription: %s\n"
    described = good(text % word, registry).recipe.description
    assert described == word.strip("'\"").removeprefix("!!str ")


def test_keys_given_twice_are_mistakes(registry: Registry) -> None:
    text = HEAD + "  a: {use: fit, loss: plain, loss: margin}\n  a: {use: fit}\nname: y\n"
    assert mistakes(text, registry) == [
        "r.yaml:4:30 stages.a.loss: the key is given twice, first at 4:17",
        "r.yaml:5:3 stages.a: the key is given twice, first at 4:3",
        "r.yaml:6:1 name: the key is given twice, first at 1:1",
    ]


def test_a_file_with_keys_given_twice_is_read_on_for_its_other_mistakes(registry: Registry) -> None:
    """Without reading on, whoever mends the key meets the next mistake only at the next try."""
    text = HEAD + "  a: {use: fit, loss: plain, loss: margin, from: bb}\n  b: {use: fitt}\nseed: x\n"
    assert mistakes(text, registry, ["oops", "stages.c.use=fut"]) == [
        "r.yaml:4:30 stages.a.loss: the key is given twice, first at 4:17",
        "command line oops: an override is written path=value, as in stages.dpo.loss.beta=2",
        "command line stages.c.use: no stage named 'fut'. Did you mean 'fit'? There are: fit.",
        "r.yaml:4:44 stages.a.from: no stage named 'bb'. Did you mean 'b'? There are: b, base, c.",
        "r.yaml:5:7 stages.b.use: no stage named 'fitt'. Did you mean 'fit'? There are: fit.",
        "r.yaml:6:1 seed: should be a whole number, not 'x'",
    ]


def test_what_fits_no_pattern_is_told_what_fits(registry: Registry) -> None:
    assert mistakes("name: my run\nmodel: ./m\nstages: {}\n", registry) == [
        "r.yaml:1:1 name: 'my run' does not match ^[A-Za-z0-9][A-Za-z0-9._-]*$: Name of the run and of its folder "
        "under runs/: letters, digits, '.', '_' and '-'."
    ]


def test_a_script_meets_our_findings_without_pydantics(registry: Registry) -> None:
    with pytest.raises(RecipeError) as caught:
        loads(HEAD + "  a: {use: fit}\n", source="r.yaml", registry=registry)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("a: [1", "r.yaml:1:6: not YAML: expected ',' or ']', but got '<stream end>'"),
        ("a: b: c", "r.yaml:1:5: not YAML: mapping values are not allowed here"),
        ("", "r.yaml:1:1: the file is empty; a recipe has name, model and stages"),
        ("a: *x", "r.yaml:1:4: not YAML: found undefined alias 'x'"),
        ("a: !python/object 1", "r.yaml:1:4 a: the tag !python/object has no meaning here"),
        ("? [1]\n: 2", "r.yaml:1:3: a key must be a word"),
        ("- 1", "r.yaml:1:1: should be a mapping, not a list"),
    ],
)
def test_what_is_no_recipe_is_told_with_its_place(registry: Registry, text: str, mistake: str) -> None:
    assert mistakes(text, registry)[0].startswith(mistake)


def test_an_alias_is_a_copy_and_merges_fill_gaps(registry: Registry) -> None:
    text = """name: x
model: ./m
stages:
  a: &a {use: fit, loss: &l {use: margin, margin: 1}, optimizer: {lr: 1}}
  b: {<<: *a, optimizer: {lr: 2}}
  c: *a
"""
    loaded = good(text, registry, ["stages.c.loss.margin=3"])
    margins = {name: use.settings.loss.settings.margin for name, use in loaded.recipe.stages.items()}  # type: ignore[attr-defined]
    assert margins == {"a": 1.0, "b": 1.0, "c": 3.0}
    assert loaded.recipe.stages["b"].settings.optimizer.lr == 2.0  # type: ignore[attr-defined]


def test_an_alias_inside_itself_is_a_mistake(registry: Registry) -> None:
    assert "an alias that contains itself" in mistakes("name: x\nstages: &a {b: *a}\n", registry)[0]


class TestOverrides:
    TEXT = HEAD + "  a: {use: fit, loss: {use: margin, margin: 1, inner: {rate: 2}}, losses: [plain, margin]}\n"

    def plain(self, registry: Registry, *overrides: str) -> dict[str, Any]:
        found: dict[str, Any] = good(self.TEXT, registry, overrides).tree.plain()["stages"]["a"]
        return found

    def test_a_value_is_replaced_and_read_as_yaml(self, registry: Registry) -> None:
        assert self.plain(registry, "stages.a.loss.margin=5e-6")["loss"]["margin"] == 5e-6
        assert self.plain(registry, "stages.a.losses=[plain]")["losses"] == ["plain"]
        assert self.plain(registry, "stages.a.file=null")["file"] is None
        assert self.plain(registry, "stages.a.file=")["file"] == ""

    def test_missing_mappings_are_made(self, registry: Registry) -> None:
        assert self.plain(registry, "stages.a.optimizer.lr=3")["optimizer"] == {"lr": 3}

    def test_list_entries_are_counted_from_0(self, registry: Registry) -> None:
        assert self.plain(registry, "stages.a.losses.1.margin=3")["losses"] == ["plain", {"use": "margin", "margin": 3}]

    def test_another_component_drops_the_old_ones_settings(self, registry: Registry) -> None:
        assert self.plain(registry, "stages.a.loss.use=plain")["loss"] == {"use": "plain"}
        both = {"use": "plain", "rate": 4}
        assert self.plain(registry, "stages.a.loss.use=plain", "stages.a.loss.rate=4")["loss"] == both
        assert self.plain(registry, "stages.a.loss.rate=4", "stages.a.loss.use=plain")["loss"] == both

    def test_the_same_component_keeps_its_settings(self, registry: Registry) -> None:
        assert self.plain(registry, "stages.a.loss.use=margin")["loss"]["margin"] == 1

    def test_mistakes_in_them_are_told_together(self, registry: Registry) -> None:
        overrides = ["seed", "stages.a.losses.7=plain", "stages.a.loss.margin.x=1", "name=[", "..=1"]
        assert mistakes(self.TEXT, registry, overrides) == [
            "command line seed: an override is written path=value, as in stages.dpo.loss.beta=2",
            "command line stages.a.losses.7: '7' is not an index of a list of 2 (the first is 0)",
            "command line stages.a.loss.margin.x: 'x' cannot be set inside 1 (r.yaml:4:45)",
            "command line name: not YAML: expected the node content, but found '<stream end>'",
            "command line ..: an override is written path=value, as in stages.dpo.loss.beta=2",
        ]

    def test_a_wrong_value_is_blamed_on_the_command_line(self, registry: Registry) -> None:
        assert mistakes(self.TEXT, registry, ["stages.a.loss.margn=1", "seed=x"]) == [
            "command line seed: should be a whole number, not 'x'",
            "command line stages.a.loss.margn: not a setting of loss 'margin' (aftertrain 0.1.0); "
            "it has margin, inner, file, other, several. Did you mean 'margin'?",
        ]

    def test_python_gives_values_as_they_are(self, registry: Registry) -> None:
        loaded = good(self.TEXT, registry, {"stages.a.losses": ("margin",), "seed": 3, "description": "no"})
        assert loaded.recipe.seed == 3
        assert loaded.recipe.description == "no"

    def test_relative_paths_start_from_the_current_folder(
        self, registry: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.chdir(tmp_path)
        loaded = good(self.TEXT, registry, ["stages.a.file=./data.jsonl"], folder=Path("/elsewhere"))
        assert loaded.recipe.stages["a"].settings.file == str(tmp_path / "data.jsonl")  # type: ignore[attr-defined]

    def test_a_component_that_nobody_named_keeps_its_default(self, registry: Registry) -> None:
        """An override of one setting once asked for the component's name, which `show` does not."""
        loaded = good(self.TEXT, registry, ["stages.a.backup.margin=3", "stages.a.backup.other.use=plain"])
        backup = loaded.recipe.stages["a"].settings.backup  # type: ignore[attr-defined]
        assert (backup.name, backup.settings.margin, backup.settings.other.name) == ("margin", 3.0, "plain")
        assert good(self.TEXT[:-2] + ", backup: {margin: 3, other: plain}}\n", registry).recipe == loaded.recipe
        assert mistakes(self.TEXT, registry, ["stages.a.backup.marjin=3"])[0].startswith(
            "command line stages.a.backup.marjin: not a setting of loss 'margin'"
        )

    def test_a_setting_in_a_stage_that_is_not_there_names_the_stages(self, registry: Registry) -> None:
        assert mistakes(self.TEXT, registry, ["stages.aa.loss.margin=3", "seed=x"]) == [
            "command line stages.aa: no stage named 'aa'. Did you mean 'a'? There are: a.",
            "command line seed: should be a whole number, not 'x'",
        ]
        assert good(self.TEXT, registry, ["stages.b.loss=plain", "stages.b.use=fit"]).recipe.stages.keys() == {"a", "b"}


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("keep", "full", "should be true or false or 'selective', not 'full'"),
        ("keep", "selektive", "should be true or false or 'selective', not 'selektive'. Did you mean 'selective'?"),
        ("layers", "q_projj", "should be a list of text or 'all', not 'q_projj'"),
        ("layers", "[a, 1]", "should be text, not 1"),
        ("kind", "float16", "should be 'float32' or 'bfloat16', not 'float16'"),
        ("kind", "bfloat61", "should be 'float32' or 'bfloat16', not 'bfloat61'"),
        ("kind", "blfoat16", "should be 'float32' or 'bfloat16', not 'blfoat16'. Did you mean 'bfloat16'?"),
        ("warmup", "100", "should be less than or equal to 1, not 100: Share of the steps."),
    ],
)
def test_a_wrong_value_is_told_in_one_line(registry: Registry, setting: str, value: str, said: str) -> None:
    (told,) = mistakes(
        TestOverrides.TEXT, registry, ["stages.a.optimizer.lr=1", f"stages.a.optimizer.{setting}={value}"]
    )
    assert told.partition(": ")[2] == said


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("stages.a.learning_rate", "Did you mean 'optimizer.lr'?"),
        ("stages.a.optimizer.learning_rate", "Did you mean 'lr'?"),
        ("stages.a.warmup_steps", "Did you mean 'optimizer.warmup' (a share of all steps, from 0 to 1)?"),
        ("stages.a.beta", "Did you mean 'loss.beta'?"),
        ("stages.a.base_model", "Did you mean 'model' of the recipe, beside 'stages'?"),
        ("learning_rate", "Did you mean 'optimizer.lr' of a stage?"),
    ],
)
def test_names_of_other_frameworks_are_known(registry: Registry, path: str, said: str) -> None:
    told = mistakes(TestOverrides.TEXT, registry, [f"{path}=1"])
    assert [line.endswith(said) for line in told if "not a setting of" in line] == [True]


def test_an_unknown_chat_template_is_answered_with_the_nearest(registry: Registry) -> None:
    assert mistakes("chat_template: tulu3\n" + TestOverrides.TEXT, registry) == [
        "r.yaml:1:1 chat_template: no chat template named 'tulu3'. Did you mean 'tulu'? There are: tulu, tulu_bos."
    ]


def test_paths_in_the_file_start_from_its_folder(registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "deep" / "r.yaml"
    file.parent.mkdir()
    file.write_text(HEAD + "  a: {use: fit, loss: plain, file: rows.jsonl}\n")
    loaded = load(file, registry=registry)
    assert loaded.recipe.stages["a"].settings.file == str(tmp_path / "deep" / "rows.jsonl")  # type: ignore[attr-defined]


def test_a_class_in_a_file_is_used_without_a_package(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from pydantic import Field\n"
        "from aftertrain.core.loss import Loss\n"
        "from aftertrain.core.settings import Settings\n"
        "class MineSettings(Settings):\n    k: int = Field(1, description='K.')\n"
        "class Mine(Loss[MineSettings]):\n    Config = MineSettings\n    needs = None\n"
        "    def __call__(self, batch, scores): ...\n"
        "class Other: ...\n"
    )
    text = HEAD + "  a: {use: fit, loss: {use: %s, k: %s}}\n"
    loaded = good(text % ("./mine.py:Mine", 3), registry, folder=tmp_path)
    use = loaded.recipe.stages["a"].settings.loss  # type: ignore[attr-defined]
    assert (use.name, use.settings.k) == ("./mine.py:Mine", 3)
    assert type(loaded.builder.build(use)).__name__ == "Mine"

    def mistake(name: str, k: object = 3) -> str:
        with pytest.raises(RecipeError) as caught:
            good(text % (name, k), registry, folder=tmp_path)
        return str(caught.value)

    assert "not a setting of loss './mine.py:Mine' (a local file); it has k." in mistake("./mine.py:Mine", "3, z: 1")
    assert f"there is no file {tmp_path / 'yours.py'}" in mistake("./yours.py:Mine")
    assert "no loss class named 'Mind'. Did you mean 'Mine'?" in mistake("./mine.py:Mind")
    assert f"which loss of the file? Write {tmp_path}/mine.py:CLASS; it has Mine" in mistake(f"{tmp_path}/mine.py")
    assert "begins with './': write ./mine.py:Mine" in mistake("mine.py:Mine")
    assert "is not a subclass of aftertrain.core.loss.Loss, so it is no loss" in mistake("./mine.py:Other")
    (tmp_path / "beside.py").write_text("import mine")
    assert "; a local file stands alone: put both into one file" in mistake("./beside.py:X")
    (tmp_path / "old.py").write_text("import aftertrain.core.seeding")
    assert "No module named 'aftertrain.core.seeding'" in mistake("./old.py:X")
    assert "; it is aftertrain.core.learning.seeding now" in mistake("./old.py:X")
    (tmp_path / "bad.py").write_text("1/0")
    assert "raised ZeroDivisionError" in mistake("./bad.py:X")


def test_a_broken_component_stops_only_the_recipe_that_names_it(install: Install, registry: Registry) -> None:
    entry = install("import no_such_xyz", package="broken", name="broken", distribution="broken-dist", version="3")
    both = Registry(registry.plugins, registry.block, registry._registrations)
    for plugin in discover([entry]).plugins:
        both.commit(plugin)
    assert good(HEAD + "  a: {use: fit, loss: plain}\n", both).recipe.name == "x"
    (told,) = mistakes(HEAD + "  a: {use: fit, loss: broken/it}\n", both)
    assert told.startswith(
        "r.yaml:4:17 stages.a.loss: loss 'broken/it' cannot be had: plugin 'broken' (broken-dist 3, "
    )
    assert "is broken: ModuleNotFoundError: No module named 'no_such_xyz'" in told


def test_settings_that_cannot_be_imported_are_told_with_their_package(install: Install) -> None:
    registry = discover([install(registering(("loss", "acme/margin")).replace("settings:", "no_settings:"))])
    entry_error = mistakes(HEAD + "  a: {use: fit, loss: acme/margin}\n", registry)
    assert entry_error[0].startswith("r.yaml:4:7 stages.a.use: no stage named 'fit'")
    from aftertrain.registry.resolve import SettingsResolver

    with pytest.raises(
        Exception, match=r"acme-aftertrain 1\.2.*importing acme\.no_settings raised ModuleNotFoundError"
    ):
        SettingsResolver(registry).resolve("loss", {"use": "acme/margin"})


def test_a_recipe_blocks_plugins_by_name(monkeypatch: pytest.MonkeyPatch, registry: Registry) -> None:
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(recipes, "installed", lambda block: asked.append(tuple(block)) or registry)
    loads(HEAD + "  a: {use: fit, loss: plain}\nplugins: {block: [acme, '*']}\n")
    assert asked == [("acme", "*")]


def test_dump_is_a_recipe_again(registry: Registry) -> None:
    loaded = good(TestOverrides.TEXT, registry)
    import io

    stream = io.StringIO()
    YAML(typ="safe", pure=True).dump(loaded.dump(), stream)
    assert good(stream.getvalue(), registry).recipe == loaded.recipe


def test_locate_points_into_the_file(registry: Registry) -> None:
    loaded = good(TestOverrides.TEXT, registry, ["seed=4"])
    assert loaded.locate("stages.a.loss.inner.rate") == "r.yaml:4:56"
    assert loaded.locate("stages.a.from") == "r.yaml:4:3"
    assert loaded.locate("seed") == "command line"


def test_a_builder_survives_pickle_by_rediscovery(tmp_path: Path) -> None:
    from aftertrain.registry.discovery import installed

    builder = ComponentBuilder(installed(["nobody"]), tmp_path)
    copy = pickle.loads(pickle.dumps(builder))
    assert copy.base_folder == tmp_path
    assert copy.registry is builder.registry


def test_an_unknown_recipe_is_answered_with_the_nearest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(recipes, "shipped", lambda: {"quickstart": tmp_path / "quickstart.yaml", "tulu3/8b": tmp_path})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownName) as caught:
        load("quickstrat")
    assert str(caught.value) == (
        "no recipe named 'quickstrat'. Did you mean 'quickstart'? There are: quickstart, tulu3/8b. "
        f"There is no file {tmp_path / 'quickstrat'} either."
    )


def test_a_file_that_is_no_text_is_a_recipe_error(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="is UTF-16 text; save it as UTF-8"):
        load(file)

"""Whatever a stranger's plugin does, discovery goes on, and says who it was."""

from __future__ import annotations

import logging
import time
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from aftertrain.core.errors import PluginError, UnknownName
from aftertrain.registry.discovery import BLOCK_VARIABLE, blocked_by_environment, discover, installed, machine_facts
from aftertrain.registry.tables import Plugin, Registry
from tests.registry.conftest import Install, registering


def only(registry: Registry) -> Plugin:
    (plugin,) = registry.plugins
    return plugin


def test_a_good_plugin_is_found_with_its_origin(install: Install, tmp_path: Path) -> None:
    registry = discover([install(registering(("loss", "acme/margin")))])
    row = registry.registration("loss", "acme/margin")
    assert only(registry).state == "ok"
    assert (row.origin.plugin, row.origin.distribution, row.origin.version) == ("acme", "acme-aftertrain", "1.2")
    assert row.origin.file == str(tmp_path / "site-1" / "acme" / "__init__.py")
    assert registry.registrations("loss") == [row]
    assert registry.registrations("verifier") == []


def test_a_plugin_that_raises_is_broken_and_shown_with_its_traceback(install: Install, tmp_path: Path) -> None:
    registry = discover([install("x = 1\nraise RuntimeError('no luck')")])
    plugin = only(registry)
    file = tmp_path / "site-1" / "acme" / "__init__.py"
    assert plugin.state == "broken"
    assert plugin.note == f"RuntimeError: no luck ({file}:2)"
    assert "no luck" in plugin.traceback
    with pytest.raises(PluginError) as caught:
        registry.registration("loss", "acme/margin")
    assert str(caught.value) == (
        f"loss 'acme/margin' cannot be had: plugin 'acme' (acme-aftertrain 1.2, {file}) is broken: "
        f"RuntimeError: no luck ({file}:2) ('aftertrain doctor' has the traceback)"
    )


@pytest.mark.parametrize(
    ("source", "note"),
    [
        ("import no_such_module_xyz", "ModuleNotFoundError: No module named 'no_such_module_xyz'"),
        ("def (", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("AFTERTRAIN_API = 2", "TypeError: acme has no function aftertrain_register marked with @hookimpl"),
        (registering(("loss", "margin")), "'acme/margin'; bare names are aftertrain's"),
        (registering(("loss", "other/margin")), "a third party's names start with the plugin's own, 'acme/margin'"),
        (registering(("los", "acme/margin")), "no kind named 'los'. Did you mean 'loss'?"),
        (registering(("loss", "acme/a"), ("loss", "acme/a")), "loss 'acme/a' is added twice"),
    ],
)
def test_defects_make_a_plugin_broken_and_commit_nothing(install: Install, source: str, note: str) -> None:
    registry = discover([install(source)])
    assert only(registry).state == "broken"
    assert note in only(registry).note
    assert registry.registrations() == []


def test_rows_of_a_plugin_that_fails_halfway_are_all_withheld(install: Install) -> None:
    registry = discover([install(registering(("loss", "acme/good"), ("loss", "bad")))])
    assert registry.registrations() == []
    assert list(registry.withheld("loss")) == ["acme/good"]


@pytest.mark.parametrize(
    ("api", "note"),
    [
        ("", "its module does not say AFTERTRAIN_API = 2, which this aftertrain speaks; ask for a newer plugin"),
        ("AFTERTRAIN_API = 3", "it speaks AFTERTRAIN_API = 3, this aftertrain speaks 2; upgrade aftertrain"),
        (
            "AFTERTRAIN_API = 1",
            "it speaks AFTERTRAIN_API = 1, this aftertrain speaks 2; upgrade the plugin, or write "
            "AFTERTRAIN_API = 2 into it: aftertrain check-plugin then says what its code must change",
        ),
    ],
)
def test_another_contract_is_incompatible(install: Install, api: str, note: str) -> None:
    registry = discover([install(registering(("loss", "acme/margin"), api=api))])
    assert (only(registry).state, only(registry).note) == ("incompatible", note)
    with pytest.raises(PluginError, match="is incompatible"):
        registry.registration("loss", "acme/margin")


def test_two_owners_of_a_name_are_both_named_and_neither_wins(install: Install) -> None:
    one = install(registering(("loss", "acme/margin"), ("loss", "acme/free"), package="one"), package="one")
    two = install(
        registering(("loss", "acme/margin"), ("loss", "acme/late"), package="two"),
        package="two",
        distribution="rival",
        version="9",
    )
    registry = discover([two, one])
    assert [plugin.state for plugin in registry.plugins] == ["ok", "clash"]
    with pytest.raises(PluginError) as caught:
        registry.registration("loss", "acme/margin")
    message = str(caught.value)
    assert "has two owners" in message
    assert "acme-aftertrain 1.2" in message
    assert "rival 9" in message
    assert message.endswith(f"{BLOCK_VARIABLE}=rival")
    assert registry.registration("loss", "acme/free").origin.distribution == "acme-aftertrain"
    with pytest.raises(PluginError, match="is clash"):
        registry.registration("loss", "acme/late")
    assert discover([two, one], {"rival"}).registration("loss", "acme/margin").origin.version == "1.2"


def test_a_blocked_plugin_is_not_imported(install: Install) -> None:
    entry = install("raise RuntimeError('imported')")
    for block in ({"acme"}, {"acme-aftertrain"}, {"ACME_aftertrain"}, {"*"}):
        registry = discover([entry], block)
        assert only(registry).state == "blocked"
        with pytest.raises(PluginError, match=r"is blocked: .*plugins\.block"):
            registry.registration("loss", "acme/margin")


def test_built_ins_come_first_and_survive_the_block_of_strangers(install: Install) -> None:
    stranger = install(registering(("loss", "aaa/margin")), name="aaa")
    own = install(registering(("loss", "margin"), package="zzz"), name="zzz", distribution="aftertrain", package="zzz")
    assert [p.origin.plugin for p in discover([stranger, own]).plugins] == ["zzz", "aaa"]
    registry = discover([stranger, own], {"*"})
    assert [plugin.state for plugin in registry.plugins] == ["ok", "blocked"]
    assert registry.registration("loss", "margin").origin.built_in


def test_importing_something_heavy_is_slow_but_works(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.delitem(sys.modules, "datasets", raising=False)
    fake = "import sys, types; sys.modules['datasets'] = types.ModuleType('datasets')"
    registry = discover([install(registering(("loss", "acme/margin"), before=fake))])
    # Not by monkeypatch, which would put the fake back after the test.
    sys.modules.pop("datasets", None)
    assert only(registry).state == "slow"
    assert "imports datasets" in only(registry).note
    assert registry.registration("loss", "acme/margin").name == "acme/margin"


def test_a_hanging_plugin_is_named_with_the_way_to_block_it(
    install: Install, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """The plugin waits until the watchdog has spoken, so that no clock decides the test."""
    spoken = tmp_path / "spoken"

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            spoken.touch()

    wait = f"""
import pathlib, time
end = time.monotonic() + 60
while not pathlib.Path({str(spoken)!r}).exists():
    assert time.monotonic() < end
    time.sleep(0.01)
"""
    log, listener = logging.getLogger("aftertrain.core.ground.foreign"), Listener()
    with caplog.at_level(logging.WARNING):
        log.addHandler(listener)
        registry = discover([install(registering(("loss", "acme/margin"), before=wait))], patience=0.01)
        deadline = time.monotonic() + 10  # the watchdog's record passes the listener before it comes to caplog
        while not caplog.records and time.monotonic() < deadline:
            time.sleep(0.01)
        log.removeHandler(listener)
    assert only(registry).usable
    (said,) = [record.getMessage() for record in caplog.records]
    assert said == (
        f"plugin 'acme' (acme-aftertrain 1.2, {tmp_path / 'site-1' / 'acme' / '__init__.py'}) has been importing for "
        "0.01 seconds; if it hangs, block it: AFTERTRAIN_BLOCK=acme"
    )


def test_an_unknown_name_is_answered_with_the_nearest_and_other_kinds(install: Install) -> None:
    registry = discover([install(registering(("loss", "acme/margin"), ("verifier", "acme/exact")))])
    with pytest.raises(UnknownName) as caught:
        registry.registration("loss", "acme/margn")
    assert str(caught.value) == "no loss named 'acme/margn'. Did you mean 'acme/margin'? There are: acme/margin."
    with pytest.raises(UnknownName, match="There is a verifier of that name"):
        registry.registration("loss", "acme/exact")
    with pytest.raises(UnknownName, match="No plugin 'emca' is installed"):
        registry.registration("loss", "emca/margin")
    with pytest.raises(UnknownName, match=r"no kind named 'los'\. Did you mean 'loss'"):
        registry.registrations("los")


def test_an_entry_point_without_a_package_is_broken() -> None:
    entry = EntryPoint("ghost", "no_such_package_xyz", "aftertrain.plugins")
    assert only(discover([entry])).note.startswith("ModuleNotFoundError: No module named 'no_such_package_xyz'")


def test_the_environment_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BLOCK_VARIABLE, "a, b c,,")
    assert blocked_by_environment() == {"a", "b", "c"}
    assert installed(["d"]).block == {"a", "b", "c", "d"}


def test_discovery_is_done_once_for_each_block() -> None:
    assert installed() is installed()
    assert installed(["nothing"]) is not installed()


@pytest.mark.parametrize(
    ("body", "facts"),
    [
        ("return [('probe', 'two of them')]", [("probe", "two of them")]),
        ("raise SystemExit(0)", [("acme", "aftertrain_doctor of acme-aftertrain 1.2, {file}: ")]),
        ("return [1]", [("acme", "aftertrain_doctor of acme-aftertrain 1.2, {file}: TypeError: ")]),
    ],
)
def test_a_plugin_s_part_of_doctor_is_its_hook(install: Install, body: str, facts: list[tuple[str, str]]) -> None:
    source = registering(("loss", "acme/margin"))
    entry = install(f"{source}\n@hookimpl\ndef aftertrain_doctor():\n    {body}\n")
    registry = discover([entry])
    assert only(registry).state == "ok"
    ((label, value),) = machine_facts(registry)
    ((expected, beginning),) = facts
    assert label == expected
    assert value.startswith(beginning.format(file=only(registry).origin.file))


def test_a_plugin_that_is_left_out_has_no_part_in_doctor(install: Install) -> None:
    source = registering(("loss", "acme/margin"), api="AFTERTRAIN_API = 1")
    entry = install(f"{source}\n@hookimpl\ndef aftertrain_doctor():\n    return [('probe', 'here')]\n")
    assert machine_facts(discover([entry])) == []

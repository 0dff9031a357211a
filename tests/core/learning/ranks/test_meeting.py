"""Ranks that do not find one another end with a line that says who is missing, where, and what to do."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import torch.distributed  # noqa: F401  its import would take up the seconds of a wait

from aftertrain.core.errors import RunError
from aftertrain.core.learning import meeting
from aftertrain.core.learning.meeting import SETTING, Meeting, patience
from aftertrain.core.learning.processes import joined
from aftertrain.core.run.orders import SILENCE

HOST = "127.0.0.1"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A program that listens, and is no rank."""
    with socket.create_server((HOST, 0)) as found:
        yield found


def _environment(port: object, host: str = HOST) -> dict[str, str]:
    return {"MASTER_ADDR": host, "MASTER_PORT": str(port)}


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as found:
        return int(found.getsockname()[1])


@pytest.mark.parametrize("given", ["soon", "", "0", "-3", "nan", "inf", "1e999", "1e10"])
def test_a_deadline_that_is_none_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, given)
    with pytest.raises(RunError, match=rf"AFTERTRAIN_RANK_DEADLINE is '{given}': expected seconds, a number above 0"):
        patience(1.0)


def test_one_setting_is_every_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SETTING, raising=False)
    assert patience(SILENCE) == 300.0
    monkeypatch.setenv(SETTING, "7.5")
    assert patience(SILENCE) == 7.5


def test_a_wrong_port_is_told_while_waiting_and_at_the_end(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meeting, "TOLD_EVERY", 0.2)
    port = _free_port()
    with pytest.raises(RunError) as caught:
        Meeting(_environment(port), 1, 2, 0.5).store(1)
    assert str(caught.value) == (
        f"rank 1 of 2 found nobody at {HOST}:{port} (MASTER_ADDR:MASTER_PORT), where rank 0 is to listen: Connection "
        "refused; give all ranks the same address and port, or rank 0 longer with AFTERTRAIN_RANK_DEADLINE"
    )
    assert f"rank 1 of 2 waits at {HOST}:{port} for rank 0" in caplog.text


def test_ranks_that_do_not_come_are_named() -> None:
    port = _free_port()
    with pytest.raises(RunError, match=rf"^rank 1, 2 of 3 did not come to {HOST}:{port} within 0.5 s; start"):
        Meeting(_environment(port), 0, 3, 0.5).store(1)


def test_a_port_that_is_taken(listener: socket.socket) -> None:
    with pytest.raises(RunError, match=r"^rank 0 of 2 cannot meet the others at .*another program may have that port"):
        Meeting(_environment(listener.getsockname()[1]), 0, 2, 1.0).store(1)


def test_a_program_that_is_no_rank(listener: socket.socket) -> None:
    with pytest.raises(RunError, match=r"^rank 1 of 2 cannot meet the others at .*another program may have that port"):
        Meeting(_environment(listener.getsockname()[1]), 1, 2, 1.0).store(1)


@pytest.mark.parametrize("port", ["", "29500x", "0", "65536", "-1", "٣٣"])
def test_a_port_that_is_none(port: str) -> None:
    with pytest.raises(RunError, match=r"^MASTER_PORT is .*expected the number of the port"):
        Meeting(_environment(port), 1, 2, 1.0)


def test_a_host_that_is_none() -> None:
    with pytest.raises(RunError, match=r"MASTER_ADDR is 'no\.such\.host\.invalid', no host"):
        Meeting(_environment(29500, "no.such.host.invalid"), 1, 2, 5.0).store(1)


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        *(("WORLD_SIZE", given, "1 or more") for given in ["", "two", "0", "-2", "2.0", "9" * 5_000]),
        *((name, given, "0 to 1") for name in ["RANK", "LOCAL_RANK"] for given in ["", "x", "2", "-1"]),
    ],
)
def test_a_number_that_no_launcher_writes(name: str, given: str, expected: str) -> None:
    environment = {"WORLD_SIZE": "2", "RANK": "1", **_environment(29500), name: given}
    with (
        pytest.raises(RunError, match=f"^{name} is '{given}' in the environment: expected a whole number, {expected};"),
        joined(environment),
    ):
        pass

"""A secret in the wrong place is shown nowhere: not in errors, events, records, logs or on the terminal."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from aftertrain.cli import main
from aftertrain.core.errors import DataError, RecipeError, UnknownName
from aftertrain.core.events import RunStarted
from aftertrain.core.events.diary import EventLog
from aftertrain.core.ground.cleaning import json_text, printable
from aftertrain.core.ground.redaction import Redacting, look_again, note, redacted
from aftertrain.registry.recipe import loads

TOKEN = "hf_" + "aB3" * 10
SECRETS = {
    "hub token": TOKEN,
    "sk": "sk-proj-" + "a1B2" * 8,
    "git": "ghp_" + "a1B2" * 9,
    "git, fine": "github_pat_" + "a1B2" * 9,
    "chat": "xoxb-1234567890-abcdef",
    "cloud": "AKIA" + "ABCD1234" * 2,
    "maps": "AIza" + "a1B2" * 9,
    "web token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghij",
    "key file": "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----",
}
ADDRESSES = {
    "https://user:hunter2@host/x": "https://***@host/x",
    "s3://:hunter2@host": "s3://***@host",
    "postgres+x://u:hunter2@host:5432/db?a=1": "postgres+x://***@host:5432/db?a=1",
    "https://host/x?api_key=hunter2&b=1": "https://host/x?api_key=***&b=1",
    "https://host/?a=1&token=hunter2": "https://host/?a=1&token=***",
    "/work/https:/user:hunter2@host/x": "/work/https:/***@host/x",
    "/work/https:/host/x?token=hunter2": "/work/https:/host/x?token=***",
}
PLAIN = [
    "ssh://git@host/x",
    "C:/x:y@z",
    "https://host/a:b@c",
    "eos_token: <|endoftext|>",
    "sk-learn-and-the-like-of-it",
    "micro_tokens: 16384",
    "task-1234567890-abcdefgh",
    "a@b.c",
]


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_a_secret_of_known_shape_is_hidden_wherever_it_stands(tmp_path: Path, secret: str) -> None:
    assert redacted(f"no model named '{secret}'.") == "no model named '***'."
    assert secret not in str(DataError(f"x {secret}"))
    assert secret not in str(UnknownName("model", secret, ["a"]))
    assert secret not in json_text({"a": [secret], secret: 1})
    assert secret not in printable(secret)
    log = EventLog(tmp_path / "events.jsonl", lambda event: seen.append(str(event.data)))
    seen: list[str] = []
    log.emit(RunStarted("r", {"list": [secret], secret: 1}))
    log.close()
    assert secret[:12] not in (tmp_path / "events.jsonl").read_text()
    assert secret[:12] not in seen[0]
    record = logging.LogRecord("x", logging.ERROR, "", 0, "%s", (secret,), None)
    assert Redacting().format(record) == "***"


@pytest.mark.parametrize(("address", "shown"), ADDRESSES.items())
def test_passwords_in_addresses_are_hidden(address: str, shown: str) -> None:
    assert redacted(f"cannot reach {address}: refused") == f"cannot reach {shown}: refused"


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_none_is_shown(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "HF_TOKEN", "AWS_SECRET", "DB_PASSWORD", "MY_PWD"])
def test_values_of_the_environment_are_known(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "correct horse")
    look_again()
    assert redacted("model: correct horse") == "model: ***"
    monkeypatch.delenv(name)
    look_again()
    assert redacted("model: correct horse") == "model: correct horse"


@pytest.mark.parametrize("key", ["api_key", "api_kye", "apikey", "password", "hf_token", "access_token", "secret"])
def test_a_secret_under_a_setting_that_there_is_not_is_not_repeated(key: str) -> None:
    secret = f"plain words of {key}"
    text = f"name: r\nmodel: m\nseed: '{secret}'\n{key}: '{secret}'\nstages: {{}}\n"
    with pytest.raises(RecipeError) as caught:
        loads(text, source="r.yaml")
    assert secret not in str(caught.value)
    assert "r.yaml:3:1 seed: should be a whole number, not '***'" in str(caught.value)


def test_the_name_of_a_variable_is_no_secret() -> None:
    note("api_key", "OPENAI_API_KEY")
    note("eos_token", "<|endoftext|>")
    note("tokens", "gsm8k tokens")
    assert (
        redacted("set OPENAI_API_KEY, <|endoftext|>, gsm8k tokens") == "set OPENAI_API_KEY, <|endoftext|>, gsm8k tokens"
    )


def test_a_command_does_not_repeat_a_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.yaml").write_text(f"name: r\nmodel: {TOKEN}\nstages: {{a: {{use: {TOKEN}}}}}\n")
    assert main(["plan", str(tmp_path / "r.yaml"), f"stages.b.api_key={TOKEN}", f"seed={TOKEN}"]) == 2
    said = capsys.readouterr()
    assert TOKEN not in said.out + said.err
    assert "***" in said.err


@pytest.mark.parametrize("place", ["model", "path"])
def test_an_address_that_is_taken_for_a_path_shows_no_password(
    place: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    address = "https://user:hunter2-of-mine@host/x"
    model = address if place == "model" else "package:aftertrain.plugins.quickstart/model"
    path = address if place == "path" else "rows.jsonl"
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"name: r\nmodel: {model}\nstages:\n  sft: {{use: train, loss: {{use: sft}}, epochs: 1, "
        f"batch: {{sequences: 1, max_tokens: 64}}, optimizer: {{lr: 1.0e-3}}, "
        f"data: {{use: jsonl, path: '{path}', format: messages}}}}\n"
    )
    # An address in the place of a model is an endpoint's, which is no model to train: the recipe is refused.
    assert main(["plan", str(recipe)]) == (2 if place == "model" else 1)
    shown = "".join(capfd.readouterr())
    assert "***@host" in shown or place == "model"
    assert "hunter2" not in shown


def test_texts_of_models_and_data_are_kept_as_they_are(tmp_path: Path) -> None:
    """A reply that looks like a secret is what the model wrote; a row of an evaluation is read again and scored."""
    from aftertrain.plugins.evaluation.rows import ScoredInstance, write_instances

    text = "Try postgres://user:word@host/x?token=abc, or sk-learn-pipeline-v2-model."
    assert text not in json_text({"said": text})
    assert text in json_text({"said": text}, verbatim=True)
    shape = {name: "" for name, field in ScoredInstance.__dataclass_fields__.items() if field.type == "str"}
    row = ScoredInstance(**{**dict.fromkeys(ScoredInstance.__dataclass_fields__, 0), **shape, "detail": text})  # type: ignore[arg-type]
    write_instances(tmp_path / "rows.jsonl", [row])
    assert text in (tmp_path / "rows.jsonl").read_text(encoding="utf-8")


def test_two_keys_that_are_hidden_stay_two() -> None:
    one, other = "hf_" + "a1" * 12, "hf_" + "b2" * 12
    assert json_text({one: 1, other: 2}) == '{"***": 1, "*** (1)": 2}'

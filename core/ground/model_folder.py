"""A model folder read by one door: its configuration, and what its weight files say of themselves.

Nothing here loads weights. What is refused here is refused alike by `plan`, `run`, `evaluate` and `check-invariants`,
each with the file and the cure.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.core.errors import ModelError
from aftertrain.core.ground.reading import decode, parse_json, read_bytes

if TYPE_CHECKING:
    from transformers import PretrainedConfig

CONFIG, INDEX, WEIGHTS = "config.json", "model.safetensors.index.json", "model.safetensors"
LARGEST_FILE = 64 << 20
"""Bytes of a configuration or an index that are read; the largest index of a released model has some 10 MiB."""
LARGEST_HEADER = 100 << 20
"""Bytes of a safetensors file's header, as the format's own reader allows."""
BOUNDS = {
    "num_hidden_layers": 1_024,
    "n_layer": 1_024,
    "num_layers": 1_024,
    "n_layers": 1_024,
    "hidden_size": 1 << 20,
    "n_embd": 1 << 20,
    "d_model": 1 << 20,
    "intermediate_size": 1 << 24,
    "vocab_size": 1 << 24,
    "num_attention_heads": 1 << 14,
    "num_key_value_heads": 1 << 14,
    "head_dim": 1 << 16,
    "num_experts": 1 << 14,
    "num_local_experts": 1 << 14,
    "n_routed_experts": 1 << 14,
}
"""Whole numbers of a configuration, and the largest that is built: well above the largest model's."""
PICKLED = (".bin", ".pt", ".pth", ".ckpt")
"""Endings of weight files that run code when they are read."""
NO_WEIGHTS = frozenset({"training_args.bin", "optimizer.bin", "scheduler.bin", "optimizer.pt", "scheduler.pt"})
OWN_CODE = (
    "it needs Python code that comes with the model (auto_map in its JSON files), and aftertrain runs none: use a "
    "model of a family that transformers has itself, or a copy of this one converted to such a family"
)
POINTER = b"version https://git-lfs"
NUMBERED = re.compile(r"\.(?:layers|h|blocks?)\.(\d+)\.")


def read_config(folder: str | Path) -> PretrainedConfig:
    """A folder's configuration, of a family that transformers has; code beside it is not run.

    Raises:
        ModelError: it is missing, no JSON object, of unknown family, quantised, or of a size that no model has.
    """
    from transformers import AutoConfig

    from aftertrain.core.ground.quiet import quiet

    path = Path(folder) / CONFIG
    _check_config(_object(path), path)
    try:
        with quiet():
            config: PretrainedConfig = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    except Exception as error:
        raise ModelError(f"{path}: transformers cannot read this configuration: {_first(error)}") from error
    return config


def check_weights(folder: Path, *, needed: bool) -> None:
    """Look at the weight files: the format, the index, that each is there and whole.

    Args:
        needed: whether a folder without any is refused.

    Raises:
        ModelError: they cannot be loaded; says what makes them so.
    """
    files = _weight_files(folder, needed=needed)
    if not files:
        return
    names = {name for path in files for name in _header(path)}
    index = folder / INDEX
    if index.is_file() and not (folder / WEIGHTS).is_file():
        for name, file in _weight_map(index).items():
            if name not in names:
                raise ModelError(f"{index}: says that {file} holds {name}, which it does not; fetch the model again")
    _check_layers(folder, names)


def weight_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor in the folder's weight files, by name; empty where it has none.

    Raises:
        ModelError: the files are damaged.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for path in _weight_files(folder, needed=False):
        shapes |= {name: tuple(facts.get("shape") or ()) for name, facts in _header(path).items()}
    return shapes


def _check_config(config: Mapping[str, Any], path: Path) -> None:
    if not isinstance(config.get("model_type"), str):
        raise ModelError(f"{path}: has no model_type, so that no family can be chosen; it is no model's configuration")
    if quantised := config.get("quantization_config"):
        how = quantised.get("quant_method", "") if isinstance(quantised, dict) else ""
        raise ModelError(
            f"{path}: the model is quantised ({str(how)[:40] or 'quantization_config'}), and its weights cannot be "
            "trained or compared as they are; take the model's own release, or write it anew in bfloat16 with "
            "transformers (model.dequantize(), then save_pretrained)"
        )
    for where, part in _parts(config):
        for name, largest in BOUNDS.items():
            value = part.get(name)
            if value is None or (isinstance(value, list) and name != "num_hidden_layers"):
                continue
            if type(value) is not int or not 0 <= value <= largest:
                raise ModelError(
                    f"{path}: {where}{name} is {str(value)[:40]}; a whole number up to {largest:,} is expected"
                )


def _weight_files(folder: Path, *, needed: bool) -> list[Path]:
    """The safetensors files that transformers would read."""
    single, index = folder / WEIGHTS, folder / INDEX
    if single.is_file():
        return [single]
    if index.is_file():
        files = [folder / name for name in dict.fromkeys(_weight_map(index).values())]
        missing = [path.name for path in files if not path.is_file()]
        if missing and (needed or len(missing) < len(files)):
            raise ModelError(
                f"{index}: names {len(missing)} of {len(files)} files that are not there: {', '.join(missing[:3])}; "
                "fetch the model again, or finish copying it"
            )
        return [] if missing else files
    loose = sorted(folder.glob("*.safetensors"))
    if loose and not (folder / "adapter_config.json").exists():
        raise ModelError(
            f"{folder}: has {loose[0].name} but neither {WEIGHTS} nor {INDEX}, by which transformers finds weights; "
            "fetch the model again"
        )
    pickled = sorted(p.name for p in folder.iterdir() if p.suffix in PICKLED and p.name not in NO_WEIGHTS)
    if pickled:
        raise ModelError(
            f"{folder}: its weights are pickled ({pickled[0]}), and reading such files runs what is written in them. "
            f"If you trust where they come from, write them as safetensors once: {_conversion(folder)}"
        )
    if needed:
        raise ModelError(
            f"{folder}: has a {CONFIG} but no weights ({WEIGHTS}, or several with {INDEX}); from a hub none that are "
            "pickled are fetched"
        )
    return []


def _conversion(folder: Path) -> str:
    """The command that writes pickled weights as safetensors into another folder."""
    source, target = repr(str(folder)), repr(f"{folder}-safetensors")
    code = (
        "from transformers import AutoModelForCausalLM as M, AutoTokenizer as T; "
        f"M.from_pretrained({source}, dtype='auto').save_pretrained({target}); "
        f"T.from_pretrained({source}).save_pretrained({target})"
    )
    return f"python -c {shlex.quote(code)}"


def _weight_map(index: Path) -> dict[str, str]:
    files = _object(index).get("weight_map")
    if not isinstance(files, dict) or not files:
        raise ModelError(f"{index}: has no weight_map of names to files; fetch the model again")
    for name, file in files.items():
        if not isinstance(file, str) or file != Path(file).name or not file.endswith(".safetensors"):
            raise ModelError(
                f"{index}: {name} is said to be in {str(file)[:80]!r}, which is no safetensors file of this folder"
            )
    return files


def _header(path: Path) -> dict[str, dict[str, Any]]:
    """What a safetensors file, whose length is what its header says, tells of its tensors, by name.

    Raises:
        ModelError: it is truncated, something else, or unreadable.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            length = int.from_bytes(start, "little")
            if (start + file.read(len(POINTER))).startswith(POINTER):
                raise ModelError(f"{path}: is a Git LFS pointer, not weights; run 'git lfs pull' in its folder")
            if len(start) < 8 or length > min(LARGEST_HEADER, size):
                raise ModelError(f"{path}: is no safetensors file, or cut short; fetch the model again")
            file.seek(8)
            table = json.loads(file.read(length))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: is no safetensors file: its header cannot be read; fetch it again") from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not isinstance(table, dict):
        raise ModelError(f"{path}: is no safetensors file: its header is no table; fetch the model again")
    tensors = {name: facts for name, facts in table.items() if name != "__metadata__"}
    expected = 8 + length + max((_end(path, name, facts) for name, facts in tensors.items()), default=0)
    if size != expected:
        raise ModelError(
            f"{path}: has {size:,} bytes, and its header speaks of {expected:,}: it is cut short or damaged; fetch the "
            "model again"
        )
    return tensors


def _end(path: Path, name: str, facts: Any) -> int:
    offsets = facts.get("data_offsets") if isinstance(facts, dict) else None
    if not (isinstance(offsets, list) and len(offsets) == 2 and all(type(n) is int for n in offsets)):
        raise ModelError(f"{path}: {name[:80]} has no place in the file; fetch the model again")
    end: int = offsets[1]
    return end


def _check_layers(folder: Path, names: Iterable[str]) -> None:
    """Refuse a configuration with more layers than the files have: the rest would be drawn at random, in memory."""
    parts = _parts(_object(folder / CONFIG))
    counts = [part.get(name) for _, part in parts for name in ("num_hidden_layers", "n_layer")]
    wanted = max((count for count in counts if isinstance(count, int)), default=0)
    layers = max((int(match[1]) + 1 for name in names if (match := NUMBERED.search(name))), default=wanted)
    if wanted > layers:
        raise ModelError(
            f"{folder / CONFIG}: num_hidden_layers is {wanted:,}, and the weights are of {layers:,} layers; they do "
            "not belong together"
        )


def _parts(config: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """A configuration, and within it that of its text if the model reads more than text, with what begins the names."""
    yield "", config
    if isinstance(text := config.get("text_config"), dict):
        yield "text_config.", text


def _object(path: Path) -> dict[str, Any]:
    """A file's JSON object.

    Raises:
        ModelError: it is missing, too large, nested too deep, or no object.
    """
    content = read_bytes(path, limit=LARGEST_FILE, error=ModelError)
    if content.startswith(POINTER):
        raise ModelError(f"{path}: is a Git LFS pointer; run 'git lfs pull' in its folder")
    cure = "fetch the file again"
    value = parse_json(decode(content, str(path), error=ModelError, cure=cure), str(path), error=ModelError, cure=cure)
    if not isinstance(value, dict):
        raise ModelError(f"{path}: holds {type(value).__name__}, where a JSON object is expected")
    return value


def context_window(folder: str | Path) -> int | None:
    """Most tokens that the model's positions reach, or None where its configuration names none.

    Raises:
        ModelError: the folder has no readable `config.json`.
    """
    for _, part in _parts(_object(Path(folder) / CONFIG)):
        for name in ("max_position_embeddings", "n_positions", "max_seq_len"):
            if isinstance(part.get(name), int):
                return int(part[name])
    return None


def _first(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if "trust_remote_code" in text:
        return OWN_CODE
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__

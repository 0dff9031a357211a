"""Files are read in one place, `core.ground.reading`: what reads elsewhere is listed here with its reason."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
READING = {"read_text", "read_bytes"}
LOADING = {"json.load", "json.loads", "pickle.load", "torch.load", "yaml.load"}
OWN = "our own file, inside the package"
SYSTEM = "a file of the system's"
LINE = "a line between our own processes"
VALUE = "a value of a row or reply, whose own reader bounds it and tells what it is not"
ELSEWHERE = {
    "core/completions/store.py": "a row of its own database, whose digest is checked first",
    "plugins/endpoints/answers.py": "what a server answers, told where it is none",
    "src/aftertrain/testing/endpoint.py": LINE,
    "src/aftertrain/testing/environment.py": OWN,
    "src/aftertrain/testing/operator.py": "rows that the kit itself wrote",
    "core/ground/reading.py": "the one place",
    "core/text/fingerprint.py": "what the tokenizer's own library just wrote",
    "src/aftertrain/invariants/resume.py": "two files that the check itself wrote, compared by their bytes",
    "core/ground/memory.py": SYSTEM,
    "core/ground/model_folder.py": "the header of a safetensors file, bounded there",
    "core/learning/presence.py": LINE,
    "core/run/launched.py": LINE,
    "core/run/manifest.py": SYSTEM,
    "core/run/orders.py": LINE,
    "core/run/sources.py": "source files of modules that are imported already",
    "core/playing/room.py": LINE,
    "core/rows": "JSON in a column of a row, whose file the one reader read, told with its place",
    "core/sandbox": LINE,
    "core/text/tool_calls.py": "calls that a model wrote, any text of which is taken",
    "core/text/tokenizer_files.py": "to tell which file a library could not read, after its size was checked",
    "core/verification": LINE,
    "plugins/code/bigcodebench.py": LINE,
    "plugins/code/suite.py": OWN,
    "plugins/code/truth.py": VALUE,
    "plugins/code/unittests.py": OWN + "; and a line that its process printed",
    "plugins/data": VALUE,
    "plugins/environments/trl.py": "the source of a module that is imported, for its digest",
    "plugins/environments/verifiers.py": LINE,
    "plugins/environments/verifiers_host.py": LINE,
    "plugins/instructions": "files of installed packages, and texts that a model wrote",
    "plugins/lm_eval_tasks/asking.py": "a conversation that it wrote itself in place of a chat template",
    "plugins/lm_eval_tasks/catalogue.py": "YAML of lm-eval's dialect, parsed by its own library",
    "plugins/quality": "what an operator learnt of all rows, as it wrote it itself",
    "plugins/report/page.py": OWN,
    "plugins/synthesis/material.py": OWN,
    "plugins/vllm_generator": LINE,
    "plugins/verifiers/function_process.py": LINE,
    "registry/moved.py": OWN,
    "registry/provenance.py": "metadata of an installed package; its JSON is parsed by the one reader",
    "src/aftertrain/cli/components.py": OWN,
    "src/aftertrain/cli/doctor.py": SYSTEM,
    "src/aftertrain/cli/lines.py": "a line of the user's cases, told by its number there",
    "src/aftertrain/scaffold/__init__.py": OWN,
}


def _readers() -> set[str]:
    found = set()
    for folder in ("core", "plugins", "registry", "src/aftertrain"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                    continue
                owner = ast.unparse(node.func.value)
                if owner != "reading" and (node.func.attr in READING or f"{owner}.{node.func.attr}" in LOADING):
                    found.add(file.relative_to(ROOT).as_posix())
    return found


def test_files_are_read_by_the_one_reader_or_the_reason_is_written_down() -> None:
    readers = _readers()
    odd = sorted(file for file in readers if not any(file == name or file.startswith(f"{name}/") for name in ELSEWHERE))
    assert not odd, f"read with core.ground.reading, or say in ELSEWHERE why not: {odd}"


def test_no_reason_is_left_over() -> None:
    readers = _readers()
    assert [n for n in ELSEWHERE if not any(f == n or f.startswith(f"{n}/") for f in readers)] == []

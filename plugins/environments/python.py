"""A Python that a policy may run programs in; they run in the sandbox and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from aftertrain.core.sandbox.limits import MEGA, Limits
from aftertrain.core.sandbox.sandbox import Sandbox
from aftertrain.core.text.tool_calls import Tool
from aftertrain.core.tool_environment import ToolEnvironment
from aftertrain.plugins.environments.settings import PythonSettings


class Python(ToolEnvironment[PythonSettings]):
    """One tool, `python`. Every call is a program of its own: nothing is kept from one to the next."""

    Config = PythonSettings
    isolated: ClassVar[bool] = False
    _held: Sandbox | None = None

    def preflight(self) -> None:
        """Find whether programs can be isolated, where that is required.

        Raises:
            SandboxError: they cannot.
        """
        self._sandbox()

    def functions(self) -> Sequence[Tool]:
        """The interpreter."""

        def python(code: str) -> str:
            """Runs a Python program and returns what it prints.

            Args:
                code: The program. It must print what is to be seen.

            Returns:
                Its output, or its error.
            """
            return self._run(code)

        return (python,)

    def close(self) -> None:
        """End the sandbox's processes."""
        if self._held is not None:
            self._held.close()
            self._held = None

    def _sandbox(self) -> Sandbox:
        if self._held is None:
            settings = self.settings
            limits = Limits(seconds=settings.seconds, memory_bytes=settings.memory_mib * MEGA)
            required: Any = "isolated" if settings.sandbox == "required" else None
            self._held = Sandbox(limits, require=required, packages=settings.packages)
        return self._held

    def _run(self, code: str) -> str:
        result = self._sandbox().run(code)
        if result.outcome == "error":
            raise RuntimeError(f"the sandbox failed: {result.detail}")
        output = _cut(result.stdout.rstrip("\n"), self.settings.shown)
        if result.outcome == "ok":
            return output or "(the program printed nothing)"
        return f"{output}\nerror: {result.detail}" if output else f"error: {result.detail}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}\n… ({len(text) - most} characters more)"

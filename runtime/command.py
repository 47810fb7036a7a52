"""A Command is exactly what would run: made by pure functions, printed by `--dry-run`, compared in tests."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Command:
    """A program to start: `env` is added to the caller's environment, `path` is put first on its PATH.

    What is below `read_only` cannot be written by the program.
    """

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)
    path: Path | None = None
    read_only: tuple[Path, ...] = ()

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """The whole environment of the program, for a caller whose own is `base`."""
        whole = {**base, **self.env}
        if self.path is not None:
            whole["PATH"] = str(self.path) + os.pathsep + whole.get("PATH", os.defpath)
        return whole

    def text(self) -> str:
        """The command as one could paste it into a POSIX shell."""
        lines = [f"cd {shlex.quote(str(self.cwd))} &&", "env"]
        lines += [f"  {name}={shlex.quote(value)}" for name, value in self.env.items()]
        rest = shlex.quote(self.env["PATH"]) if "PATH" in self.env else '"$PATH"'
        lines += [f"  PATH={shlex.quote(str(self.path))}:{rest}"] if self.path else []
        lines += [f"  {' '.join(shlex.quote(word) for word in self.argv)}"]
        return lines[0] + "\n" + " \\\n".join(lines[1:])

"""Whether a command's script is in the code folder, and takes what the command gives it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.check import hydra, keys, options, paths, shell
from runtime.check.shell import HOLE, Call
from runtime.errors import Problem
from runtime.local.document import Document, Place
from runtime.local.expression import BINDING


def of(doc: Document, place: Place, data: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with the scripts of the `command` at `place` in `data`, when its `code` is a folder here."""
    text, folder = data.get("command"), paths.local(doc, data.get("code"))
    if not isinstance(text, str) or keys.templated(text) or folder is None or not folder.is_dir():
        return []
    more = data.get("additional_includes") or list(doc.path.parent.glob("*additional_includes*"))
    problems = []
    for call in shell.calls(text):
        script = _file(folder, call)
        if script is None:
            if not (more or call.module) and call.sure:
                suffix = Path(call.script).suffix
                there = [str(p.relative_to(folder)) for p in sorted(folder.rglob(f"*{suffix}"))[:200]]
                todo = keys.choice(call.script, there)
                wrong = "is not in the code folder"
                problems.append(doc.problem(place, call.script, wrong, todo, "missing-script", call.script))
        elif not call.shell:
            problems += _arguments(doc, place, text, call, script)
    return problems


def _file(folder: Path, call: Call) -> Path | None:
    if not call.module:
        path = folder / call.script
        return path if path.exists() else None
    base = folder.joinpath(*call.script.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__main__.py") if p.is_file()), None)


def _arguments(doc: Document, place: Place, text: str, call: Call, script: Path) -> list[Problem]:
    tree = options.read(script)
    if tree is None:
        return []
    name = script.name
    config = hydra.keys(tree, script)
    if config is not None:
        words = [word for word in call.words if hydra.unknown(config, word)]
        return [
            doc.problem(
                place, word.replace(HOLE, "..."), f"{name} has no such key in its configuration",
                keys.choice(str(hydra.unknown(config, word)), config), "unknown-argument", word.partition("=")[0],
            )
            for word in words
        ]  # fmt: skip
    taken = options.of(tree)
    if taken is None:
        return []
    given = [word for word in call.words if re.match(r"--?[A-Za-z]", word)]
    problems = [
        doc.problem(
            place, flag, f"{name} takes no such argument", keys.choice(flag, taken.names - {"-h", "--help"}),
            "unknown-argument", flag,
        )
        for flag in dict.fromkeys(word.partition("=")[0] for word in given if not taken.takes(word) and HOLE not in word.partition("=")[0])
    ]  # fmt: skip
    # A hole or a variable that stands alone, and not behind an argument's name, may hold any words.
    free = any(w.startswith(("$", HOLE)) and not p.startswith("-") for p, w in zip(("", *call.words), call.words, strict=False))
    for flag in sorted(taken.required):
        if not free and not any(flag.startswith(word.partition("=")[0]) for word in given) and not _short(flag, taken, given):
            todo = f"add {flag} VALUE"
            problems.append(doc.problem(place, flag, f"{name} requires it", todo, "missing-argument", _at(text, call)))
    return problems


def _short(flag: str, taken: options.Options, given: list[str]) -> bool:
    """Whether a short name may stand for the required one: which belongs to which is not kept."""
    return any(not word.startswith("--") for word in given) and any(not n.startswith("--") for n in taken.names)


def _at(text: str, call: Call) -> str:
    return call.script if call.script in BINDING.sub("", text) else ""

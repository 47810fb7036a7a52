"""Whether a command's script is in the code folder, and takes what the command gives it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.check import hydra, keys, options, paths, shell
from runtime.check.shell import HOLE, Call
from runtime.errors import Problem
from runtime.local.check import at
from runtime.local.document import Document, Place
from runtime.local.expression import BINDING
from runtime.local.wrong import choice


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
                todo = choice(call.script, there)
                wrong = "is not in the code folder"
                problem = doc.problem(place, call.script, wrong, todo, "missing-script")
                problems.append(at(problem, *doc.position(place, Path(call.script).name)))
        elif not call.bash:
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
    try:
        config, taken = hydra.keys(tree, script), options.of(tree)
    except RecursionError:  # an expression of thousands of terms
        return []
    if config is not None and not any(word.startswith(hydra.OTHER_CONFIG) for word in call.words):
        wrong = f"{script.name} has no such key in its configuration"
        found = [(word.partition("=")[0], hydra.unknown(config, word)) for word in call.words]
        return [_problem(doc, place, word, wrong, choice(key, hydra.dotted(config))) for word, key in found if key]
    if taken is None or config is not None:
        return []
    given = [word.partition("=")[0] for word in call.words if re.match(r"--?[A-Za-z]", word)]
    wrong = f"{script.name} takes no such argument"
    unknown = [flag for flag in dict.fromkeys(given) if HOLE not in flag and not taken.takes(flag)]
    problems = [_problem(doc, place, flag, wrong, choice(flag, taken.listed())) for flag in unknown]
    where = doc.position(place, call.script if call.script in BINDING.sub("", text) else "")
    for flag in sorted(taken.required) if not _open(call) else ():
        if not any(flag.startswith(word) for word in given) and not _short(taken, given):
            missing = f"is required by {script.name} and not given"
            problem = doc.problem(place, flag, missing, f"add `{flag} VALUE`", "missing-argument")
            problems.append(at(problem, *where))
    return problems


def _problem(doc: Document, place: Place, word: str, wrong: str, todo: str) -> Problem:
    return doc.problem(place, word, wrong, todo, "unknown-argument")


def _open(call: Call) -> bool:
    """Whether a word may be any number of words: what is put in for an input that stands alone, or a variable."""
    before = ("", *call.words)
    return any(w.startswith(("$", HOLE)) and not b.startswith("-") for b, w in zip(before, call.words, strict=False))


def _short(taken: options.Options, given: list[str]) -> bool:
    """Whether a short name may stand for the required one: which belongs to which is not kept."""
    return any(not word.startswith("--") for word in given) and any(not n.startswith("--") for n in taken.names)

"""`ngcrun triton`: model repositories on this machine: listed, versions added and rolled back, two compared."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from runtime.errors import BadInput


def build_parser() -> argparse.ArgumentParser:
    """The command line of `ngcrun triton`."""
    parser = argparse.ArgumentParser("ngcrun triton", description="Triton model repositories on this machine.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    listed = commands.add_parser("list", help="models, versions, which of them are served, and where they come from")
    listed.add_argument("repository", type=Path)
    add = commands.add_parser("add", help="add the newest version of a packaged model; nothing else changes")
    add.add_argument("repository", type=Path)
    add.add_argument("package", type=Path, help="what triton_package wrote")
    add.add_argument("--model", help="which model of the package, when it holds several")
    add.add_argument("--version", type=int, help="its number (default: its own if that is new, else the next)")
    back = commands.add_parser("rollback", help="serve an earlier version; none is deleted")
    back.add_argument("repository", type=Path)
    back.add_argument("model")
    back.add_argument("--to", metavar="N|latest", help="default: the version before the one that is served")
    diff = commands.add_parser("diff", help="how two repositories differ")
    diff.add_argument("a", type=Path)
    diff.add_argument("b", type=Path)
    diff.add_argument("--exit-code", action="store_true", help="end with 1 where they differ, as git diff does")
    return parser


def main(words: Sequence[str]) -> int:
    """Run one command; returns its exit status. Raises our own errors."""
    arguments = build_parser().parse_args(list(words))
    for name in ("package", "a", "b") if arguments.command != "list" else ("repository",):
        path = getattr(arguments, name, None)
        if path is not None and not path.is_dir():
            raise BadInput.of(name, path, "is no folder", "name a model repository")
    return {"list": _list, "add": _add, "rollback": _rollback, "diff": _diff}[arguments.command](arguments)


def _list(arguments: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    from runtime.triton import difference, model_config, provenance, versions
    from runtime.triton.check_files import version_folders

    table = Table("model", "backend", "version", "served", "source", "git", "as packaged", box=None, pad_edge=False)
    for name, folder in difference.models(arguments.repository).items():
        path = folder / model_config.FILE
        config = model_config.read(path) if path.is_file() else model_config.parse("")
        there = version_folders(folder)
        served = versions.served_versions(config, there)
        for number in there:
            made = provenance.read(folder / str(number))
            source, git = made.get("source", {}), made.get("git") or {}
            digest = f"{source['file']} {source['sha256'][:12]}" if source else "unknown"
            commit = git["commit"][:10] + ("+" if git.get("dirty") else "") if git else ""
            changed = provenance.changed(folder / str(number))
            state = f"changed: {', '.join(changed)}" if changed else "yes" if made else ""
            runs = config.backend or config.platform
            table.add_row(name, runs, str(number), "yes" if number in served else "", digest, commit, state)
    Console(width=160).print(table)
    return 0


def _add(arguments: argparse.Namespace) -> int:
    from runtime.triton import versions

    if arguments.version is not None and arguments.version < 1:
        raise BadInput.of("version", arguments.version, "is no version", "give 1 or more")
    done = versions.add(arguments.repository, arguments.package, model=arguments.model, version=arguments.version)
    print(f"{done.model}: version {done.version} added to {arguments.repository}")
    if done.kept:
        print(f"its config.pbtxt was kept; the package's differs in {', '.join(done.kept)}")
    if not done.served:
        again = f"ngcrun triton rollback {arguments.repository} {done.model} --to {done.version}"
        print(f"it is not served: version_policy names others; `{again}` serves it")
    return 0


def _rollback(arguments: argparse.Namespace) -> int:
    from runtime.triton import versions

    to = arguments.to
    if to not in (None, versions.LATEST) and not to.isdecimal():
        raise BadInput.of("to", to, "is no version", "give a number, or latest")
    served = versions.serve(arguments.repository, arguments.model, int(to) if to and to.isdecimal() else to)
    numbers = ", ".join(map(str, served))
    print(f"{arguments.model}: version {numbers} is what a server loads from {arguments.repository} from now on")
    return 0


def _diff(arguments: argparse.Namespace) -> int:
    from runtime.triton.difference import differences

    lines = list(differences(arguments.a, arguments.b))
    print("\n".join(lines) if lines else "no difference")
    return 1 if lines and arguments.exit_code else 0

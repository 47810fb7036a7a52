"""`ngcrun azureml ...`: one subcommand, one handler; nothing of azure is imported before a handler needs it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from runtime.azureml.config import Settings, read
from runtime.errors import BadInput

_TARGET = "registry:NAME or workspace:NAME (default: the config's registry, else its workspace)"


def build_parser() -> argparse.ArgumentParser:
    """The command line of `ngcrun azureml`; every command takes `key=value` words of the config."""
    parser = argparse.ArgumentParser("ngcrun azureml", description="Azure Machine Learning by command, safe to repeat.")
    parser.add_argument("--config-dir", type=Path, help="folder with config.yaml and profile/ (default: ./azureml)")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    whoami = commands.add_parser(
        "whoami", help="which Azure is meant, where each value came from, and who you are there"
    )
    whoami.add_argument("--offline", action="store_true", help="ask Azure nothing")
    publish = commands.add_parser("publish", help="environments, components and pipelines into a registry or workspace")
    publish.add_argument("--to", help=_TARGET)
    publish.add_argument("--dry-run", action="store_true", help="show the plan, change nothing")
    publish.add_argument("--lock", type=Path, help="write what was published, with fingerprints, to this file")
    promote = commands.add_parser("promote", help="publish exactly what a lock file names into another registry")
    promote.add_argument("lock", type=Path)
    promote.add_argument("--from", dest="source", help="check first that it is all there: registry:NAME")
    promote.add_argument("--to", required=True, help="registry:NAME")
    promote.add_argument("--dry-run", action="store_true", help="show the plan, change nothing")
    for command in (whoami, publish, promote):
        command.add_argument("words", nargs="*", metavar="NAME | key=value")
    return parser


def main(words: Sequence[str]) -> int:
    """Run one `ngcrun azureml` command; returns its exit status. Raises our own errors."""
    arguments = build_parser().parse_args(list(words))
    names = [w for w in arguments.words if "=" not in w]
    settings = read([w for w in arguments.words if "=" in w], folder=arguments.config_dir)
    return _HANDLERS[arguments.command](arguments, names, settings)


def target_of(arguments: argparse.Namespace, settings: Settings) -> str:
    """Where to: what `--to` says, else the config's registry, else its workspace."""
    if arguments.to:
        return str(arguments.to)
    config = settings.config
    if config.registry or config.workspace:
        return f"registry:{config.registry}" if config.registry else f"workspace:{config.workspace}"
    raise BadInput.of(
        "--to", None, "no registry and no workspace is known", "say --to registry:NAME or --to workspace:NAME"
    )


def _whoami(arguments: argparse.Namespace, names: list[str], settings: Settings) -> int:
    from runtime.azureml import whoami

    no_names(names)
    return whoami.show(settings, offline=arguments.offline)


def no_names(names: Sequence[str]) -> None:
    """Refuse words that are no `key=value` where a command takes no names."""
    if names:
        raise BadInput.of("argument", names[0], "is not key=value", "see ngcrun azureml --help")


def _publish(arguments: argparse.Namespace, names: list[str], settings: Settings) -> int:
    from runtime.azureml import publish

    return publish.command(
        names, settings, target_of(arguments, settings), dry_run=arguments.dry_run, lock=arguments.lock
    )


def _promote(arguments: argparse.Namespace, names: list[str], settings: Settings) -> int:
    from runtime.azureml import promote

    no_names(names)
    return promote.command(arguments.lock, settings, arguments.source, arguments.to, dry_run=arguments.dry_run)


_HANDLERS = {"whoami": _whoami, "publish": _publish, "promote": _promote}

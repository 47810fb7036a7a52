"""`ngcrun azureml ...`: one subcommand, one handler; nothing of azure is imported before a handler needs it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
    _job_parsers(commands)
    for command in commands.choices.values():
        command.add_argument("words", nargs="*", metavar="NAME | key=value")
    return parser


def _job_parsers(commands: Any) -> None:
    submit = commands.add_parser("submit", help="send a pipeline, the file that `ngcrun pipeline` runs here")
    submit.add_argument("file", type=Path)
    submit.add_argument("--name", help="the job's name (default: made up; the same name never makes a second job)")
    submit.add_argument("--follow", action="store_true", help="show states, logs and figures until it ends")
    submit.add_argument("--cancel-on-interrupt", action="store_true", help="with --follow: Ctrl-C cancels the job")
    submit.add_argument("--create-compute", action="store_true", help="make the clusters that are not there")
    submit.add_argument("--cost", action="store_true", help="show what it needs and costs at most")
    submit.add_argument("--queue-time", action="store_true", help="show the nodes that it will wait for")
    submit.add_argument("--dry-run", action="store_true", help="check, show what it needs, send nothing")
    follow = commands.add_parser("follow", help="states, logs and figures of a job until it ends")
    follow.add_argument("job")
    follow.add_argument("--cancel-on-interrupt", action="store_true", help="Ctrl-C cancels the job")
    cancel = commands.add_parser("cancel", help="cancel a job")
    cancel.add_argument("job")
    download = commands.add_parser("download", help="outputs and logs of a job")
    download.add_argument("job")
    download.add_argument("--into", type=Path, default=None, help="folder (default: ./downloads/JOB)")
    compute = commands.add_parser("compute", help="clusters: create NAME, show NAME, list, sizes, delete NAME")
    compute.add_argument("verb", choices=("create", "show", "list", "sizes", "delete"))

    _deploy_parsers(commands)


def _deploy_parsers(commands: Any) -> None:
    deploy = commands.add_parser("deploy", help="a new deployment beside the old one, verified, then given the traffic")
    deploy.add_argument(
        "file", type=Path, help="a managed online deployment YAML; endpoint.yaml beside it is used, too"
    )
    deploy.add_argument("--model", help="azureml:NAME:VERSION, job:JOB/OUTPUT[@NAME], or a model repository here")
    deploy.add_argument("--name", help="the deployment's name (default: the one of blue and green that has no traffic)")
    deploy.add_argument("--traffic", type=int, default=100, help="percent that it gets at the end (default: 100)")
    deploy.add_argument("--golden", type=Path, help="golden requests (output of triton_package) that it has to answer")
    deploy.add_argument("--repository", type=Path, help="the model repository that the golden requests belong to")
    deploy.add_argument("--keep-failed", action="store_true", help="leave a deployment that failed, to look into it")
    deploy.add_argument("--delete-old", action="store_true", help="remove what has no traffic any more")
    deploy.add_argument("--dry-run", action="store_true", help="show the plan, change nothing")
    endpoint = commands.add_parser("endpoint", help="list, show, logs, traffic, rollback, delete")
    endpoint.add_argument("verb", choices=("list", "show", "logs", "traffic", "rollback", "delete"))
    endpoint.add_argument("--lines", type=int, default=100, help="lines of a log (default: 100)")


def main(words: Sequence[str]) -> int:
    """Run one `ngcrun azureml` command; returns its exit status. Raises our own errors."""
    parser = build_parser()
    arguments, rest = parser.parse_known_args(list(words))
    flags = [word for word in rest if word.startswith("-")]
    if flags:
        parser.error(f"unrecognized arguments: {' '.join(flags)}")
    arguments.words += rest  # words that follow a flag; argparse takes only those before it
    if arguments.command == "submit":
        return _submit(arguments)
    if arguments.command == "endpoint" and arguments.verb == "traffic":  # its words look like settings
        return _endpoint(arguments, list(arguments.words), read(folder=arguments.config_dir))
    names = [w for w in arguments.words if "=" not in w]
    settings = read([w for w in arguments.words if "=" in w], folder=arguments.config_dir)
    return _HANDLERS[arguments.command](arguments, names, settings)


def _submit(arguments: argparse.Namespace) -> int:
    from runtime.azureml import submit
    from runtime.local.document import load

    no_names([w for w in arguments.words if "=" not in w])
    ours, inputs = submit.split(arguments.words, load(arguments.file))
    return submit.command(arguments.file, read(ours, folder=arguments.config_dir), inputs, arguments)


def _follow(arguments: argparse.Namespace, names: list[str], settings: Settings) -> int:
    from runtime.azureml import jobs

    no_names(names)
    return jobs.follow(settings, arguments.job, cancel=arguments.cancel_on_interrupt)


def _cancel(arguments: argparse.Namespace, names: list[str], settings: Settings) -> int:
    from runtime.azureml import jobs

    no_names(names)
    return jobs.cancel(settings, arguments.job)


def _download(arguments: argparse.Namespace, names: list[str], settings: Settings) -> int:
    from runtime.azureml import jobs

    no_names(names)
    return jobs.download(settings, arguments.job, arguments.into or Path("downloads") / arguments.job)


def _compute(arguments: argparse.Namespace, names: list[str], settings: Settings) -> int:
    from runtime.azureml import compute_command

    return compute_command.run(arguments.verb, names, settings)


def _deploy(arguments: argparse.Namespace, names: list[str], settings: Settings) -> int:
    from dataclasses import fields

    from runtime.azureml import deploy

    no_names(names)
    asked = deploy.Asked(**{f.name: getattr(arguments, f.name) for f in fields(deploy.Asked)})
    return deploy.command(asked, settings)


def _endpoint(arguments: argparse.Namespace, names: list[str], settings: Settings) -> int:
    from runtime.azureml import endpoints

    return endpoints.run(arguments.verb, names, settings, lines=arguments.lines)


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


_HANDLERS = {
    "whoami": _whoami,
    "publish": _publish,
    "promote": _promote,
    "follow": _follow,
    "cancel": _cancel,
    "download": _download,
    "compute": _compute,
    "deploy": _deploy,
    "endpoint": _endpoint,
}

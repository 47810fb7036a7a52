"""`ngcrun`, and `python -m runtime`: one subcommand, one handler, imports inside so that `--help` stays fast."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from runtime import __version__
from runtime.errors import BadInput, NgcrunError
from runtime.local import cli as local_cli

_DESCRIPTION = "Run, check and ship NVIDIA NGC workloads on this machine, in docker and on Azure Machine Learning."


# Each has a command line of its own, read by its own module.
_AREAS = {
    "tao": "TAO: networks, specs, checks, runs",
    "images": "NGC images: list, check, bump, lock, build, push",
    "check": "find what is wrong with AzureML YAML, without Azure",
    "triton": "Triton model repositories: list, add, rollback, diff",
    "azureml": "Azure Machine Learning: publish, submit, deploy",
}


def build_parser() -> argparse.ArgumentParser:
    """The command line of ngcrun."""
    parser = argparse.ArgumentParser("ngcrun", description=_DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"ngcrun {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands.add_parser("list", help="all components, a line each")
    show = commands.add_parser("show", help="one component: its ports, settings and an example")
    show.add_argument("name")
    run = commands.add_parser("run", help="run one component: ngcrun run NAME key=value...", prefix_chars="\0")
    run.add_argument("words", nargs=argparse.REMAINDER, metavar="NAME [--dry-run] [--via launcher] [key=value ...]")
    step = commands.add_parser("step", help="one component, as in a job", prefix_chars="\0", add_help=False)
    step.add_argument("words", nargs=argparse.REMAINDER, metavar="NAME --port=value ...")
    pipeline = commands.add_parser("pipeline", help="run an AzureML pipeline YAML on this machine")
    local_cli.add_pipeline(pipeline)
    local_cli.add_why(commands.add_parser("why", help="why a step of a run ran, or was taken over from another"))
    local_cli.add_runs(commands.add_parser("runs", help="the runs below ./runs, a line each"))
    local_cli.add_logs(commands.add_parser("logs", help="the log of a step: ngcrun logs latest STEP -f"))
    local_cli.add_clean(commands.add_parser("clean", help="remove old run folders"))
    specs = commands.add_parser("specs", help="write the AzureML specs of all components, and the READMEs' tables")
    specs.add_argument(
        "--check", action="store_true", help="write nothing; fail if a spec drifts, is missing or orphaned"
    )
    specs.add_argument(
        "action", nargs="?", choices=("bump",), help="raise the versions of what has changed, and say why"
    )
    specs.add_argument("--dry-run", action="store_true", help="with bump: say what would rise, write nothing")
    specs.add_argument("--lock", type=Path, default=None, help="with bump: the lock file (default: %(metavar)s)",
                       metavar="component_specs/versions.lock.json")  # fmt: skip
    for name, what in _AREAS.items():
        area = commands.add_parser(name, help=what, prefix_chars="\0", add_help=False)
        area.add_argument(
            "words", nargs=argparse.REMAINDER, metavar="FILE|FOLDER ..." if name == "check" else "COMMAND ..."
        )
    commands.add_parser("doctor", help="what this machine can run, and why not")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the console script; returns the exit status."""
    parser = build_parser()
    arguments, rest = parser.parse_known_args(argv)
    words = [word for word in rest if not word.startswith("-")] if arguments.command == "pipeline" else []
    if len(words) < len(rest):
        parser.error(f"unrecognized arguments: {' '.join(word for word in rest if word not in words)}")
    if words:  # inputs that follow a flag; argparse takes only those before it
        arguments.overrides += words
    try:
        status = int(_HANDLERS[arguments.command](arguments))
        sys.stdout.flush()
    except NgcrunError as error:
        print("\n".join(error.lines()), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("ngcrun: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `ngcrun list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it ends
        return 0
    except OSError as error:
        from runtime.staging import machine_failure

        failure = machine_failure(error)
        if failure is None:
            raise
        print("\n".join(failure.lines()), file=sys.stderr)
        return failure.exit_code
    return status


def _list(_arguments: argparse.Namespace) -> int:
    from runtime import catalog

    found = catalog.components()
    width = max((len(name) for name in found), default=0)
    for name, component in found.items():
        print(f"{name:<{width}}  {component.version:<3} {component.image:<8} {component.doc}")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from runtime import catalog
    from runtime.show import text_of

    print(text_of(catalog.find(arguments.name)))
    return 0


def _run(arguments: argparse.Namespace) -> int:
    from runtime import catalog, single

    words = list(arguments.words)
    if not words or words[0] in ("-h", "--help"):
        print("usage: ngcrun run NAME [--dry-run] [--via launcher] [key=value ...]; `ngcrun list` shows the names")
        return 0 if words else 2
    name, rest = words[0], words[1:]
    dry_run = "--dry-run" in rest
    if "--help" in rest or "-h" in rest:
        return _show(argparse.Namespace(name=name))
    via, rest = single.via(name, [w for w in rest if w != "--dry-run"])
    return single.run(catalog.find(name), rest, dry_run=dry_run, extra=via)


def _step(arguments: argparse.Namespace) -> int:
    """What `python -m runtime.<area>.<verb>` does, for an image whose `python` is not ours."""
    from runtime import catalog
    from runtime.execute import main as execute

    if not arguments.words:
        raise BadInput.of("step", None, "names no component", "say ngcrun step NAME --port=value")
    return execute(catalog.find(arguments.words[0]), arguments.words[1:])


def _specs(arguments: argparse.Namespace) -> int:
    from runtime import catalog, dockerfile, graphs, images, readme, spec

    root = repository_root()
    if arguments.action == "bump":
        from runtime import bump_command

        return bump_command.run(root, arguments.lock, dry_run=arguments.dry_run)
    rows = images.load(root / "containers" / "images.yaml")
    folder = root / "component_specs"
    charts = folder / "pipelines" / "README.md"
    if arguments.check:
        problems = spec.drift(catalog.components(), rows, folder)
        problems += dockerfile.drift(rows, catalog.components(), root / "containers")
        problems += readme.drift(root / "README.md", catalog.components()) + graphs.drift(charts)
        if problems:
            raise BadInput(problems)
        print(f"{len(catalog.components())} specs agree with their components")
        return 0
    touched = spec.write_all(catalog.components(), rows, folder)
    touched += dockerfile.write(rows, catalog.components(), root / "containers")
    touched += readme.write(root / "README.md", catalog.components()) + graphs.write(charts)
    for path in touched:
        print(f"{'wrote' if path.exists() else 'removed'} {path.relative_to(root)}")
    print(f"{len(catalog.components())} specs, {len(touched)} changed")
    return 0


def repository_root() -> Path:
    """The checkout that holds component_specs/ and containers/: this folder, or the one this package is in."""
    from runtime import images

    root = images.checkout()
    if root is None:
        here = str(Path.cwd())
        raise BadInput.of("folder", here, "holds no containers/images.yaml", "run this in a checkout of ngcrun")
    return root


def _doctor(_arguments: argparse.Namespace) -> int:
    from runtime import doctor

    return doctor.report()


def _tao(arguments: argparse.Namespace) -> int:
    from runtime.tao import cli

    return cli.main(arguments.words)


def _triton(arguments: argparse.Namespace) -> int:
    from runtime.triton import command

    return command.main(arguments.words or ["--help"])


def _images(arguments: argparse.Namespace) -> int:
    from runtime import images_command

    if not arguments.words or arguments.words[0] in ("-h", "--help"):
        images_command.build_parser().print_help()
        return 0 if arguments.words else 2
    return images_command.main(arguments.words, repository_root())


def _check(arguments: argparse.Namespace) -> int:
    from runtime.check import cli

    return cli.main(arguments.words)


def _azureml(arguments: argparse.Namespace) -> int:
    from runtime.azureml import cli

    return cli.main(arguments.words)


_HANDLERS = {
    "list": _list,
    "show": _show,
    "run": _run,
    "step": _step,
    "pipeline": local_cli.pipeline,
    "why": local_cli.why,
    "runs": local_cli.runs,
    "logs": local_cli.logs,
    "clean": local_cli.clean,
    "specs": _specs,
    "tao": _tao,
    "triton": _triton,
    "images": _images,
    "check": _check,
    "azureml": _azureml,
    "doctor": _doctor,
}

if __name__ == "__main__":
    sys.exit(main())

"""The flags of `ngcrun pipeline`, and `ngcrun why|runs|logs|clean` about what it left behind."""

from __future__ import annotations

import argparse
from pathlib import Path

from runtime.errors import BadInput, Problem

RUNS = Path("runs")


def add_pipeline(parser: argparse.ArgumentParser) -> None:
    """The flags of `ngcrun pipeline`."""
    add = parser.add_argument
    add("file", type=Path)
    add("overrides", nargs="*", metavar="input=value", help="inputs of the pipeline")
    add("--runs", type=Path, default=RUNS, help="where run folders go (default: ./runs)")
    add("--jobs", type=int, default=None, help="steps side by side (default: the number of cores)")
    add("--force", action="store_true", help="run every step, also those that made the same before")
    add("--no-cache", action="store_true", help="take nothing over from earlier runs, and remember nothing")
    add("--resume", type=Path, metavar="RUN", help="go on in the folder of an interrupted run")
    add("--map", type=Path, metavar="FILE", help="what azureml: references stand for on this machine")
    add("--docker", action="store_true", help="run each step in a container of its environment's image")
    add("--network", default="none", help="network of the containers (default: none)")
    add("--env", action="append", default=[], metavar="NAME", help="a variable that the containers get from here")
    add("--gpus", metavar="N", help="GPUs a step gets: a number, all or none (default: as each step asks)")
    add("--secret-env", action="append", default=[], metavar="NAME", help="a variable whose value must never be shown")
    add("--no-mlflow", action="store_true", help="do not record the run in MLflow")
    add("--dry-run", action="store_true", help="check everything, print the commands, run nothing")


def pipeline(arguments: argparse.Namespace) -> int:
    """`ngcrun pipeline FILE input=value ...`."""
    from runtime.local.pipeline import Options, run_file

    pairs = [word.partition("=") for word in arguments.overrides]
    wrong = [Problem("argument", w, "is not input=value", "write input=value") for w, equals, _ in pairs if not equals]
    if arguments.jobs is not None and arguments.jobs < 1:
        wrong.append(Problem("--jobs", arguments.jobs, "is below 1", "give 1 or more"))
    if wrong:
        raise BadInput(wrong)
    options = Options(
        runs=arguments.runs,
        jobs=arguments.jobs,
        mlflow=not arguments.no_mlflow,
        dry_run=arguments.dry_run,
        force=arguments.force,
        cache=not arguments.no_cache,
        resume=arguments.resume,
        map=arguments.map,
        docker=arguments.docker,
        network=arguments.network,
        gpus=arguments.gpus,
        env=tuple(arguments.env),
        secret_env=tuple(arguments.secret_env),
    )
    return run_file(arguments.file, {name: value for name, _, value in pairs}, options)


def add_why(parser: argparse.ArgumentParser) -> None:
    """The flags of `ngcrun why`."""
    parser.add_argument("step", nargs="?", help="a step of the run (default: all)")
    parser.add_argument("--run", type=Path, help="a run folder (default: the latest)")
    parser.add_argument("--runs", type=Path, default=RUNS, help="where run folders are (default: ./runs)")


def why(arguments: argparse.Namespace) -> int:
    """`ngcrun why [STEP]`."""
    from runtime.local import runs

    return runs.why(runs.folder_of(arguments.run, arguments.runs), arguments.step)


def add_runs(parser: argparse.ArgumentParser) -> None:
    """The flags of `ngcrun runs`."""
    parser.add_argument("--runs", type=Path, default=RUNS, help="where run folders are (default: ./runs)")


def runs(arguments: argparse.Namespace) -> int:
    """`ngcrun runs`."""
    from runtime.local import runs as found

    return found.listed(arguments.runs)


def add_logs(parser: argparse.ArgumentParser) -> None:
    """The flags of `ngcrun logs`."""
    parser.add_argument("run", help="a run folder or its name, or `latest`")
    parser.add_argument("step", help="a step of it")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the step has ended")
    parser.add_argument("--runs", type=Path, default=RUNS, help="where run folders are (default: ./runs)")


def logs(arguments: argparse.Namespace) -> int:
    """`ngcrun logs RUN STEP`."""
    from runtime.local import runs as found

    run = None if arguments.run == "latest" else Path(arguments.run)
    return found.log(found.folder_of(run, arguments.runs), arguments.step, follow=arguments.follow)


def add_clean(parser: argparse.ArgumentParser) -> None:
    """The flags of `ngcrun clean`."""
    parser.add_argument("--keep", type=int, metavar="N", help="the newest N runs of each pipeline stay")
    parser.add_argument("--older-than", type=float, metavar="DAYS", help="only runs that are older")
    parser.add_argument("--dry-run", action="store_true", help="say what would be removed")
    parser.add_argument("--runs", type=Path, default=RUNS, help="where run folders are (default: ./runs)")


def clean(arguments: argparse.Namespace) -> int:
    """`ngcrun clean`."""
    from runtime.local import clean as cleaning

    keep, older, dry = arguments.keep, arguments.older_than, arguments.dry_run
    return cleaning.run(arguments.runs, keep=keep, older_days=older, dry_run=dry)

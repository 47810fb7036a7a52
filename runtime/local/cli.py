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

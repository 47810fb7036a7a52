"""Overhead a step: what an engine adds to a chain of trivial steps (`true`), side by side with its peers.

A B A B: every engine runs its chain in each round, in the same order, and the table has medians. The overhead is the
slope between a chain of 1 and a chain of N steps, so that start-up (imports, servers) is told apart from what each
further step costs. `bare` is the same chain by subprocess.run, the floor that the others stand on.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
LONG = 50

BARE = """
import subprocess, sys
for _ in range(int(sys.argv[1])):
    subprocess.run(["bash", "-c", "echo x > out"], check=True)
"""

KFP = """
import sys, warnings
warnings.simplefilter("ignore")
from kfp import dsl, local
local.init(runner=local.SubprocessRunner(use_venv=False), raise_on_error=True, pipeline_root="root")
@dsl.component
def step(text: str) -> str:
    return text
@dsl.pipeline
def chain():
    text = "x"
    for _ in range(int(sys.argv[1])):
        text = step(text=text).output
chain()
"""

TORCHX = """
import sys
from torchx.runner import get_runner
from torchx.specs import AppDef, AppState, Role
with get_runner() as runner:
    for _ in range(int(sys.argv[1])):
        role = Role(name="step", image=".", entrypoint="bash", args=["-c", "echo x > out"], num_replicas=1)
        handle = runner.run(AppDef(name="step", roles=[role]), scheduler="local_cwd")
        assert runner.wait(handle, wait_interval=0.01).state == AppState.SUCCEEDED
"""

NEMO = """
import sys
import nemo_run as run
if __name__ == "__main__":
    with run.Experiment("chain", base_dir=".") as experiment:
        for _ in range(int(sys.argv[1])):  # in sequence: with dependencies it refuses to run one after the other
            experiment.add(run.Script(inline="echo x > out"), executor=run.LocalExecutor())
        experiment.run(sequential=True, tail_logs=False)
"""


def metaflow(length: int) -> str:
    """A flow of `length` steps: its start and end are steps, too."""
    names = ["start", *(f"s{i}" for i in range(max(0, length - 2))), "end"]
    lines = ["from metaflow import FlowSpec, step", "class Chain(FlowSpec):"]
    for name, after in zip(names, [*names[1:], ""], strict=True):
        go = f"self.next(self.{after})" if after else "pass"
        lines.append(f"    @step\n    def {name}(self):\n        open('out', 'w').write('x')\n        {go}")
    return "\n".join([*lines, "if __name__ == '__main__':", "    Chain()", ""])


def ngcrun_files(folder: Path) -> None:
    """A component that writes one file, and chains of 1 and `LONG` of it."""
    component = {
        "type": "command", "name": "step", "version": "1",
        "inputs": {"before": {"type": "uri_folder", "optional": True}},
        "outputs": {"out": {"type": "uri_folder"}}, "environment": "azureml:any:1",
        "command": "echo x > '${{outputs.out}}/out' $[[# ${{inputs.before}}]]",
    }  # fmt: skip
    (folder / "step.yaml").write_text(yaml.safe_dump(component))
    for length in (1, LONG):
        jobs = {f"s{i}": {"type": "command", "component": "./step.yaml"} for i in range(length)}
        for i in range(1, length):
            jobs[f"s{i}"] |= {"inputs": {"before": f"${{{{parent.jobs.s{i - 1}.outputs.out}}}}"}}  # type: ignore[dict-item]
        (folder / f"{length}.yaml").write_text(yaml.safe_dump({"type": "pipeline", "jobs": jobs}))


def commands(peers: dict[str, str], folder: Path) -> dict[str, list[str]]:
    """The argv of each engine, with `LENGTH` for the number of steps."""
    for name, text in (("bare", BARE), ("kfp", KFP), ("torchx", TORCHX), ("nemo", NEMO)):
        (folder / f"chain_{name}.py").write_text(text)
    ngcrun = [sys.executable, "-m", "runtime", "pipeline", "LENGTH.yaml"]
    rows = {
        "bare subprocess.run": [sys.executable, "chain_bare.py", "LENGTH"],
        # Equal steps would be taken over from one another; --force runs each, and remembers it.
        "ngcrun": [*ngcrun, "--no-mlflow", "--force"],
        "ngcrun, with MLflow": [*ngcrun, "--force"],
        "ngcrun, nothing has changed": [*ngcrun, "--no-mlflow"],
    }
    named = {
        "kfp": "kfp.local 2.17.0, subprocess",
        "torchx": "torchx 0.7.0, local_cwd",
        "nemo": "NeMo-Run 0.11.1, local",
        "metaflow": "Metaflow 2.19.39, local",
    }
    for length in (1, LONG):
        (folder / f"chain_metaflow_{length}.py").write_text(metaflow(length))
    found = {
        named[name]: [python, f"chain_{name}.py", "LENGTH"] for name, python in peers.items() if name != "metaflow"
    }
    if "metaflow" in peers:
        found[named["metaflow"]] = [peers["metaflow"], "chain_metaflow_LENGTH.py", "--quiet", "run"]
    return rows | found


def seconds(argv: Sequence[str], length: int, folder: Path) -> float:
    """Wall time of one chain; a chain that fails ends the benchmark with what it said."""
    began = time.perf_counter()
    own = {"PYTHONPATH": str(ROOT), "NEMORUN_HOME": str(folder), "METAFLOW_USER": "bench", "USERNAME": "bench"}
    env = os.environ | own
    words = [word.replace("LENGTH", str(length)) for word in argv]
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{words}: exit status {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return time.perf_counter() - began


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--peer", action="append", default=[], metavar="NAME=PYTHON", help="kfp, torchx, nemo or metaflow"
    )
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    peers = dict(word.split("=", 1) for word in arguments.peer)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ngcrun_files(folder)
        rows = commands(peers, folder)
        times: dict[tuple[str, int], list[float]] = {}
        for _ in range(arguments.rounds):
            for title, argv in rows.items():
                for length in (1, LONG):
                    times.setdefault((title, length), []).append(seconds(argv, length, folder))
    middle = {key: statistics.median(values) for key, values in times.items()}
    slope = {title: (middle[title, LONG] - middle[title, 1]) / (LONG - 1) for title in rows}
    floor, ours = slope["bare subprocess.run"], slope["ngcrun"]
    print(f"| engine | 1 step, s | {LONG} steps, s | a further step, ms | over bare, ms | times ngcrun |")
    print("|---|---|---|---|---|---|")
    for title in rows:
        cells = [f"{middle[title, length]:.2f}" for length in (1, LONG)]
        cells += [f"{slope[title] * 1000:.0f}", f"{(slope[title] - floor) * 1000:.0f}", f"{slope[title] / ours:.1f}"]
        print(f"| {title} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()

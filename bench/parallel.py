"""Steps side by side: two siblings of 3 s, and a fan-out of four on two slots, through each engine, A B A B, medians.

What is best possible is 3 s and 6 s; the rest is the engine's. kfp.local runs one after the other whatever the graph.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import yaml
from steps import seconds

COUNTS = {2: "two siblings of 3 s", 4: "four of 3 s on two slots"}
SLOTS = 2

KFP = """
import sys, warnings
warnings.simplefilter("ignore")
from kfp import dsl, local
local.init(runner=local.SubprocessRunner(use_venv=False), raise_on_error=True, pipeline_root="root")
@dsl.component
def nap(text: str) -> str:
    import time
    time.sleep(3)
    return text
@dsl.pipeline
def siblings():
    for i in range(int(sys.argv[1])):
        nap(text=str(i))
siblings()
"""

NEMO = """
import sys
import nemo_run as run
if __name__ == "__main__":
    count = int(sys.argv[1])
    with run.Experiment("siblings", base_dir=".") as experiment:
        for _ in range(count):  # it has no limit of slots: all start at once
            experiment.add(run.Script(inline="sleep 3"), executor=run.LocalExecutor())
        experiment.run(sequential=False, tail_logs=False)
"""


def metaflow(count: int) -> str:
    """A flow that fans out to `count` naps and joins them."""
    naps = ", ".join(f"self.nap{i}" for i in range(count))
    lines = ["import time", "from metaflow import FlowSpec, step", "class Siblings(FlowSpec):"]
    lines.append(f"    @step\n    def start(self):\n        self.next({naps})")
    lines += [
        f"    @step\n    def nap{i}(self):\n        time.sleep(3)\n        self.next(self.join)" for i in range(count)
    ]
    lines.append("    @step\n    def join(self, inputs):\n        self.next(self.end)")
    lines.append("    @step\n    def end(self):\n        pass")
    return "\n".join([*lines, "if __name__ == '__main__':", "    Siblings()", ""])


def files(folder: Path) -> None:
    """What each engine reads."""
    component = {"type": "command", "name": "nap", "version": "1", "outputs": {"out": {"type": "uri_folder"}},
                 "environment": "azureml:any:1", "command": "sleep 3; echo x > '${{outputs.out}}/out'"}  # fmt: skip
    (folder / "nap.yaml").write_text(yaml.safe_dump(component))
    for count in COUNTS:
        jobs = {f"s{i}": {"type": "command", "component": "./nap.yaml"} for i in range(count)}
        (folder / f"{count}.yaml").write_text(yaml.safe_dump({"type": "pipeline", "jobs": jobs}))
        (folder / f"metaflow_{count}.py").write_text(metaflow(count))
    (folder / "kfp_siblings.py").write_text(KFP)
    (folder / "nemo_siblings.py").write_text(NEMO)


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON", help="kfp, nemo or metaflow")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    peers = dict(word.split("=", 1) for word in arguments.peer)
    known = {
        "kfp": ("kfp.local 2.17.0, subprocess", ["kfp_siblings.py", "LENGTH"]),
        "nemo": ("NeMo-Run 0.11.1, local (no limit of slots)", ["nemo_siblings.py", "LENGTH"]),
        "metaflow": ("Metaflow 2.19.39, local", ["metaflow_LENGTH.py", "--quiet", "run", "--max-workers", str(SLOTS)]),
    }
    ngcrun = [
        sys.executable,
        "-m",
        "runtime",
        "pipeline",
        "LENGTH.yaml",
        "--no-mlflow",
        "--force",
        "--jobs",
        str(SLOTS),
    ]
    rows = {"ngcrun": ngcrun} | {known[n][0]: [python, *known[n][1]] for n, python in peers.items() if n in known}
    times: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        files(Path(name))
        for _ in range(arguments.rounds):
            for title, argv in rows.items():
                for count in COUNTS:
                    times.setdefault((title, count), []).append(seconds(argv, count, Path(name)))
    print(f"| engine | {' | '.join(f'{text}, s' for text in COUNTS.values())} |")
    print("|---|" + "---|" * len(COUNTS))
    for title in rows:
        print(f"| {title} | {' | '.join(f'{statistics.median(times[title, count]):.2f}' for count in COUNTS)} |")


if __name__ == "__main__":
    main()

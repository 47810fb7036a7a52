"""What the docker runner adds to a bare `docker run`: chains of trivial steps on a real dockerd, A B A B, medians.

Root on Debian: it starts a dockerd of its own, and ends it. The image is a stand-in that holds a shell.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.docker import engine  # noqa: E402 - found from here only now

IMAGE = "stand-in:1"
LENGTHS = (1, 11)


def seconds(argv: list[str], environment: Mapping[str, str], folder: Path) -> float:
    """Wall time; a command that fails ends the benchmark with what it said."""
    began = time.perf_counter()
    done = subprocess.run(argv, cwd=folder, env=dict(environment), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{argv}: exit status {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return time.perf_counter() - began


def files(folder: Path) -> None:
    """Chains of one component in a container."""
    component = {
        "type": "command", "name": "step", "version": "1", "environment": {"image": IMAGE},
        "inputs": {"before": {"type": "uri_folder", "optional": True}}, "outputs": {"out": {"type": "uri_folder"}},
        "command": "echo x > '${{outputs.out}}/out' $[[# ${{inputs.before}}]]",
    }  # fmt: skip
    (folder / "step.yaml").write_text(yaml.safe_dump(component))
    for length in LENGTHS:
        jobs: dict[str, dict[str, object]] = {
            f"s{i}": {"type": "command", "component": "./step.yaml"} for i in range(length)
        }
        for i in range(1, length):
            jobs[f"s{i}"]["inputs"] = {"before": f"${{{{parent.jobs.s{i - 1}.outputs.out}}}}"}
        (folder / f"{length}.yaml").write_text(yaml.safe_dump({"type": "pipeline", "jobs": jobs}))


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    engine.install()
    with engine.running() as found, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        engine.tag(engine.base(folder), [IMAGE], found)
        files(folder)
        environment = {**found, "PYTHONPATH": str(ROOT), "NGCRUN_CACHE": name, "PATH": os.environ["PATH"]}
        mount = f"type=bind,source={name},target={name}"
        bare = ["docker", "run", "--rm", "--init", "--network", "none", "--mount", mount]
        bare += [IMAGE, "bash", "-c", f"echo x > {name}/out"]
        ngcrun = [sys.executable, "-m", "runtime", "pipeline", "LENGTH.yaml", "--docker", "--no-mlflow", "--force"]
        times: dict[tuple[str, int], list[float]] = {}
        for _ in range(rounds):
            for length in LENGTHS:
                once = [seconds(bare, environment, folder) for _ in range(length)]
                times.setdefault(("bare", length), []).append(sum(once))
                argv = [word.replace("LENGTH", str(length)) for word in ngcrun]
                times.setdefault(("ngcrun", length), []).append(seconds(argv, environment, folder))
    middle = {key: statistics.median(values) for key, values in times.items()}
    steps = LENGTHS[1] - LENGTHS[0]
    slope = {who: (middle[who, LENGTHS[1]] - middle[who, LENGTHS[0]]) / steps for who in ("bare", "ngcrun")}
    print("| way | 1 step, s | a further step, ms | over bare, ms |\n|---|---|---|---|")
    for who, title in (("bare", "docker run --rm"), ("ngcrun", "ngcrun pipeline --docker")):
        over = (slope[who] - slope["bare"]) * 1000
        print(f"| {title} | {middle[who, 1]:.2f} | {slope[who] * 1000:.0f} | {over:.0f} |")


if __name__ == "__main__":
    main()

"""Writes docs/tao-cpu.md: which TAO networks and actions run on a CPU. `NGCRUN_WRITE=1` writes it, otherwise it is compared.

A network counts as far as its own program starts: TAO imports all scripts of a network before it runs one of them. That
the actions of four networks then run to their end is what the other tests in this folder show.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from runtime.tao import env, network, program
from runtime.tao.network import Network

TABLE = Path(__file__).parents[2] / "docs" / "tao-cpu.md"
SHOWN = {  # by the tests beside this one, on real data to the end
    "classification_pyt": "train evaluate inference export quantize distill",
    "ocrnet": "dataset_convert train prune retrain evaluate inference export quantize",
    "rtdetr": "train evaluate inference export",
    "segformer": "train evaluate inference export",
}
HEAD = """\
# What of TAO runs on a CPU

Written by `tests/tao/test_cpu_table.py` (`nox -s tao`), with the unmodified nvidia-tao-pytorch 7.3.0, torch 2.9.1 and
the environment of `python -m runtime.tao.env cpu`. *Starts*: TAO's program imports all of the network's scripts, so its actions
can be tried. *Run to the end*: by a test, on real images. The others want modules or kernels that are not on a CPU, or not on PyPI.

| network | on a CPU | run to the end |
|---|---|---|
"""


def _start(one: Network) -> str:
    """`starts`, or the last error of a start without a spec (which TAO refuses after its imports)."""
    action = next(iter(one.actions.values()))
    found = program.find(one, action, device="cpu")
    environment = {**os.environ, "PATH": f"{found.path}{os.pathsep}{os.environ['PATH']}", "NGCRUN_TAO_CPU": "1"}
    environment |= {"PYTHONPATH": str(program.CPU_SHIM), "HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled"}
    environment["NO_ALBUMENTATIONS_UPDATE"] = "1"
    argv = [*found.argv, action.runs or action.name]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=600)
    said = done.stdout + done.stderr
    if "requires the following argument: -e/--experiment_spec_file" in said:
        return "starts"
    errors = re.findall(r"^(?:\w+\.)*(\w*Error: .+)$", said, re.MULTILINE)
    return errors[-1].split(" (")[0].split(". ")[0] if errors else f"exit status {done.returncode}"


def test_the_table_of_what_runs_on_a_cpu_is_true() -> None:
    os.environ.setdefault("NGCRUN_TAO_ENV", str(env.make("cpu")))
    found = [network.find(name) for name in network.names()]
    found = [one for one in found if one.image.startswith("tao-pyt") and one.actions]
    assert len(found) >= 30
    text = HEAD
    for one in found:
        text += f"| {one.name} | {_start(one)} | {SHOWN.get(one.name, '')} |\n"
    if os.environ.get("NGCRUN_WRITE"):
        TABLE.write_text(text)
    assert TABLE.read_text() == text

"""A stand-in for the entrypoint of a PyTorch TAO network (`classification_pyt train -e spec.yaml`); it trains nothing.

The parser, the two ERROR lines, `python SCRIPT --config-path ... --config-name ...` as a child, what becomes of its
progress bars and of its exit status are those of nvidia-tao-pytorch 7.3.0, core/entrypoint.py, recorded on a CPU.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[2]))  # the repository: the stand-in is started by path

from runtime.tao import network as networks  # noqa: E402

# Where TAO starts torchrun instead of python. Source: core/entrypoint.py, LIGHTNING_EXCLUDED_NETWORKS
TORCHRUN = ("bevfusion", "pointpillars", "rtdetr")
BAR = re.compile(r"Epoch \d+: \s*\d+%|\[.*\]")


def log(level: str, text: str) -> None:
    """Every line twice, coloured and plain, as the real logging does."""
    colour = "38" if level == "INFO" else "33"
    print(f"\x1b[{colour};20m2026-11-23 07:54:10,542 - [TAO Toolkit] - {level} - {text} (entrypoint.py:492)\x1b[0m")
    print(f"{level}: {text}", flush=True)


def main(network: str, words: list[str]) -> int:
    parser = argparse.ArgumentParser(network, description=f"Train Adapt Optimize entrypoint for {network}")
    actions = [a.runs or n for n, a in networks.find(network).actions.items() if not a.image]
    parser.add_argument("subtask", default="train", choices=dict.fromkeys([*actions, "default_specs"]))
    parser.add_argument("-e", "--experiment_spec_file", default=None)
    args, unknown = parser.parse_known_args(words)
    if args.experiment_spec_file is None:
        print(f"ERROR: The subtask `{args.subtask}` requires the following argument: -e/--experiment_spec_file")
        return 1
    spec = Path(args.experiment_spec_file)
    if not spec.exists():
        print(f"ERROR: The indicated experiment spec file `{spec}` doesn't exist!")
        return 1
    begin = "torchrun --nnodes=1 --nproc-per-node=1" if network in TORCHRUN else "python"
    call = f"{begin} {HERE / 'work.py'} --config-path {spec.parent} --config-name {spec.name} {' '.join(unknown)}"
    started = {**os.environ, "FAKE_TAO_TASK": f"{network} {args.subtask}", "TAO_VISIBLE_DEVICES": "0"}
    process = subprocess.Popen(
        shlex.split(call), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=1, text=True, env=started
    )
    assert process.stdout is not None
    for line in process.stdout:
        bar = "\r" in line or BAR.search(line)
        sys.stdout.write("\r" + line.strip() if bar else line)
        sys.stdout.flush()
    status = process.wait()
    log("INFO", f"Command completed {'successfully ' if status == 0 else ''}with return code {status}")
    log("WARNING", "Telemetry data couldn't be sent, but the command ran successfully.")
    log("WARNING" if status else "INFO", f"Execution status: {'FAIL' if status else 'PASS'}")
    return 1 if status else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))

"""A stand-in for the console scripts of TAO's TF1 image (`detectnet_v2 train ...`); it trains nothing.

Takes the real flags with the real argparse errors and starts its work the way the real entrypoint does: through `bash -c
'... python SCRIPT --long_flag value ...'`, behind `mpirun` for several GPUs. Source of the flags (flags.json), texts, exit
statuses and of what work.py does: NVIDIA/tao_tensorflow1_backend (GitHub, commit 2ec95cb), read, never run: nobody here
has had that image on a machine with a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TYPES = {"int": int, "float": float}
OWN = ("gpus", "gpu_index", "log_file", "use_amp", "multi_node", "mpirun_arg", "num_processes", "launch_cuda_blocking")


def add_flags(parser: argparse.ArgumentParser, flags: list[dict[str, Any]]) -> None:
    """Give the parser the real script's flags, as recorded in flags.json."""
    for flag in flags:
        told = {key: value for key, value in flag.items() if key != "flags"}
        if "type" in told:
            told["type"] = TYPES[told["type"]]
        parser.add_argument(*flag["flags"], **told)


def build(network: str) -> argparse.ArgumentParser:
    """The entrypoint's parser: its own flags before and behind the task, the script's behind it."""
    own = argparse.ArgumentParser(network, description="Transfer Learning Toolkit")
    own.add_argument("--num_processes", "-np", type=int, default=-1)
    own.add_argument("--gpus", type=int, default=1)
    own.add_argument("--gpu_index", type=int, nargs="+", default=None)
    own.add_argument("--use_amp", action="store_true", default=False)
    own.add_argument("--log_file", default=None)
    own.add_argument("--mpirun-arg", default="")
    own.add_argument("--multi-node", action="store_true", default=False)
    own.add_argument("--launch_cuda_blocking", action="store_true", default=False)
    tasks = own.add_subparsers(title="tasks")
    for task, flags in json.loads((HERE / "flags.json").read_text())[network].items():
        if flags:
            add_flags(tasks.add_parser(task, parents=[own], add_help=False), flags)
    return own


def long_flags(args: dict[str, Any]) -> str:
    """What was given, as the entrypoint writes it again: unquoted, so a blank in a path breaks it there too."""
    words = ""
    for name, value in args.items():
        if name in OWN or value in (None, ""):
            continue
        if isinstance(value, bool):
            words += f"--{name} " if value else ""
        else:
            words += f"--{name} {' '.join(value) if isinstance(value, list) else value} "
    return words


def main(network: str, words: list[str]) -> int:
    task = words[0] if words else ""
    if task == "gen_trt_engine":  # that of the deploy image, whose program has the same name
        sys.path.insert(0, str(HERE.parents[2]))
        from tests.fakes.tao_tf1 import deploy

        args = deploy.parse(network, words[1:])
        return ended(f"bash -c 'python {HERE / 'work.py'} {network} {task} {long_flags(args)}'")
    args = vars(build(network).parse_args(words))
    assert args["gpus"] > 0, "At least 1 GPU required to run any task."
    ranks = args["num_processes"] if args["num_processes"] >= 0 else args["gpus"]
    if args["gpus"] > 1:
        assert task == "train", (
            f"Please use only 1 GPU for the task {task}. Only the following tasks "
            "are supported to run with multiple GPUs, ['train']"
        )
    mpi = f"mpirun -np {ranks} --oversubscribe --bind-to none --allow-run-as-root -mca pml ob1 -mca btl ^openib"
    script = f"python {HERE / 'work.py'} {network} {task} "
    return ended(f"{mpi if ranks > 1 else ''} bash -c 'TF_ENABLE_AUTO_MIXED_PRECISION=0 {script}{long_flags(args)}'")


def ended(command: str) -> int:
    """Run the work, and say how it ended as the entrypoint does."""
    passed = True
    try:
        subprocess.run(shlex.split(command), env=os.environ, stdout=sys.stdout, stderr=sys.stdout, check=True)
    except (KeyboardInterrupt, SystemExit):
        print("Command was interrupted.")
    except subprocess.CalledProcessError:
        passed = False
    print("Telemetry data couldn't be sent, but the command ran successfully.")
    print(f"Execution status: {'PASS' if passed else 'FAIL'}")
    return 0 if passed else -1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))

"""Where TAO is on this machine, and the Command that starts one action of it: a pure function of what is there."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.command import Command
from runtime.errors import BadInput
from runtime.tao import env, launcher
from runtime.tao.network import Action, Network, fill
from runtime.tao.spec_text import KEY_VARIABLE

CPU_SHIM = Path(__file__).parent / "cpu"
DS_SHIM = Path(__file__).parent / "ds_cpu"
KEY_LAUNCH = Path(__file__).with_name("key_launch.py")
MAKE = "python -m runtime.tao.env {}"
SHIMS = {
    "tao-pyt": {"NGCRUN_TAO_CPU": "1", "PYTHONPATH": str(CPU_SHIM)},
    "tao-ds": {"NGCRUN_TAO_DS_CPU": "1", "PYTHONPATH": str(DS_SHIM)},
}
# AzureML's and torchrun's variables. TAO reads WORLD_SIZE as the number of nodes and takes its multi-node path whenever
# it is set. Source: nvidia-tao-pytorch 7.3.0, core/entrypoint.py and core/distributed/validator.py.
_DISTRIBUTION = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "NODE_RANK", "MASTER_ADDR",
                 "MASTER_PORT", "NUM_GPU_PER_NODE")  # fmt: skip


@dataclass(frozen=True)
class Program:
    """A TAO that can be started: what begins its command line, and the folder to put first on PATH."""

    argv: tuple[str, ...]
    path: Path | None = None
    launched: bool = False  # by NVIDIA's launcher, in the image


def find(network: Network, action: Action, *, device: str, environ: Mapping[str, str] = os.environ) -> Program:
    """The network's own command: on PATH (inside an image), else in the environment for the CPU; raises `BadInput`."""
    if launcher.asked_for(environ):
        if device == "cpu":
            raise BadInput.of("device", device, "the launcher starts nothing without a GPU", "leave out --via launcher")
        return Program(launcher.begin(network, action, environ), launched=True)
    image = network.image_of(action)
    place = "ds" if image == "tao-ds" else "cpu"
    folder = env.folder_of(place, environ) / "bin"
    ours = image == "tao-ds" or image.startswith("tao-pyt")
    module = "." in network.program
    name = "python" if module else network.program
    here = None if module else shutil.which(name, path=environ.get("PATH"))
    prefix = ("-m", network.program) if module else ()
    if here is None and module and _has_tao(sys.executable):
        return Program((sys.executable, *prefix))
    if here is not None:
        return Program((here,))
    if network.dialect == "yaml" and ours and (folder / name).exists():
        return Program((str(folder / name), *prefix), folder)
    todo = f"run it in the image {image} (docker, AzureML)"
    if device == "cpu" and ours:
        todo = f"make the environment: {MAKE.format(place)} ({env.SIZES[place]}), or set {env.VARIABLES[place]}"
    raise BadInput.of("network", network.name, f"TAO's program {name!r} is not on this machine", todo)


def _has_tao(python: str) -> bool:
    return any((Path(python).parent.parent / "lib").glob("python3*/site-packages/nvidia_tao_pytorch"))


@dataclass(frozen=True)
class Run:
    """One start of TAO, all decided: what `command` turns into a Command."""

    network: Network
    action: Action
    spec: Path
    results: Path
    given: Mapping[str, str]
    device: str = "gpu"
    load_objects: bool = False
    has_key: bool = False


def command(run: Run, program: Program, environ: Mapping[str, str]) -> Command:
    """Exactly what runs. PyTorch and TF2: `<network> <action> -e SPEC`; TF1: the flags of the network's file."""
    variables = variables_for(run, environ)
    words = (run.action.runs or run.action.name, *arguments(run))
    if program.launched:
        return launcher.command(program.argv, words, run.results, variables)
    argv = (*program.argv, *words)
    if run.action.argv and run.has_key:
        argv = (sys.executable, "-I", "-S", str(KEY_LAUNCH), *argv)
    return Command(argv, run.results, variables, program.path)


def arguments(run: Run) -> list[str]:
    """What follows the action. The spec is an absolute path: TAO looks for a bare name inside its own package."""
    if not run.action.argv:
        return ["-e", str(run.spec.absolute())]
    given = {**run.given, "spec": str(run.spec.absolute()), "results": str(run.results)}
    if run.has_key:
        given["key"] = KEY_VARIABLE  # the name; key_launch.py puts the key in its place where `ps` does not see it
    words: list[str] = []
    for word in run.action.argv:
        value = fill(word, given)
        if "${" in value:
            words = words[:-1] if words and words[-1].startswith("-") else words
        else:
            words.append(value)
    return words


def variables_for(run: Run, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that TAO gets on top of ours; an empty one hides what would mislead it."""
    given = {"PYTHONUNBUFFERED": "1", "PYTHONPATH": "", "NGCRUN_TAO_CPU": ""}
    if "WANDB_API_KEY" not in environ:
        given["WANDB_MODE"] = "disabled"  # TAO's default asks for a login. Source: nvidia-tao-core 7.3.0, wandb.enable
    if run.load_objects:
        given["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"  # see runtime/tao/checkpoint.py
    if run.device == "cpu":
        given |= {
            **SHIMS.get(run.network.image, SHIMS["tao-pyt"]),
            "HF_HUB_OFFLINE": environ.get("HF_HUB_OFFLINE", "1"),
            "NO_ALBUMENTATIONS_UPDATE": "1",  # it asks the internet for its newest version when it is imported
        }
        given["OMP_NUM_THREADS"] = environ.get("OMP_NUM_THREADS", str(os.cpu_count() or 1))
    return given | distribution(environ)


def distribution(environ: Mapping[str, str]) -> dict[str, str]:
    """AzureML's variables as TAO's: WORLD_SIZE counts nodes, and TAO starts the processes of a node itself.

    Raises:
        BadInput: AzureML was asked to start more than one process a node.
    """
    if not environ.get("WORLD_SIZE"):
        return {}
    processes = _number(environ, "LOCAL_WORLD_SIZE", 1)
    rank = node_rank(environ)
    if processes > 1 or _number(environ, "LOCAL_RANK", 0) > 0:
        todo = "set distribution.process_count_per_instance: 1; TAO starts one process a GPU itself"
        raise BadInput.of("distribution", f"{processes} processes a node", "is not what TAO expects", todo)
    nodes = _number(environ, "WORLD_SIZE", 1)
    hidden = dict.fromkeys(_DISTRIBUTION, "")
    if nodes == 1:
        return hidden
    return hidden | {
        "WORLD_SIZE": str(nodes),
        "NODE_RANK": environ.get("NODE_RANK") or str(rank),
        "MASTER_ADDR": environ.get("MASTER_ADDR", ""),
        "MASTER_PORT": environ.get("MASTER_PORT", "29500"),
        **({"NUM_GPU_PER_NODE": environ["NUM_GPU_PER_NODE"]} if environ.get("NUM_GPU_PER_NODE") else {}),
    }


def node_rank(environ: Mapping[str, str]) -> int:
    """Which node of a multi-node job this is; 0 writes the outputs."""
    if _number(environ, "WORLD_SIZE", 1) == 1:
        return 0
    return _number(environ, "NODE_RANK" if environ.get("NODE_RANK") else "RANK", 0)


def _number(environ: Mapping[str, str], name: str, otherwise: int) -> int:
    text = environ.get(name) or str(otherwise)
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise BadInput.of(name, text, "is not a whole number", "unset the variable, or give the number that it means")
    return int(text)


def without_empty(environment: Mapping[str, str], names: Sequence[str] = _DISTRIBUTION) -> dict[str, str]:
    """The environment without the variables that were hidden by an empty value."""
    hidden = {*names, "PYTHONPATH", "NGCRUN_TAO_CPU", "CI_PROJECT_DIR"}
    return {k: v for k, v in environment.items() if v or k not in hidden}


def key_in(environ: Mapping[str, str]) -> bool:
    """Whether the user gave an encryption key."""
    return bool(environ.get(KEY_VARIABLE))

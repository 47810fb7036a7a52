"""Give TAO's TF1 and deploy programs the encryption key without it being in any command line. Standard library only.

Run as a script, not imported: `python key_launch.py PROGRAM WORD...`, where the word that the key belongs in is
`NGCRUN_TAO_KEY`, the name of the environment variable that holds it: `key_launch.py detectnet_v2 train -e spec.txt
-r out -k NGCRUN_TAO_KEY`. Runs on Python 3.6 and later, the one in the image included.

TAO's entrypoint takes its words apart and starts `[mpirun ...] bash -c 'VAR=... python .../train.py --key KEY ...'`,
so whatever it is given, `ps` shows. It is therefore given the variable's name, and a `python` and a `python3` that
stand first on PATH: they start this file in place of the interpreter, which puts the key into `sys.argv` of its own
process and runs the script in it. The kernel keeps showing the words that the process was started with. mpirun's ranks
on this machine inherit PATH and the variable; ranks on other machines (`--multi-node`) do not and are not served.
What remains: who may read /proc/<pid>/environ, the same user and root, can read the key.
Source: NVIDIA/tao_tensorflow1_backend (GitHub, commit 2ec95cb), nvidia_tao_tf1/cv/common/entrypoint/entrypoint.py;
nvidia-tao-deploy 7.3.0, nvidia_tao_deploy/cv/common/entrypoint/entrypoint_proto.py.
"""

import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile

VARIABLE = "NGCRUN_TAO_KEY"
PROGRAM = "NGCRUN_TAO_PROGRAM"  # tells the inner process which script is the entrypoint, if that is Python too
INNER = "--inner"
NAMES = ("python", "python3")
BAD_INPUT, NOT_FOUND = 2, 127


def write_shims(folder: str) -> None:
    """Put a `python` and a `python3` into `folder` that start this file, each for the one that PATH has now."""
    for name in NAMES:
        real = shutil.which(name)
        if real is None:
            continue
        path = os.path.join(folder, name)  # noqa: PTH118 - as in launch.py, and PATH is text
        with open(path, "w") as file:  # noqa: PTH123
            file.write(f'#!/bin/sh\nexec "{real}" "{os.path.abspath(__file__)}" {INNER} "{real}" "$@"\n')  # noqa: PTH100
        os.chmod(path, 0o700)  # noqa: PTH101


def inner(words: "list[str]") -> None:
    """Be the interpreter: run the script with the key in its words; become the real one when there is none in them."""
    real, script, rest = words[0], words[1:2], words[2:]
    entrypoint = bool(script) and os.path.realpath(script[0]) == os.environ.get(PROGRAM)
    if VARIABLE not in rest or entrypoint or script[0].startswith("-"):
        os.execv(real, [real, *script, *rest])  # noqa: S606 - an argv, no shell
    key = os.environ.pop(VARIABLE)  # what the script starts has no need of it
    sys.argv = [script[0], *(key if word == VARIABLE else word for word in rest)]
    sys.path[0] = os.path.dirname(os.path.abspath(script[0]))  # noqa: PTH100, PTH120
    runpy.run_path(script[0], run_name="__main__")


def outer(words: "list[str]") -> int:
    """Run the program to its end behind the shims; gives its exit status, 128 and the number when a signal ended it."""
    if VARIABLE in words and not os.environ.get(VARIABLE):
        print(f"{VARIABLE}='': no key is in this environment variable; set it to the model's key", file=sys.stderr)
        return BAD_INPUT
    program = shutil.which(words[0])
    if program is None:
        print(f"{words[0]}: there is no such program on this machine", file=sys.stderr)
        return NOT_FOUND
    folder = tempfile.mkdtemp(prefix="ngcrun-key-")
    try:
        write_shims(folder)
        env = dict(os.environ, PATH=folder + os.pathsep + os.environ.get("PATH", os.defpath))
        env[PROGRAM] = os.path.realpath(program)
        process = subprocess.Popen([program, *words[1:]], env=env)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda got, _frame: process.send_signal(got))
        status = process.wait()
        return 128 - status if status < 0 else status
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    if sys.argv[1:2] == [INNER]:
        inner(sys.argv[2:])
    else:
        sys.exit(outer(sys.argv[1:]))

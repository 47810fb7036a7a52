"""A child program: become the program that is given, with a terminal as standard input.

`python launcher_tty.py PROGRAM [ARGUMENT ...]`. The launcher runs `docker exec -it`, which ends with "the input device
is not a TTY" in a job; and without `tty` its container, whose command is a bare shell, ends before anything is run.
Source: nvidia-tao 6.26.3, docker_handler.py; NVIDIA/tao_pytorch_backend (GitHub), release/docker/Dockerfile.
"""

import os
import sys

if __name__ == "__main__":
    master, terminal = os.openpty()
    os.set_inheritable(master, True)  # the terminal lasts as long as the program
    os.dup2(terminal, 0)
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - an argv, no shell

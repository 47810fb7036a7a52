"""A stand-in for Open MPI's mpirun on one machine: starts the command once a rank and waits for all of them."""

from __future__ import annotations

import os
import subprocess
import sys


def main(words: list[str]) -> int:
    ranks = int(words[words.index("-np") + 1])
    command = words[words.index("bash") :]
    started = [
        subprocess.Popen(
            command, env={**os.environ, "OMPI_COMM_WORLD_RANK": str(rank), "OMPI_COMM_WORLD_SIZE": str(ranks)}
        )
        for rank in range(ranks)
    ]
    return max(process.wait() for process in started)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What one engine shares out among its steps: containers, GPUs, secrets; and one process started with all of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime import vendor
from runtime.errors import ToolFailed
from runtime.local import docker, guard
from runtime.local.lease import Lease, wanted
from runtime.local.plan import Planned
from runtime.masks import NAMES_VARIABLE, Masks

GUARD = Path(guard.__file__)
MARK = "NGCRUN_METRICS_FILE"  # in the environment of every process of a step, with a value of the step's own
GRACE_S = 10.0  # between SIGTERM and SIGKILL, as `docker stop` has it


@dataclass
class Machine:
    """What the steps of one run share."""

    lease: Lease = field(default_factory=lambda: Lease([]))
    gpus: int | None = None  # a step, as `--gpus` says; None: as the step asks
    docker: docker.Docker | None = None
    masks: Masks = field(default_factory=Masks)
    secret_names: tuple[str, ...] = ()  # a step hides them in what it reports itself, too
    mounts: bool = False  # inputs become read-only mounts

    @property
    def kept_read_only(self) -> str:
        """How inputs are kept from being written to, or a write is noticed."""
        return "container mounts" if self.docker else "mounts" if self.mounts else "fingerprints"

    def run(
        self, planned: Planned, env: Mapping[str, str], stopping: threading.Event, started: Callable[[Any], None]
    ) -> int | None:
        """Run one planned step to its end; returns its exit status, None when it was stopped before it began.

        `started` is given the process. Raises `ToolFailed` when it takes longer than its limit or cannot start.
        """
        count = wanted(planned.step, self.gpus, len(self.lease.devices))
        with self.lease.take(count, stopping) as devices:
            if stopping.is_set() or len(devices) < count:
                return None
            command = planned.command
            if self.docker is not None:
                command = docker.with_gpus(command, devices)
                own = dict(env) if self.docker.network != "none" else docker.within(env)
                name = docker.container_name(planned)
                guarded = (sys.executable, "-I", "-S", str(GUARD), name, "--", *command.argv)
                environ = {**os.environ, **command.env, **own}
                status = None
                try:
                    status = self._wait(planned, guarded, environ, stopping, started)
                finally:
                    # The guard may have been killed with the rest.
                    if status is None or status < 0 or stopping.is_set():
                        guard.remove("docker", name)
                return status
            shown = {"CUDA_VISIBLE_DEVICES": ",".join(devices)} if self.lease.devices else {}
            names = {NAMES_VARIABLE: ",".join(self.secret_names)} if self.secret_names else {}
            environ = command.environment(_not_ours(os.environ)) | shown | names | dict(env)
            return self._wait(planned, command.argv, environ, stopping, started)

    def _wait(
        self,
        planned: Planned,
        argv: tuple[str, ...],
        environ: Mapping[str, str],
        stopping: threading.Event,
        started: Callable[[Any], None],
    ) -> int:
        with vendor.running(
            argv,
            planned.log,
            env=environ,
            cwd=planned.command.cwd,
            read_only=planned.command.read_only,
            grace_s=GRACE_S * (2 if self.docker else 1),  # the guard has a grace of its own, and docker its time
            masks=self.masks or None,
        ) as process:
            started(process)
            if stopping.is_set():  # set between the look above and the start
                vendor.signal_group(process.pid, signal.SIGTERM)
            try:
                status = process.wait(planned.timeout_s)
            except subprocess.TimeoutExpired:
                vendor.stop(process, GRACE_S)
                raise ToolFailed(f"took longer than its limits.timeout of {planned.timeout_s:g} s") from None
        if self.docker is None:
            vendor.end_by_environment(f"{MARK}={planned.command.env[MARK]}")
        if self.docker is not None and (why := docker.reason(vendor.tail(planned.log), status)):
            raise ToolFailed(why)
        return status


def _not_ours(environ: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without his own MLflow run, which is not the step's."""
    return {k: v for k, v in environ.items() if k not in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID")}


def mask_file(path: Path, masks: Masks) -> None:
    """Take the secrets out of a file that a step wrote itself: its figures."""
    if not masks or not path.is_file():
        return
    before = path.read_bytes()
    after = masks.hide(before)
    if after != before:
        path.write_bytes(after)

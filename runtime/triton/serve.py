"""A tritonserver for as long as a `with` block lasts: on 127.0.0.1 only, and gone afterwards whatever happens."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime import vendor
from runtime.errors import BadInput, NgcrunError, Problem, ToolFailed
from runtime.triton.serve_env import Server, find_server

HOST = "127.0.0.1"
SHM = Path("/dev/shm")  # noqa: S108 - where the kernel puts POSIX shared memory; nothing is created there by us
POLL_S = 0.02
RELOAD_S = 60.0
# What a server says in its log before it waits for ever. Source: measured with 2.51.0, docs/triton.md.
_STUCK = re.compile(
    r"error while loading shared libraries: .*|Python model file not found in '[^']*'|terminate called after .*"
)
_SPLIT = re.compile(r"[^\w/.,:@%+=-]")
# The API answers "failed to poll from model repository"; only the log says why.
_POLL = re.compile(r"Poll failed for model directory '[^']*': (.*?)\"?$", re.MULTILINE)
_PARSE = re.compile(r"Error parsing text-format inference\.ModelConfig: (.*?)\"?$", re.MULTILINE)
_PORT_TAKEN = re.compile(r"Socket '[^']*:(\d+)' already in use")


@dataclass(frozen=True)
class Running:
    """A server that has loaded its models: where it listens, its log, and how long loading took, in seconds."""

    http: str
    grpc: str
    log: Path
    ready_s: float


@contextlib.contextmanager
def serving(  # noqa: PLR0913 - what a server has
    server: Server,
    repository: Path,
    models: Sequence[str],
    *,
    http_port: int = 0,
    grpc_port: int = 0,
    timeout_s: float = 60.0,
    as_python: bool = False,
) -> Iterator[Running]:
    """Serve `models` of `repository`; a port of 0 is chosen. When the block is left the server is gone.

    `as_python`: serve copies of the ONNX models that run on the python backend.

    Raises:
        BadInput: when a port that was asked for is taken.
        ToolFailed: when the server or a model is not ready within `timeout_s`, with the true cause from its log, which
            is kept in the temporary folder.
    """
    start = time.monotonic()
    ports = _ports(http_port, grpc_port)
    prefix = f"ngcrun-{os.getpid()}-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory(prefix="ngcrun-serve-", ignore_cleanup_errors=True) as work, _kept_log():
        if as_python:
            from runtime.triton.twins import python_twins

            repository = python_twins(repository, models, Path(work))
        argv = command(server, plain_path(repository, Path(work)), backend_folder(server, Path(work)), ports, prefix)
        log = Path(work) / "server.log"
        try:
            # No grace: SIGTERM takes the server 3 s and more (measured), and nothing of it is kept.
            with vendor.running(argv, log, env=server.env(), grace_s=0) as process, _guarded(process.pid, work, prefix):
                until = start + timeout_s
                _wait_alive(process, ports[0], log, until)
                for name in models:
                    _load(process, ports[0], name, log, until)
                yield Running(f"{HOST}:{ports[0]}", f"{HOST}:{ports[1]}", log, time.monotonic() - start)
        finally:
            remove_shared_memory(prefix)


@contextlib.contextmanager
def _kept_log() -> Iterator[None]:
    """Moves the log that a failure speaks of out of the work folder, so that it can still be read."""
    try:
        yield
    except ToolFailed as error:
        if error.log is not None and error.log.is_file():
            handle, name = tempfile.mkstemp(prefix="ngcrun-tritonserver-", suffix=".log")
            os.close(handle)
            error.log = Path(shutil.copyfile(error.log, name))
        raise


def command(server: Server, repository: Path, backends: Path, ports: tuple[int, int], prefix: str) -> list[str]:
    """The argv. Explicit mode, because loading a model by request gives an error for that model."""
    return [
        str(server.binary),
        f"--model-repository={repository}",
        f"--backend-directory={backends}",
        "--model-control-mode=explicit",
        f"--http-address={HOST}", f"--http-port={ports[0]}",
        f"--grpc-address={HOST}", f"--grpc-port={ports[1]}",
        "--allow-metrics=false",
        "--disable-auto-complete-config",  # what config.pbtxt says is what is verified
        f"--backend-config=python,shm-region-prefix-name={prefix}",
    ]  # fmt: skip


def plain_path(repository: Path, work: Path) -> Path:
    """The repository by a path that a shell does not split: the server starts its Python stub by `bash -c`.

    Source: python_backend r24.10, src/stub_launcher.cc; measured: with a blank in the path the stub dies ("stol").
    """
    if not _SPLIT.search(str(repository)):
        return repository
    link = work / "repository"
    link.symlink_to(repository.absolute())
    return link


def backend_folder(server: Server, work: Path) -> Path:
    """The server's backends; for the wheel's server a folder that has the stub of the right Python, made of links."""
    if server.stub is None:
        return server.backend_dir
    folder = work / "backends" / "python"
    folder.mkdir(parents=True)
    for path in [*(p for p in (server.backend_dir / "python").iterdir() if p.is_file()), server.stub]:
        (folder / path.name).symlink_to(path)
    return folder.parent


def _ports(http_port: int, grpc_port: int) -> tuple[int, int]:
    """Two free ports. The sockets are held together while choosing, so that the two differ."""
    with contextlib.ExitStack() as held:
        found, problems = [], []
        for name, port in (("http_port", http_port), ("grpc_port", grpc_port)):
            held_socket = held.enter_context(socket.socket())
            held_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                held_socket.bind((HOST, port))
            except OSError:
                problems.append(
                    Problem(name, port, f"is in use on {HOST}", f"stop what uses it, or say {name}=0 for a free one")
                )
                continue
            found.append(held_socket.getsockname()[1])
        if problems:
            raise BadInput(problems)
    return found[0], found[1]


@contextlib.contextmanager
def _guarded(group: int, work: str, prefix: str) -> Iterator[None]:
    """A small process of its own that cleans up if this one is killed; it ends with the block."""
    argv = [sys.executable, "-I", "-S", str(Path(__file__).with_name("guard.py")), str(group), work, prefix]
    guard = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield
    finally:
        guard.kill()
        guard.communicate()


def reload_model(running: Running, name: str) -> None:
    """Make the server load a model anew, as it is; raises `ToolFailed`.

    A server skips a model of which nothing has changed, so a parameter that nobody reads is added to what it is told.
    """
    port = int(running.http.rpartition(":")[2])
    status, text = _request(port, "GET", f"/v2/models/{name}/config", RELOAD_S)
    if status == 200:
        config = json.loads(text)
        config.setdefault("parameters", {})["ngcrun_reload"] = {"string_value": secrets.token_hex(4)}
        body = json.dumps({"parameters": {"config": json.dumps(config)}})
        status, text = _request(port, "POST", f"/v2/repository/models/{name}/load", RELOAD_S, body)
    if status != 200:
        raise ToolFailed(f"model {name!r} cannot be loaded again: {load_error(text, vendor.tail(running.log, 400))}")


def remove_shared_memory(prefix: str) -> None:
    """Remove what a killed server left: its regions carry the prefix that it was started with."""
    for path in SHM.glob(f"{prefix}*"):
        path.unlink(missing_ok=True)


def _wait_alive(process: subprocess.Popen[bytes], port: int, log: Path, until: float) -> None:
    while True:
        _require_running(process, log)
        with contextlib.suppress(OSError, http.client.HTTPException):
            if _request(port, "GET", "/v2/health/live", 1.0)[0] == 200:
                return
        if time.monotonic() > until:
            raise ToolFailed(
                "tritonserver did not start in time; allow more with start_timeout_s", log, vendor.tail(log)
            )
        time.sleep(POLL_S)


def _require_running(process: subprocess.Popen[bytes], log: Path) -> None:
    if process.poll() is None:
        return
    text = vendor.tail(log, 400)
    taken = _PORT_TAKEN.search(text)
    why = f"port {taken[1]} was taken meanwhile; run it again" if taken else f"exit status {process.returncode}"
    raise ToolFailed(f"tritonserver ended while starting: {why}", log, vendor.tail(log))


def _load(process: subprocess.Popen[bytes], port: int, name: str, log: Path, until: float) -> None:
    """Load one model. A load can hang for ever (a model.py that is missing), so it runs beside a watch on the log."""
    answers: list[tuple[int, str] | OSError | http.client.HTTPException] = []

    def ask() -> None:
        try:
            answers.append(
                _request(port, "POST", f"/v2/repository/models/{name}/load", max(0.1, until - time.monotonic()))
            )
        except (OSError, http.client.HTTPException) as error:
            answers.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    while thread.is_alive() and time.monotonic() < until:
        thread.join(POLL_S)
        stuck = _STUCK.search(vendor.tail(log, 400))
        if stuck:
            raise ToolFailed(f"model {name!r} cannot load: {stuck[0]}", log, vendor.tail(log))
        _require_running(process, log)
    if not answers or not isinstance(answers[0], tuple):
        raise ToolFailed(
            f"model {name!r} was not ready in time; allow more with start_timeout_s", log, vendor.tail(log)
        )
    status, text = answers[0]
    if status != 200:
        raise ToolFailed(
            f"model {name!r} cannot load: {load_error(text, vendor.tail(log, 400))}", log, vendor.tail(log)
        )


def load_error(text: str, log: str) -> str:
    """One line that says why a model did not load: from the answer, or from the log where the answer hides it."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        text = json.loads(text)["error"]
    if "failed to poll" in text:
        found = _PARSE.findall(log) or _POLL.findall(log)
        text = found[-1] if found else text
    line = " ".join(text.split("\n\nAt:", maxsplit=1)[0].split()).rstrip(" .;")
    return "; ".join(dict.fromkeys(line.split("; ")))  # a failed warm-up is told once a row


def _request(port: int, method: str, path: str, timeout_s: float, body: str | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout_s)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")
    finally:
        connection.close()


def cli(argv: Sequence[str]) -> int:
    """`python -m runtime.triton.serve REPOSITORY [-- COMMAND...]`: serve every model while a command runs, or for ever.

    `{http}` and `{grpc}` in the command become the addresses; returns the command's exit status.
    """
    folder, command_line = Path(argv[0]) if argv else Path(), list(argv[2:])
    models = sorted(p.parent.name for p in folder.glob("*/config.pbtxt")) if argv else []
    if not models or argv[1:2] not in ([], ["--"]):
        print("usage: python -m runtime.triton.serve REPOSITORY [-- COMMAND...]", file=sys.stderr)
        return 2
    try:
        with serving(find_server(), folder.resolve(), models) as running:
            print(f"http {running.http}  grpc {running.grpc}  models {', '.join(models)}", flush=True)
            if not command_line:
                threading.Event().wait()
            words = [w.replace("{http}", running.http).replace("{grpc}", running.grpc) for w in command_line]
            return subprocess.run(words, check=False).returncode
    except NgcrunError as error:
        print("\n".join(error.lines("serve")), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(cli(sys.argv[1:]))

"""The corpus of broken repositories, shown to the real tritonserver: who sees which fault, in docs/triton-faults.md.

`NGCRUN_WRITE_DOCS=1` writes the table, otherwise it is compared.
"""

import concurrent.futures
import contextlib
import http.client
import json
import os
import re
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.errors import BadInput
from runtime.triton import serve
from runtime.triton.backends import KNOWN
from runtime.triton.check import check_repository
from runtime.triton.serve_env import find_server
from tests.fakes import triton_faults, triton_file_faults
from tests.fakes.triton_broken import NAMES, Corpus, Fault, numbered

TABLE = Path(__file__).parents[2] / "docs" / "triton-faults.md"
FAULTS = (*triton_faults.ROWS, *triton_file_faults.ROWS)
# Faults that only running the model's code, or the machine that it runs on, can show; what we say of each is a note.
ONLY_A_SERVER_TELLS = {
    "a GPU where there is none",
    "a field of newer servers",
    "another field of newer servers",
    "a module that the server lacks",
    "an initialize that fails",
}
NOT_JUDGED = "not judged here: the server lacks the backend"
LOADS = 3  # at the same time; a server has 4 threads for them
# Loads that never end: each keeps a thread of its server, and whoever asks that thread waits too.
ENDLESS = (
    "no model.py",
    "model.py beside the version folder",
    "a version folder called 1abc",
    "a default file that is not there",
)
# A load that the server refuses, and of which it dies at times (2 of 12 when measured): its text is only compared in part.
DEADLY = "a warm-up above max_batch_size"
REFUSED = "Invalid argument: failed to run warmup sample 'w': batch size 9 for 'fare_0_0', max allowed is 8"
HEAD = """\
# Broken model repositories: who sees what

Written by `tests/triton/test_fault_table.py` from one repository a fault (`tests/fakes/triton_faults.py`,
`tests/fakes/triton_file_faults.py`), each good but for that fault. *Our line*: what `triton_verify` says without a server
(`note`: it passes, and says that only a server can tell). *The server*: what tritonserver 2.51.0 (nvidia-pytriton 0.7.0, no
GPU, `--disable-auto-complete-config`) says when it is to load the same files, and to a request of zeros where it does. It
has no other backend than python, so files for other backends were not shown to it. *Reported*: who met the fault, or where
the server has its rule: `server#N` is an issue of triton-inference-server/server, `core`, `fil_backend`,
`onnxruntime_backend` are its sources, `server QA` its own tests (`qa/L0_model_config`).

"""


@dataclass(frozen=True)
class Verdict:
    """What our check and the server say of one fault."""

    fault: Fault
    ours: str
    is_note: bool
    server: str
    refused: bool

    @property
    def who(self) -> str:
        if self.server == NOT_JUDGED:
            return "not judged here"
        if not self.refused:
            return "nobody" if self.is_note else "only we"
        return "only the server" if self.is_note else "both"


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """Every fault, judged by us and by a server that holds all of them."""
    folder, everything = tmp_path_factory.mktemp("faults"), tmp_path_factory.mktemp("all")
    corpus = Corpus(folder)
    ours = []
    for number, fault in enumerate(FAULTS):
        repository = corpus.broken(fault, folder / f"{number:03d}")
        numbered(repository, number)
        ours.append(judged_by_us(repository, number))
        if not fault.native:
            for path in repository.iterdir():
                (everything / path.name).symlink_to(path)
    with serve.serving(find_server(), everything, []) as running:
        theirs = judged_by_the_server(running)
    for number in (n for n, fault in enumerate(FAULTS) if fault.name in (*ENDLESS, DEADLY)):
        with serve.serving(find_server(), everything, []) as running:
            theirs[number] = judged(running, number)
    return [
        Verdict(fault, *ours[number], *theirs.get(number, (NOT_JUDGED, False))) for number, fault in enumerate(FAULTS)
    ]


def judged_by_us(repository, number):
    """(the line, whether it is only a note)."""
    try:
        notes, lines = check_repository(repository).notes, []
    except BadInput as error:
        notes, lines = [], error.lines()
    (line,) = notes or lines
    return plain(line.replace(f"{repository}/", "").replace(str(repository), "."), number), bool(notes)


def plain(text, number):
    """Without what is chance: the number in the models' names."""
    return re.sub(rf"\b({'|'.join(NAMES)}){number:03d}", r"\1", text)


def judged_by_the_server(running):
    found = {}
    with concurrent.futures.ThreadPoolExecutor(LOADS) as pool:
        # Text that cannot be parsed is told in a line of the log without a name, so one at a time.
        alone = [n for n, f in enumerate(FAULTS) if f.line.startswith("is no model configuration")]
        others = [
            n for n, f in enumerate(FAULTS) if not f.native and n not in alone and f.name not in (*ENDLESS, DEADLY)
        ]
        for number in alone:
            found[number] = judged(running, number)
        found |= zip(others, pool.map(lambda n: judged(running, n), others), strict=True)
    return found


def judged(running, number):
    """(what the server says to a load and then to a request, whether it refuses)."""
    fault = FAULTS[number]
    name = f"{'both' if fault.base == 'ensemble' else 'fare'}{number:03d}"
    start = running.log.stat().st_size
    endless = rf"Python model file not found in '[^']*/{name}/[^']*'|Signal \(11\) received"
    found = loaded(running, name, lambda: re.search(endless, log_since(running, start)))
    if fault.name == DEADLY:
        assert found is None or plain(found[1], number).find(REFUSED.partition(": ")[2]) > 0
        return f"{REFUSED}; at times it dies (signal 11)", True
    if found is None:
        return "loads for ever: Python model file not found", True
    status, text = found
    lacking = re.search("unable to find backend library for backend '([^']*)'", text)
    if lacking and lacking[1] in KNOWN:
        return NOT_JUDGED, False
    if status != 200:
        return told(text, log_since(running, start), name, number), True
    answer = asked(running, name, number)
    request(running, "POST", f"/v2/repository/models/{name}/unload", {"parameters": {"unload_dependents": True}}, 60)
    return answer, False


def loaded(running, name, is_endless):
    """(status, text) of a load; None for one that the log says will never end."""
    answers = []
    path = f"/v2/repository/models/{name}/load"

    def ask():
        with contextlib.suppress(OSError, http.client.HTTPException):  # the server ends before an endless load does
            answers.append(request(running, "POST", path, {}, 60))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.05)
        if is_endless():
            return None
    assert answers, f"{name}: no answer to its load in 60 s; the log ends: {log_since(running, 0)[-3000:]}"
    return answers[0]


def log_since(running, start):
    return running.log.read_bytes()[start:].decode(errors="replace")


def asked(running, name, number):
    """What a request of zeros gets, as the config promises to take it."""
    config = json.loads(request(running, "GET", f"/v2/models/{name}/config", None, 60)[1])
    inputs = []
    for entry in config.get("input", []):
        dims = [1 if int(d) < 0 else int(d) for d in entry["dims"]]
        dims = [1, *dims] if config.get("max_batch_size", 0) else dims
        size = 1
        for d in dims:
            size *= d
        kind = entry["data_type"].removeprefix("TYPE_").replace("STRING", "BYTES")
        inputs.append(
            {"name": entry["name"], "shape": dims, "datatype": kind, "data": ["" if kind == "BYTES" else 0] * size}
        )
    status, text = request(running, "POST", f"/v2/models/{name}/infer", {"inputs": inputs}, 60)
    if status == 200:
        return "accepts it and answers"
    return f"accepts it, and a request gets: {told(text, '', name, number)}"


def told(text, log, name, number):
    """One line of an answer, or of the log where the answer hides it."""
    poll = re.search(rf"Poll failed for model directory '{name}': (.*?)\"?$", log, re.MULTILINE)
    parse = re.search(r"Error parsing text-format inference\.ModelConfig: (.*?)\"?$", log, re.MULTILINE)
    if poll and "failed to poll" in text:
        text = json.dumps({"error": parse[1] if parse and "text proto" in poll[1] else poll[1]})
    line = serve.load_error(text, "")
    line = line.removeprefix(f"load failed for model '{name}': ").removeprefix("version 1 is at UNAVAILABLE state: ")
    line = re.sub(r"(/[\w.-]+)+/(?=(?:fare|scale|both)\d{3})", "", line)
    return plain(line, number)[:240]


def request(running, method, path, body, timeout_s):
    host, port = running.http.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=timeout_s)
    with contextlib.closing(connection):
        connection.request(method, path, None if body is None else json.dumps(body))
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")


def table(verdicts):
    """The document."""
    count = Counter(v.who for v in verdicts)
    lines = [f"| {len(verdicts)} faults | seen by |", "|---|---|"]
    lines += [f"| {count[who]} | {who} |" for who in ("both", "only we", "only the server", "not judged here")]
    lines += ["", "| fault | reported | our line | the server | seen by |", "|---|---|---|---|---|"]
    for v in verdicts:
        ours = f"note: {code(v.ours)}" if v.is_note else code(v.ours)
        theirs = v.server if v.server == NOT_JUDGED else code(v.server)
        lines.append(f"| {v.fault.name} | {v.fault.source} | {ours} | {theirs} | {v.who} |")
    return HEAD + "\n".join(lines) + "\n"


def code(text):
    """As a code span in a cell of a table."""
    marks = "``" if "`" in text else "`"
    return f"{marks}{text}{marks}".replace("|", "\\|")


def test_the_table_of_who_sees_what_is_true(verdicts):
    text = table(verdicts)
    if os.environ.get("NGCRUN_WRITE_DOCS"):
        TABLE.write_text(text)
    assert TABLE.read_text() == text


def test_nothing_that_the_server_refuses_passes_us_silently(verdicts):
    assert len(verdicts) == len(FAULTS)
    assert all(v.ours for v in verdicts)
    assert {v.fault.name for v in verdicts if v.who == "only the server"} <= ONLY_A_SERVER_TELLS
    assert {v.fault.name for v in verdicts if v.is_note} == ONLY_A_SERVER_TELLS

"""A stand-in for NVIDIA's perf_analyzer, which no package carries any more: what 2.47.0 wrote of a model that waits 10 ms.

`FAKE_PERF` says what goes wrong: `unsteady` (at 10 percent; at 50 it finds a rate), `never` (not at 50 either), `refused`, `newer` (another table).
"""

import os
import sys
from pathlib import Path

HEAD = "Concurrency,Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,Server Compute Input,Server Compute Infer,Server Compute Output,Client Recv,p50 latency,p90 latency,p95 latency,p99 latency"
ROWS = {
    ("1", "1"): "1,85.0276,8,184,55,24,10493,512,3,11184,11503,11647,15719",
    ("1", "16"): "16,88.3712,8,184,170055,24,10493,512,3,181027,183653,184417,184909",
    ("4", "1"): "1,353.588,8,184,55,24,10493,512,3,11143,11653,11801,12763",
}
UNSTEADY = "Failed to obtain stable measurement within 6 measurement windows for concurrency 1. Please try to increase the --measurement-interval.\nFailed to obtain stable measurement.\n"
REFUSED = "error: failed to get model metadata: Request for unknown model: 'gone' is not found\n"

if __name__ == "__main__":
    said = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    wrong = os.environ.get("FAKE_PERF", "")
    if wrong in ("refused", "never") or (wrong == "unsteady" and said["--stability-percentage"] == "10"):
        sys.stdout.write(REFUSED if wrong == "refused" else UNSTEADY)
        sys.exit(99)
    print("Request concurrency: 1\n  Client: \n    Request count: 102\n    Throughput: 85.0276 infer/sec")
    row = ROWS.get((said["-b"], said["--concurrency-range"]), ROWS["1", "1"])
    Path(said["-f"]).write_text((HEAD.replace("p99", "99") if wrong == "newer" else HEAD) + "\n" + row + "\n")

r"""Why a TAO run failed, from what it printed: one line that says what is wrong and what to do.

A row is added for each failure that a user meets: the text as TAO, torch or the driver prints it, ours, and a way out.
`\1` stands for what the pattern caught. The first row that fits the end of the log wins.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Source of the texts: nvidia-tao-pytorch 7.3.0 with torch 2.9.1 (run on a CPU); CUDA's and NCCL's: PyTorch's own messages;
# TF1's: NVIDIA/tao_tensorflow1_backend (read). Docker's: dockerd 20.10 and the launcher nvidia-tao 6.26.3.
_ROWS = (
    (r"CUDA out of memory|OutOfMemoryError|OOM when allocating tensor|Ran out of GPU memory|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED",
     "ran out of GPU memory", "lower the batch size, the image size or train.precision, or take a larger GPU"),
    (r"No space left on device|Disk quota exceeded",
     "the disk is full", "free some space, keep fewer checkpoints (train.checkpoint_interval), or use another disk"),
    (r"driver on your system is too old|CUDA driver version is insufficient|forward compatibility was attempted",
     "the NVIDIA driver is older than this CUDA needs", "update the driver, or take an image with an older CUDA"),
    (r"no kernel image is available for execution",
     "this build of CUDA code does not support the GPU", "take a GPU or an image that match (`ngcrun doctor`)"),
    (r"could not select device driver",
     "docker has no NVIDIA runtime", "install the NVIDIA Container Toolkit (`ngcrun doctor` says what is here)"),
    (r"Docker pull failed",
     "the image could not be pulled", "check the login (docker login nvcr.io), the network and the disk"),
    (r"Found no NVIDIA driver|No CUDA GPUs are available|no CUDA-capable device|libcuda\.so\.1: cannot open",
     "there is no GPU that TAO can use", "run on a GPU node (docker: --gpus all), or rehearse with device=cpu"),
    (r"(?i)bus error|return code -7|insufficient shared memory|DataLoader worker .* is killed by signal",
     "a data loader died, most often for want of shared memory", "docker: --shm-size 8g; or set workers=0 in the spec"),
    (r"Weights only load failed|Unsupported global",
     "torch's safe loader refused the checkpoint", "add trust_checkpoint=true if you know where it comes from"),
    (r"(?i)invalid decryption|decryption failed|incorrect (?:en|de)?cryption key|the key used to load the model is incorrect",
     "the encryption key is not the one that the model was written with", "set NGCRUN_TAO_KEY to the right key"),
    (r"size mismatch for (\S+?):",
     r"the checkpoint does not fit the model of the spec (\1)", "use the spec that the checkpoint was trained with"),
    (r"Error\(s\) in loading state_dict|Missing key\(s\) in state_dict",
     "the checkpoint does not fit the model of the spec", "use the spec that the checkpoint was trained with"),
    (r"num_samples should be a positive integer value, but got num_samples=0",
     "the training set is empty", "check the folders that the spec names: TAO found no image in them"),
    (r"index (\d+) is out of bounds for dimension 0 with size (\d+)",
     r"a class id (\1) is not below num_classes (\2)", "set dataset.num_classes to the largest category id + 1"),
    (r"Checkpoint interval (\d+) > Number of epochs (\d+)",
     r"train.checkpoint_interval (\1) exceeds train.num_epochs (\2)", "lower the one or raise the other"),
    (r"Validation interval (\d+) > Number of epochs (\d+)",
     r"train.validation_interval (\1) exceeds train.num_epochs (\2)", "lower the one or raise the other"),
    (r"Key '(\S+?)' not in '(\w+)'\s+full_key: (\S+)",
     r"\3 is no key of this TAO (\2)", "`ngcrun tao check` names the nearest one"),
    (r"Could not override '(\S+?)'", r"\1 is no key of this TAO", "`ngcrun tao check` names the nearest one"),
    (r"Value '(.*?)' of type '\w+' could not be converted to (\w+)",
     r"a value ('\1') is not \2", "`ngcrun tao check` names the key"),
    (r"UnboundLocalError: .*'interval'",
     "TAO's distillation fails with its default optim.policy", "set train.optim.policy=step"),
    (r"(?i)loss is nan|nan loss|loss.{0,20}\bnan\b|Invalid loss, terminating|found nan",
     "the loss became NaN", "lower the learning rate, clip the gradient, and look for corrupt images and labels"),
    (r"Unsupported conversion mapping",
     "TAO cannot convert this pair of formats", "see docs/tao.md for the pairs"),
    (r"KeyError: .*registry|is not in the (\w+) registry",
     "the spec names a model or backbone that TAO does not have", "`ngcrun tao check` lists the options"),
    (r"Invalid learning rate: (\S+)", r"the learning rate \1 is not valid", "give train.optim.lr above 0"),
    (r"Address already in use|Port (\d+) is already in use",
     "another training uses the rendezvous port", "wait for it, or set MASTER_PORT to a free port"),
    (r"NCCL error|NCCL WARN|Watchdog caught collective operation timeout",
     "the GPUs could not talk to each other", "set NCCL_DEBUG=INFO and look at the log; check the network of the nodes"),
    (r"Read-only file system", "TAO wrote to a place that is read-only", "check results and cache paths in the spec"),
    (r"PermissionError: \[Errno 13\] Permission denied: '(.+?)'",
     r"\1 may not be written or read", "change its owner or mode, or name another path"),
    (r"FileNotFoundError: \[Errno 2\] No such file or directory: '(.+?)'",
     r"\1 does not exist", "check the paths of the spec"),
    (r"ModuleNotFoundError: No module named '(\S+?)'",
     r"TAO needs the module \1, which is not installed", "run in NVIDIA's image; on a CPU not every network is complete"),
    (r"return code -9\b",
     "was killed (signal 9)", "most often memory ran out: lower the batch size or workers, or take a larger node"),
    (r"return code -(\d+)", r"its script was ended by signal \1", "see the log"),
    (r"AttributeError: 'NoneType' object has no attribute 'shape'|cannot identify image file|Truncated File Read",
     "an image cannot be read", "`ngcrun tao check` with the dataset names it"),
)  # fmt: skip


@dataclass(frozen=True)
class Reason:
    """Why, and the way out."""

    what: str
    todo: str


def explain(log: str, status_messages: list[str] | None = None) -> Reason | None:
    """The reason that fits the end of a log (or TAO's own FAILURE messages); None when no row does."""
    text = "\n".join([log, *(status_messages or [])])
    for pattern, what, todo in _ROWS:
        matches = list(re.finditer(pattern, text))
        if matches:
            return Reason(matches[-1].expand(what), todo)
    last = re.findall(r"^(?:\w+\.)*(\w*(?:Error|Exception|Interrupt)): (.+)$", text, re.MULTILINE)
    return Reason(f"{last[-1][0]}: {last[-1][1].strip()[:300]}", "see the log") if last else None

"""Each failure that is known: a text as TAO, torch or the driver prints it, and the line that it becomes."""

from __future__ import annotations

import re

import pytest

from runtime.tao.failures import _ROWS, Reason, explain

MEMORY = "ran out of GPU memory; lower the batch size, the image size or train.precision, or take a larger GPU"
DISK = "the disk is full; free some space, keep fewer checkpoints (train.checkpoint_interval), or use another disk"
DRIVER = "the NVIDIA driver is older than this CUDA needs; update the driver, or take an image with an older CUDA"
NO_GPU = "there is no GPU that TAO can use; run on a GPU node (docker: --gpus all), or rehearse with device=cpu"
LOADER = "a data loader died, most often for want of shared memory; docker: --shm-size 8g; or set workers=0 in the spec"
KEY = "the encryption key is not the one that the model was written with; set NGCRUN_TAO_KEY to the right key"
NAN = "the loss became NaN; lower the learning rate, clip the gradient, and look for corrupt images and labels"
REGISTRY = "the spec names a model or backbone that TAO does not have; `ngcrun tao check` lists the options"
PORT = "another training uses the rendezvous port; wait for it, or set MASTER_PORT to a free port"
NCCL = "the GPUs could not talk to each other; set NCCL_DEBUG=INFO and look at the log; check the network of the nodes"
IMAGE = "an image cannot be read; `ngcrun tao check` with the dataset names it"
FIT = "use the spec that the checkpoint was trained with"

TEXTS = [
    ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.50 GiB. GPU 0 has a total capacity of 15.77 GiB", MEMORY),
    ("tensorflow.python.framework.errors_impl.ResourceExhaustedError: OOM when allocating tensor with shape[16,3,384,1248]", MEMORY),
    ("Ran out of GPU memory, please lower the batch size, use a smaller input resolution, or use a smaller backbone.", MEMORY),
    ("RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", MEMORY),
    ("OSError: [Errno 28] No space left on device: '/results/train/model_epoch_001.pth'", DISK),
    ("OSError: [Errno 122] Disk quota exceeded", DISK),
    ("RuntimeError: The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver", DRIVER),
    ("CUDA error: forward compatibility was attempted on non supported HW", DRIVER),
    ("RuntimeError: CUDA error: no kernel image is available for execution on the device", "this build of CUDA code does not support the GPU; take a GPU or an image that match (`ngcrun doctor`)"),
    ('docker: Error response from daemon: could not select device driver "" with capabilities: [[gpu]].', "docker has no NVIDIA runtime; install the NVIDIA Container Toolkit (`ngcrun doctor` says what is here)"),
    ("Exception: Docker pull failed. Please login and try again.", "the image could not be pulled; check the login (docker login nvcr.io), the network and the disk"),
    ("RuntimeError: Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU", NO_GPU),
    ("ImportError: libcuda.so.1: cannot open shared object file: No such file or directory", NO_GPU),
    ("RuntimeError: DataLoader worker (pid 71) is killed by signal: Bus error. It is possible that dataloader's workers are out of shared memory.", LOADER),
    ("INFO: Command completed with return code -7", LOADER),
    ("_pickle.UnpicklingError: Weights only load failed.\n\tWeightsUnpickler error: Unsupported global: GLOBAL omegaconf.listconfig.ListConfig was not an allowed global by default.", "torch's safe loader refused the checkpoint; add trust_checkpoint=true if you know where it comes from"),
    ("Invalid decryption. Unable to open file (file signature not found). The key used to load the model is incorrect.", KEY),
    ("RuntimeError: Error(s) in loading state_dict for ClassifierPlModel:\n\tsize mismatch for model.head.fc.weight: copying a param with shape torch.Size([10, 512])", f"the checkpoint does not fit the model of the spec (model.head.fc.weight); {FIT}"),
    ('RuntimeError: Error(s) in loading state_dict for SegFormer:\n\tMissing key(s) in state_dict: "decode_head.weight".', f"the checkpoint does not fit the model of the spec; {FIT}"),
    ("ValueError: num_samples should be a positive integer value, but got num_samples=0", "the training set is empty; check the folders that the spec names: TAO found no image in them"),
    ("IndexError: index 2 is out of bounds for dimension 0 with size 2", "a class id (2) is not below num_classes (2); set dataset.num_classes to the largest category id + 1"),
    ("AssertionError: Checkpoint interval 9 > Number of epochs 3.Please set experiment_config.train.checkpoint_interval <= 3", "train.checkpoint_interval (9) exceeds train.num_epochs (3); lower the one or raise the other"),
    ("AssertionError: Validation interval 5 > Number of epochs 3.Please set experiment_config.train.validation_interval <= 3", "train.validation_interval (5) exceeds train.num_epochs (3); lower the one or raise the other"),
    ("Key 'num_epochz' not in 'TrainExpConfig'\n    full_key: train.num_epochz\n    object_type=TrainExpConfig", "train.num_epochz is no key of this TAO (TrainExpConfig); `ngcrun tao check` names the nearest one"),
    ("Could not override 'train.num_epochz'.\nTo append to your config use +train.num_epochz=2", "train.num_epochz is no key of this TAO; `ngcrun tao check` names the nearest one"),
    ("Value 'three' of type 'str' could not be converted to Integer\n    full_key: train.num_epochs", "a value ('three') is not Integer; `ngcrun tao check` names the key"),
    ("UnboundLocalError: cannot access local variable 'interval' where it is not associated with a value", "TAO's distillation fails with its default optim.policy; set train.optim.policy=step"),
    ("Batch 12: Invalid loss, terminating training", NAN),
    ("Loss is nan, stopping training", NAN),
    ("Unsupported conversion mapping", "TAO cannot convert this pair of formats; see docs/tao.md for the pairs"),
    ("KeyError: \"No object named 'resnet_999' found in 'BACKBONE' registry!\"", REGISTRY),
    ("KeyError: 'resnet_999 is not in the models registry'", REGISTRY),
    ("ValueError: Invalid learning rate: -5.0", "the learning rate -5.0 is not valid; give train.optim.lr above 0"),
    ("torch.distributed.DistNetworkError: The server socket has failed to listen on any local network address. errno: 98 - Address already in use", PORT),
    ("torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:2251, unhandled system error", NCCL),
    ("[rank1]:[E] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=7, OpType=ALLREDUCE)", NCCL),
    ("OSError: [Errno 30] Read-only file system: '/data/classes.txt'", "TAO wrote to a place that is read-only; check results and cache paths in the spec"),
    ("PermissionError: [Errno 13] Permission denied: '/data/train'", "/data/train may not be written or read; change its owner or mode, or name another path"),
    ("FileNotFoundError: [Errno 2] No such file or directory: '/r/train/a.pth'", "/r/train/a.pth does not exist; check the paths of the spec"),
    ("ModuleNotFoundError: No module named 'detectron2.config'", "TAO needs the module detectron2.config, which is not installed; run in NVIDIA's image; on a CPU not every network is complete"),
    ("INFO: Command completed with return code -9", "was killed (signal 9); most often memory ran out: lower the batch size or workers, or take a larger node"),
    ("INFO: Command completed with return code -11", "its script was ended by signal 11; see the log"),
    ("AttributeError: 'NoneType' object has no attribute 'shape'", IMAGE),
    ("PIL.UnidentifiedImageError: cannot identify image file '/data/0.png'", IMAGE),
]  # fmt: skip


def row_of(text: str) -> int:
    return next(number for number, (pattern, _, _) in enumerate(_ROWS) if re.search(pattern, text))


@pytest.mark.parametrize(("text", "told"), TEXTS, ids=[re.sub(r"\W+", "_", text)[:40] for text, _ in TEXTS])
def test_a_known_failure_becomes_one_line(text: str, told: str) -> None:
    log = f"Epoch 0:  50%|\nTraceback (most recent call last):\n{text}\nINFO: Command completed with return code 1\n"
    reason = explain(log)
    assert reason is not None
    assert f"{reason.what}; {reason.todo}" == told
    assert explain("", [f"Parameter validation error: {text}"]) == reason


def test_every_row_has_a_text_that_hits_it() -> None:
    assert {row_of(text) for text, _ in TEXTS} == set(range(len(_ROWS)))


def test_of_several_the_row_that_stands_first_wins_and_its_last_match() -> None:
    log = "FileNotFoundError: [Errno 2] No such file or directory: '/a'\nFileNotFoundError: [Errno 2] No such file or directory: '/b'\n"
    assert explain(log) == Reason("/b does not exist", "check the paths of the spec")
    assert explain(log + "OSError: [Errno 28] No space left on device") == Reason(*DISK.split("; ", 1))


def test_an_unknown_exception_is_given_as_it_is_and_a_log_without_one_gives_nothing() -> None:
    log = "Traceback (most recent call last):\nsome.module.StrangeError: what nobody has seen\nINFO: Execution status: FAIL"
    assert explain(log) == Reason("StrangeError: what nobody has seen", "see the log")
    assert explain("all is well") is None
    assert explain("") is None

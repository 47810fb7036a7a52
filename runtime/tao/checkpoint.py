"""A checkpoint that a run is given: found in its folder, whole, of this network, and safe to unpickle.

TAO's checkpoints hold its configuration as pickled objects, so torch's safe loader refuses them and TAO is run with
`TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1`: full unpickling, which runs whatever a file tells it to. So the names that a
pickle would import are read first, without importing any: a file with only those of torch, omegaconf and TAO's own
configuration is let through, another one only when the user says that it is trusted.
"""

from __future__ import annotations

import io
import json
import pickle
import re
import zipfile
from pathlib import Path
from typing import IO, Any

from runtime.errors import BadInput, Problem
from runtime.tao.network import Network

CARD = "model.json"  # what a step of ours writes beside the checkpoint
SUFFIXES = (
    ".pth",
    ".ckpt",
    ".pt",
    ".onnx",
    ".hdf5",
    ".tlt",
    ".etlt",
    ".engine",
    ".safetensors",
    ".h5",
    ".keras",
    ".tfm",
)
_NOT_PICKLED = (".onnx", ".engine", ".safetensors", ".hdf5", ".h5", ".keras", ".tfm", ".tlt", ".etlt", ".npz")
# What a pickle may import. Source: the checkpoints of nvidia-tao-pytorch 7.3.0 (classification_pyt, rtdetr, segformer).
_SAFE = re.compile(
    r"(collections (OrderedDict|defaultdict|Counter|deque)"
    r"|torch(\._utils _rebuild_\w+|\.serialization _get_layout|\.storage \w*Storage|\._tensor _rebuild_from_type_v2)"
    r"|torch (\w*Storage|Size|device|dtype|float\d+|bfloat16|int\d+|uint8|bool|Tensor)|torch\.nn\.parameter Parameter"
    r"|omegaconf\.(listconfig ListConfig|dictconfig DictConfig|base (ContainerMetadata|Metadata|Node))"
    r"|omegaconf\.nodes \w+Node"
    r"|typing (Any|List|Dict|Optional|Union|Tuple|Set)|pathlib (Posix|Pure|PurePosix)?Path"
    r"|datetime (datetime|timedelta|date)"
    r"|(__builtin__|builtins) (list|dict|long|int|float|unicode|str|bool|set|frozenset|tuple|bytes|bytearray|complex"
    r"|slice|range|object|NoneType)"
    r"|_codecs encode|copyreg _reconstructor|copy_reg _reconstructor|__builtin__ object"
    r"|numpy (ndarray|dtype|bool_)|numpy\.dtypes \w+"
    r"|numpy\.(core|_core)\.(multiarray (_reconstruct|scalar)|numeric _frombuffer)"
    r"|nvidia_tao_(pytorch|core)\.config\.\w+(\.\w+)* [A-Z]\w+"
    r"|pytorch_lightning\.utilities\.parsing AttributeDict|lightning_fabric\.utilities\.data AttributeDict"
    r"|pytorch_lightning\.callbacks\.\w+ [A-Z]\w+"
    # A whole model, which is what OCRNet and OCDNet prune and save: layers, and what TAO builds of them for a ResNet.
    r"|argparse Namespace|torch\.nn\.modules\.\w+ [A-Z]\w+|torchvision\.ops\.deform_conv DeformConv2d"
    r"|nvidia_tao_pytorch\.cv\.ocrnet\.model"
    r"\.(model|transformation|feature_extraction|sequence_modeling|prediction) [A-Z]\w+"
    r"|nvidia_tao_pytorch\.cv\.ocdnet\.model\.(model|backbone\.resnet|head\.db_head|neck\.FPN) [A-Z]\w+)"
)
_OLD_FORMAT = 0x1950A86A20F9469CFC6C  # the first pickle of torch's format before 1.6. Source: torch/serialization.py
_NETWORK = re.compile(r"nvidia_tao_(?:pytorch|core)\.config\.(\w+)\.default_config \w*ExperimentConfig")


def find(port: str, given: Path, network: Network) -> Path:
    """The checkpoint file that a port names: itself, or the one in the folder that an earlier step wrote.

    Raises:
        BadInput: nothing in the folder is a checkpoint, or several are and no card says which.
    """
    if given.is_file():
        return given
    named = given / _named_by_card(given)
    if named.is_file():
        return named
    files = sorted(p for p in given.rglob("*") if p.suffix in SUFFIXES and p.is_file())
    latest = [p for p in files if network.latest and p.match(network.latest)]
    found = latest or files
    if len(found) == 1 or latest:
        return found[-1]
    if not found:
        raise BadInput.of(port, given, "holds no checkpoint", f"name a file ({', '.join(SUFFIXES[:5])}) or its folder")
    names = ", ".join(p.name for p in found[:4])
    raise BadInput.of(port, given, f"holds several checkpoints ({names})", "name the file")


def _named_by_card(folder: Path) -> str:
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none, or cut short: the folder itself says what it holds
        return ""
    return str(card.get("checkpoint") or "") if isinstance(card, dict) else ""


def is_pickled(file: Path) -> bool:
    """Whether TAO would unpickle it, as far as its name says: whatever is not of another format."""
    return file.suffix not in _NOT_PICKLED


def check(port: str, file: Path, network: Network, *, trusted: bool, has_key: bool) -> list[Problem]:
    """All that speaks against loading a checkpoint file."""
    if file.suffix in (".tlt", ".etlt"):
        return _encrypted(port, file, network, has_key=has_key)
    if file.suffix == ".hdf5" and not network.is_tf1 and not network.image.endswith("tf2"):
        todo = f"{network.name} takes .pth; export the old network to ONNX, or train {network.name} anew"
        return [Problem(port, file, "is a TF1 checkpoint (Keras HDF5), which PyTorch networks cannot load", todo)]
    if file.stat().st_size == 0:
        return [Problem(port, file, "is empty", "copy it again; it was not written to its end")]
    if not is_pickled(file) or network.is_tf1 or network.image.endswith("tf2"):
        return []
    try:
        names = imported_names(file)
    except (zipfile.BadZipFile, pickle.UnpicklingError, ValueError, LookupError, EOFError, TypeError) as error:
        why = str(error) or type(error).__name__
        return [Problem(port, file, f"is damaged or cut short ({why})", "copy it again, or take an earlier one")]
    return [*_other_network(port, file, network, names), *([] if trusted else _unsafe(port, file, names))]


def _encrypted(port: str, file: Path, network: Network, *, has_key: bool) -> list[Problem]:
    if network.is_tf1:
        todo = "set NGCRUN_TAO_KEY to the key that it was written with"
        return [] if has_key else [Problem(port, file, "is encrypted and there is no key", todo)]
    todo = "take the decrypted .pth (or ONNX) of the same model from NGC, or export it with the TAO that wrote it"
    return [Problem(port, file, f"is a {file.suffix} of TAO 4 and earlier, which TAO 5 and later do not read", todo)]


def _other_network(port: str, file: Path, network: Network, names: set[str]) -> list[Problem]:
    found = sorted({match[1] for name in names if (match := _NETWORK.fullmatch(name))})
    if not found or network.schema in found:
        return []
    todo = f"give a checkpoint of {network.name}, or run network={found[0]}"
    return [Problem(port, file, f"was written by {', '.join(found)}, not by {network.name}", todo)]


def _unsafe(port: str, file: Path, names: set[str]) -> list[Problem]:
    strange = sorted(name.replace(" ", ".") for name in names if not _SAFE.fullmatch(name))
    if not strange:
        return []
    listed = ", ".join(strange[:4]) + (f" and {len(strange) - 4} more" if len(strange) > 4 else "")
    todo = "if you know where it comes from, add trust_checkpoint=true"
    return [Problem(port, file, f"would run code when it is loaded ({listed})", todo)]


def imported_names(file: Path) -> set[str]:
    """`module name` of all that unpickling a torch file would import; nothing of it is imported or run here.

    Raises:
        ValueError, zipfile.BadZipFile, EOFError and the like: the file is no whole torch checkpoint.
    """
    with file.open("rb") as opened:
        return _names_in(opened)


def _names_in(opened: IO[bytes]) -> set[str]:
    head = opened.read(2)
    opened.seek(0)
    if head == b"PK":
        with zipfile.ZipFile(opened) as archive:
            pickles = [n for n in archive.namelist() if n.endswith(".pkl")]
            if not pickles:
                raise ValueError("no pickle in it")
            return set().union(*(_names_of(io.BytesIO(archive.read(n)))[0] for n in pickles))
    if head[:1] != b"\x80":
        raise ValueError("neither a zip nor a pickle")
    names, first = _names_of(opened)
    if first == _OLD_FORMAT:  # protocol, machine, the object, its storages' keys; then raw bytes
        for _ in range(4):
            names |= _names_of(opened)[0]
    return names


class _Inert:
    """Stands for whatever a pickle wants to import: takes every call and does nothing."""

    def __new__(cls, *args: object, **kwargs: object) -> _Inert:
        _refuse_loader((args, kwargs))
        return object.__new__(cls)

    def __init__(self, *_args: object, **_kwargs: object) -> None:
        pass

    def __call__(self, *args: object, **kwargs: object) -> _Inert:
        return _Inert(*args, **kwargs)

    def __setstate__(self, state: object) -> None:
        _refuse_loader(state)

    def __setitem__(self, key: object, value: object) -> None:
        _refuse_loader((key, value))

    append = extend = add = __call__


class _Names(pickle.Unpickler):
    """Follows a pickle and notes every name that it would import; what it gets instead is inert."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.names: set[str] = set()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return _Loader(self.names)
        self.names.add(f"{module} {name}")
        return _encode if (module, name) == ("_codecs", "encode") else _Inert

    def persistent_load(self, _key: object) -> _Inert:
        return _Inert()


class _Loader:
    """Stands for `torch.storage._load_from_bytes`, by which a tensor is pickled without a file: a pickle in a pickle.

    The inner one is read, too. Called with anything but bytes, or handed on to be called by another, it is refused.
    """

    def __init__(self, names: set[str]) -> None:
        self._names = names

    def __call__(self, *args: object) -> _Inert:
        match args:
            case (bytes() as inner,):
                self._names |= _names_in(io.BytesIO(inner))
            case _:
                self.refuse()
        return _Inert()

    def refuse(self) -> None:
        self._names.add("torch.storage _load_from_bytes")


def _refuse_loader(value: object) -> None:
    """Look for a loader in what is handed on: in containers too, each looked into once."""
    left, seen = [value], set()
    while left:
        one = left.pop()
        if isinstance(one, _Loader):
            one.refuse()
        elif isinstance(one, (tuple, list, set, frozenset, dict)) and id(one) not in seen:
            seen.add(id(one))
            left += [*one, *one.values()] if isinstance(one, dict) else one


def _encode(text: object, *_: object) -> object:
    """What pickle's second protocol writes bytes with: they are kept, for a pickle may lie in them."""
    return text.encode("latin-1") if isinstance(text, str) else _Inert()


def _names_of(file: IO[bytes]) -> tuple[set[str], object]:
    reader = _Names(file)
    value = reader.load()
    _refuse_loader(value)
    inner = value.get("whole_model") if isinstance(value, dict) else None
    if isinstance(inner, bytes):  # OCRNet unpickles it. Source: nvidia-tao-pytorch 7.3.0, cv/ocrnet/utils/utils.py, run
        reader.names |= _names_of(io.BytesIO(inner))[0]
    return reader.names, value

"""`${overlay}`: one folder that shows the dataset, what was made of it, and a network's own files, for one run.

BodyPoseNet looks for images and masks below one root, and its dataset_convert writes the masks beside the images, which
are read-only here and lie in another step's output. So a run that names `${overlay}` gets a folder of links to all that
lies in the dataset and in the records; what TAO writes into it becomes part of the results. The links stand on this
machine's own disk, because the storage of an AzureML output has none.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from runtime.tao.network import Action, Network, fill, placeholders

NAME = "overlay"
TRAINED = "trained.yaml"  # the spec that the checkpoint was trained with


def is_used(action: Action, text: str) -> bool:
    """Whether an action's flags or its spec name the overlay."""
    return NAME in placeholders(" ".join((*action.argv, text)))


@contextlib.contextmanager
def made(
    network: Network, given: Mapping[str, str], checkpoint: Path | None, results: Path
) -> Iterator[Mapping[str, str]]:
    """The placeholders with `overlay` among them; what was written into it is in `results` after a good end.

    Args:
        network: whose `files` are put there, unless the dataset brings one of that name.
        given: the placeholders' values; `dataset` and `records` are linked.
        checkpoint: what an earlier step wrote: its spec becomes `trained.yaml`, else the network's template does.
        results: where new files and folders go.
    """
    with tempfile.TemporaryDirectory(prefix="ngcrun-overlay-") as name:
        folder = Path(name)
        given = {**given, NAME: name}
        for source in dict.fromkeys(given[n] for n in ("dataset", "records") if n in given):
            for path in sorted(Path(source).iterdir()):
                link = folder / path.name
                if not link.is_symlink():
                    link.symlink_to(path)
        ours = []
        for file, text in {**network.files, TRAINED: _trained(network, checkpoint)}.items():
            if not (folder / file).exists():
                (folder / file).write_text(fill(text, given), encoding="utf-8")
                ours.append(file)
        yield given
        for path in sorted(folder.iterdir()):
            if not path.is_symlink() and path.name not in ours:
                shutil.move(path, results / path.name)


def _trained(network: Network, checkpoint: Path | None) -> str:
    spec = checkpoint / "spec.yaml" if checkpoint is not None and checkpoint.is_dir() else None
    return spec.read_text(encoding="utf-8") if spec is not None and spec.is_file() else network.spec

"""`data_widerface_to_kitti`: the faces of WIDER FACE as KITTI images and labels, which detectors of TAO read."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from runtime.component import Input, Output, Param, component
from runtime.data import face_labels, parallel, pictures, widerface
from runtime.data.face_labels import Job, Outcome, Rules
from runtime.errors import BadInput
from runtime.execute import main
from runtime.metrics import Metrics

LARGEST_SIDE = 16384  # pixels of a resized image
LISTED = 20  # broken images in the report
SHOWN = 3  # in an error


@dataclass(kw_only=True)
class Ports:
    """Convert WIDER FACE to KITTI images and labels, resized if wanted, with a count of what was left out and why."""

    faces: Annotated[
        Path, Input("Folder with wider_face_split/ and WIDER_train/ or WIDER_val/, as the archives unpack")
    ]
    split: Annotated[str, Param("Part of the dataset; the test part has no boxes", choices=("train", "val"))] = "train"
    size: Annotated[str | None, Param("Size to resize to, boxes with it, such as 736x416; else as it is")] = None
    min_width_px: Annotated[float, Param("Least width of a face in the written image", minimum=0)] = 1.0
    min_height_px: Annotated[float, Param("Least height of a face in the written image", minimum=0)] = 1.0
    skip_invalid: Annotated[bool, Param("Leave out faces that are marked as invalid")] = True
    max_occlusion: Annotated[int, Param("0 none, 1 partial, 2 heavy", minimum=0, maximum=2)] = 2
    max_blur: Annotated[int, Param("0 none, 1 normal, 2 heavy", minimum=0, maximum=2)] = 2
    keep_empty: Annotated[bool, Param("Keep images without a face, with an empty label")] = False
    format: Annotated[str, Param("Format of the images", choices=("jpg", "png"))] = "jpg"
    workers: Annotated[int | None, Param("Processes side by side; else one a core", minimum=1)] = None
    kitti: Annotated[Path, Output("images/, labels/, report.json, preview.jpg")]


@component(name="data_widerface_to_kitti", version="1", image="data")
def widerface_to_kitti(ports: Ports, metrics: Metrics) -> None:
    """Write the images and labels that are left, `report.json`, and `preview.jpg` with the boxes drawn."""
    pictures.require_pillow("data_widerface_to_kitti")
    jobs = _jobs(ports, _rules(ports))
    outcomes = parallel.each(face_labels.convert, jobs, "images", ports.workers)
    counts = _counts(outcomes)
    metrics.log(counts)
    written = [outcome for outcome in outcomes if outcome.written]
    if not written:
        lost = ", ".join(f"{name} {count}" for name, count in counts.items() if "dropped" in name)
        raise BadInput.of("faces", ports.faces, f"no image is left ({lost})", "let more pass")
    broken = [f"{o.job.source.name} {o.wrong}" for o in outcomes if o.wrong not in ("", "no face")]
    if broken:
        shown = ", ".join(broken[:SHOWN]) + (f" and {len(broken) - SHOWN} more" if len(broken) > SHOWN else "")
        print(f"warning: faces: left out {len(broken)} of {len(outcomes)} images: {shown}", file=sys.stderr)
    report: dict[str, Any] = {"split": ports.split, "size": ports.size, "counts": counts, "broken": broken[:LISTED]}
    ports.kitti.joinpath("report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    marked = [
        pictures.Marked(o.job.image, tuple((b.name, b.left, b.top, b.right, b.bottom) for b in o.boxes))
        for o in written
    ]
    pictures.preview(marked, ports.kitti / "preview.jpg")
    metrics.artifact(ports.kitti / "preview.jpg", "previews")


def _rules(ports: Ports) -> Rules:
    size = None
    if ports.size is not None:
        match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", ports.size, re.ASCII)
        size = (int(match[1]), int(match[2])) if match else None
        if size is None or max(size) > LARGEST_SIDE:
            wrong = f"is no size up to {LARGEST_SIDE}x{LARGEST_SIDE}"
            raise BadInput.of("size", ports.size, wrong, "write WIDTHxHEIGHT, such as size=736x416")
    return Rules(
        min_width_px=ports.min_width_px,
        min_height_px=ports.min_height_px,
        skip_invalid=ports.skip_invalid,
        max_occlusion=ports.max_occlusion,
        max_blur=ports.max_blur,
        size=size,
        keep_empty=ports.keep_empty,
    )


def _jobs(ports: Ports, rules: Rules) -> list[Job]:
    """One an image, in the order of their names; raises `BadInput` when files are not where they belong."""
    annotations = ports.faces / "wider_face_split" / f"wider_face_{ports.split}_bbx_gt.txt"
    folder = ports.faces / f"WIDER_{ports.split}" / "images"
    for path in (annotations, folder):
        if not path.exists():
            todo = "give the folder into which the archives of WIDER FACE were unpacked"
            raise BadInput.of("faces", ports.faces, f"lacks {path.relative_to(ports.faces)}", todo)
    images = sorted(widerface.read("faces", annotations), key=lambda image: image.name)
    stems = Counter(Path(image.name).stem for image in images)
    _refuse(ports, [stem for stem, count in stems.items() if count > 1], "lists {} more than once", "take one out")
    absent = [image.name for image in images if not (folder / image.name).is_file()]
    _refuse(ports, absent, f"lacks {{}} of {len(images)} images", f"unpack WIDER_{ports.split}.zip whole")
    for name in ("images", "labels"):
        (ports.kitti / name).mkdir()
    return [
        Job(
            source=folder / image.name,
            image=ports.kitti / "images" / f"{Path(image.name).stem}.{ports.format}",
            label=ports.kitti / "labels" / f"{Path(image.name).stem}.txt",
            faces=image.faces,
            rules=rules,
        )
        for image in images
    ]


def _refuse(ports: Ports, names: Sequence[str], wrong: str, todo: str) -> None:
    if names:
        shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
        raise BadInput.of("faces", ports.faces, f"{wrong.format(len(names))} ({shown})", todo)


def _counts(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Images and faces: read, written, dropped by reason; read is always the sum of the rest."""
    images = Counter("no_face" if o.wrong == "no face" else "broken" for o in outcomes if o.wrong)
    faces: Counter[str] = sum((o.dropped for o in outcomes), Counter())
    counts = {"images_read": len(outcomes), "images_written": sum(o.written for o in outcomes)}
    counts |= {f"images_dropped_{name}": images[name] for name in sorted(images)}
    counts |= {
        "faces_read": sum(len(o.job.faces) for o in outcomes),
        "faces_written": sum(len(o.boxes) for o in outcomes),
    }
    counts |= {f"faces_dropped_{name}": faces[name] for name in sorted(faces) if faces[name]}
    for noun in ("images", "faces"):
        parts = sum(n for name, n in counts.items() if name.startswith(f"{noun}_") and not name.endswith("_read"))
        if parts != counts[f"{noun}_read"]:
            raise AssertionError(f"{noun}: {counts}")
    return counts


if __name__ == "__main__":
    sys.exit(main(widerface_to_kitti))

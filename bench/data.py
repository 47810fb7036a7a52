"""Data steps: bytes a second and memory of a download over loopback, archives, and images a second of the conversions.

`python bench/data.py [--gib 1] [--images 2000] [--rounds 3]`; curl followed by sha256sum stands beside the download.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from PIL import Image

from runtime.data.archives import Limits, Unpacker

ROOT = Path(__file__).parents[1]
PHOTO = ROOT / "tests" / "data" / "wider" / "WIDER_train" / "images" / "0--Portrait" / "0_Portrait_Navy_0_1.jpg"
MIB = 1 << 20


class _Sender(BaseHTTPRequestHandler):
    """Sends a file as fast as the kernel does, so that what is measured is the receiver."""

    def log_message(self, *_arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        with Path(self.path).open("rb") as file:
            self.send_response(200)
            self.send_header("Content-Length", str(os.fstat(file.fileno()).st_size))
            self.end_headers()
            self.connection.sendfile(file)


def serve() -> None:
    """Run the sender until it is killed; prints its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Sender) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


def run(*argv: str, cwd: Path) -> float:
    """Seconds of a program, which must succeed."""
    begin = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "no_proxy": "*"}
    subprocess.run(argv, cwd=cwd, env=environment, check=True, capture_output=True)
    return time.perf_counter() - begin


def rounds(count: int, *acts: Callable[[], float]) -> list[float]:
    """Medians of each act, A B A B."""
    seconds = [[act() for act in acts] for _ in range(count)]
    return [statistics.median(column) for column in zip(*seconds, strict=True)]


def downloads(folder: Path, mib: int, count: int) -> None:
    """One large file, eight smaller ones, and curl with sha256sum."""
    sender = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    try:
        port = (sender.stdout or sys.stdin).readline().strip()
        for files in (1, 8):
            paths = [folder / f"{files}-{number}.bin" for number in range(files)]
            for path in paths:
                with path.open("wb") as file:
                    for _ in range(mib // files):
                        file.write(os.urandom(MIB))
            digests = [subprocess.check_output(["sha256sum", str(p)], text=True).split()[0] for p in paths]
            urls = [f"http://127.0.0.1:{port}{path}" for path in paths]

            def ours(urls: list[str] = urls, digests: list[str] = digests) -> float:
                shutil.rmtree(folder / "out", ignore_errors=True)
                words = [f"urls={' '.join(urls)}", f"sha256={' '.join(digests)}", "data=out"]
                return run(sys.executable, "-m", "runtime.data.download", *words, cwd=folder)

            def curls(urls: list[str] = urls) -> float:
                line = " && ".join(f"curl -sf -o c.bin '{url}' && sha256sum c.bin" for url in urls)
                return run("bash", "-c", line, cwd=folder)

            acts = [ours, curls] if shutil.which("curl") else [ours]
            for name, seconds in zip(("data_download", "curl, then sha256sum"), rounds(count, *acts), strict=False):
                print(f"| {name} | {files} of {mib // files} MiB | {mib * MIB / 1e6 / seconds:,.0f} MB/s |")
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
        print(f"| data_download, peak memory | {mib} MiB | at most {peak} MiB |")
    finally:
        sender.kill()
        sender.wait()


def archives(folder: Path, count: int) -> None:
    """A zip of 5,000 photographs: what the checks of the names and sizes leave of zipfile's speed."""
    path = folder / "photos.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(5000):
            archive.write(PHOTO, f"images/{number % 61}/{number}.jpg")

    def ours() -> float:
        shutil.rmtree(folder / "unpacked", ignore_errors=True)
        begin = time.perf_counter()
        Unpacker(folder / "unpacked", Limits()).unpack(path, "photos.zip", "urls")
        return time.perf_counter() - begin

    def theirs() -> float:
        shutil.rmtree(folder / "unpacked", ignore_errors=True)
        begin = time.perf_counter()
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder / "unpacked")
        return time.perf_counter() - begin

    for name, seconds in zip(("unpacked safely", "zipfile.extractall"), rounds(count, ours, theirs), strict=True):
        print(f"| {name} | 5,000 files, 99 MB | {5000 / seconds:,.0f} files/s |")


def conversions(folder: Path, images: int, count: int) -> None:
    """A photograph of 1024x768, as WIDER FACE's are, many times; with one process and with one a core."""
    root, lines = folder / "wider", list[str]()
    with Image.open(PHOTO) as photo:
        photo.resize((1024, 768)).save(folder / "photo.jpg", quality=90)
    for number in range(images):
        name = f"{number % 61}--Event/{number:05}.jpg"
        path = root / "WIDER_train" / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.hardlink_to(folder / "photo.jpg")
        lines += [name, "12", *("340 163 396 271 0 0 0 0 0 0 ",) * 12]
    (root / "wider_face_split").mkdir()
    (root / "wider_face_split" / "wider_face_train_bbx_gt.txt").write_text("\n".join(lines) + "\n")

    def step(module: str, *words: str) -> float:
        shutil.rmtree(folder / "made", ignore_errors=True)
        return run(sys.executable, "-m", f"runtime.data.{module}", *words, cwd=folder)

    kitti = folder / "kitti"
    run(sys.executable, "-m", "runtime.data.widerface_to_kitti", f"faces={root}", f"kitti={kitti}", cwd=folder)
    cases = {
        "widerface_to_kitti, to 736x416": ("widerface_to_kitti", f"faces={root}", "size=736x416", "kitti=made"),
        "widerface_to_kitti, as it is": ("widerface_to_kitti", f"faces={root}", "kitti=made"),
        "kitti_to_coco": ("kitti_to_coco", f"kitti={kitti}", "coco=made"),
    }
    for name, words in cases.items():
        one, all_of_them = rounds(count, lambda w=words: step(*w, "workers=1"), lambda w=words: step(*w))  # type: ignore[misc]
        rates = f"{images / one:,.0f}/s with one process, {images / all_of_them:,.0f}/s with {os.cpu_count()}"
        print(f"| {name} | {images:,} images of 1024x768 | {rates} |")


def main() -> None:
    """Print the rows of the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--gib", type=float, default=1.0)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.serve:
        return serve()
    with tempfile.TemporaryDirectory() as folder:
        downloads(Path(folder), int(arguments.gib * 1024), arguments.rounds)
        archives(Path(folder), arguments.rounds)
        conversions(Path(folder), arguments.images, arguments.rounds)
    return None


if __name__ == "__main__":
    main()

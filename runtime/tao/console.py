"""What a running TAO looks like: on a terminal one line that follows the training, elsewhere TAO's own log."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from runtime.tao.status import Followed

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_BAR = re.compile(r"\d+%\||[\d?]\s?(it/s|s/it|samples/s)\b|^\s*$")
_NOISE = re.compile(r"[Tt]elemetry|Execution status: PASS|FutureWarning|warnings\.warn\(")


class Console:
    """Reads the log as it grows and shows it.

    Args:
        log: what TAO prints.
        secret: text that is never shown.
    """

    def __init__(self, log: Path, secret: str = "") -> None:
        self.log, self.secret = log, secret
        self._offset = 0
        self._rest = ""
        self._terminal = sys.stdout.isatty()
        self._width = 0

    def show(self, followed: Followed) -> None:
        """Print what is new in the log; on a terminal rewrite the progress line instead."""
        text = self._new()
        if self._terminal:
            self._rewrite(progress_line(followed, self._last_bar(text)))
            return
        lines = re.split(r"[\r\n]+", self._rest + text)
        self._rest = lines.pop()
        for line in lines:
            if not _BAR.search(line) and not _NOISE.search(line):
                _print(line)

    def close(self, followed: Followed) -> None:
        """Show the rest and end the line."""
        self.show(followed)
        if self._terminal and self._width:
            _print("")

    def _new(self) -> str:
        if not self.log.is_file():
            return ""
        with self.log.open("rb") as file:
            file.seek(self._offset)
            data = file.read(1 << 20)
        self._offset += len(data)
        text = _ANSI.sub("", data.decode("utf-8", "replace"))
        return text.replace(self.secret, "***") if self.secret else text

    def _last_bar(self, text: str) -> str:
        bars = [part.strip() for part in re.split(r"[\r\n]+", text) if re.search(r"\d+%\|", part)]
        return bars[-1] if bars else ""

    def _rewrite(self, line: str) -> None:
        width = max(20, shutil.get_terminal_size().columns - 1)  # 80 where the terminal does not say
        line = line[:width]
        if line:
            _print("\r" + line.ljust(self._width), end="")
            self._width = len(line)


def progress_line(followed: Followed, bar: str = "") -> str:
    """One line: a bar, the epoch, the newest figures and TAO's estimate of the time left."""
    if followed.last_epoch is None:
        return bar or (followed.message.splitlines() or ["starting (TAO takes half a minute to import)"])[0]
    total, done = followed.last_epoch + 1, followed.epoch + 1
    filled = int(20 * done / max(total, 1))
    figures = "  ".join(f"{name} {value:.4g}" for name, value in list(followed.figures.items())[:4])
    eta = f"  left {followed.eta.split('.')[0]}" if followed.eta else ""
    return f"[{'#' * filled}{'.' * (20 - filled)}] epoch {done}/{total}  {figures}{eta}"


def _print(text: str, end: str = "\n") -> None:
    """A reader that is gone does not end the training that it reads of."""
    try:
        print(text, end=end, flush=True)
    except OSError:
        from runtime.local.screen import deafen

        deafen(sys.stdout)

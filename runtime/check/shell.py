"""The programs that a command starts in its code folder, read without a shell: a script and its words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from runtime.local.expression import BINDING

HOLE = "\x01"  # stands for what is not known before the run
_PYTHON = re.compile(r"(?:.*/)?python(?:3(?:\.\d+)?)?")
_SHELLS = re.compile(r"(?:.*/)?(?:bash|sh)")
_ASSIGNED = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
# After any other program a script may be there that was not before.
_MAKES_NO_FILE = {"cd", "echo", "ls", "export", "pip", "nvidia-smi", "pwd", "env", "set", "which", "ulimit", "sleep", "true"}
_LAUNCHERS = re.compile(r"mpirun|mpiexec|horovodrun|nohup|exec|time|srun")
_FLAGS_WITH_VALUE = {"-W", "-X", "--check-hash-based-pycs"}


@dataclass(frozen=True)
class Call:
    """A script (`script` or `module`) and the words behind it. `sure`: nothing before it can have made the script."""

    script: str
    words: tuple[str, ...]
    module: bool = False
    shell: bool = False
    sure: bool = True


def calls(command: str) -> Iterator[Call]:
    """Each Python or shell script that a command starts, as far as that can be read; nothing of what cannot."""
    text = BINDING.sub(HOLE, command).replace("$[[", " ").replace("]]", " ")
    folder, sure = PurePosixPath(), True
    for words in _simple(text):
        while words and _ASSIGNED.fullmatch(words[0]):
            words = words[1:]
        if not words:
            continue
        if words[0] == "cd":
            if len(words) != 2 or HOLE in words[1] or "$" in words[1] or words[1].startswith(("/", "~", "-")):
                return
            folder /= words[1]
            continue
        call = _call(words)
        if call is not None and not _unknown(call.script):
            script = call.script if call.module else str(folder / call.script)
            known = sure and not (call.module and folder.parts)
            yield Call(script, call.words, call.module, call.shell, known)
        if call is not None and call.shell or call is None and words[0] not in _MAKES_NO_FILE:
            sure = False


def _unknown(text: str) -> bool:
    return HOLE in text or "$" in text or "`" in text or text.startswith(("/", "~"))


def _simple(text: str) -> Iterator[list[str]]:
    """The simple commands of a shell text, each as its words; none where the text is no plain list of them."""
    text = re.sub(r"\\[ \t]*\n", " ", text)
    if re.search(r"<<|\b(?:if|for|while|case|function)\b[^;\n]*[;\n]|\$\(|`", text):
        return
    for line in text.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        lexer.commenters = "#"
        words: list[str] = []
        try:
            tokens = list(lexer)
        except ValueError:  # a quote that does not end in this line
            return
        for token in tokens:
            if token in ("&&", "||", ";", "|", "&", "(", ")"):
                yield words
                words = []
            else:
                words.append(token)
        yield words


def _call(words: list[str]) -> Call | None:
    words = _redirected(words)
    if words and _LAUNCHERS.fullmatch(words[0]):
        at = next((n for n, word in enumerate(words) if _PYTHON.fullmatch(word)), None)
        words = words[at:] if at is not None else words
    if not words:
        return None
    if _SHELLS.fullmatch(words[0]):
        return Call(words[1], tuple(words[2:]), shell=True) if len(words) > 1 and words[1].endswith(".sh") else None
    if words[0].startswith("./") and words[0].endswith(".sh"):
        return Call(words[0], tuple(words[1:]), shell=True)
    if not _PYTHON.fullmatch(words[0]):
        return None
    rest = words[1:]
    while rest and rest[0].startswith("-") and rest[0] != "-m":
        if rest[0] == "-c" or HOLE in rest[0]:
            return None
        rest = rest[2:] if rest[0] in _FLAGS_WITH_VALUE else rest[1:]
    if rest[:1] == ["-m"]:
        return Call(rest[1], tuple(rest[2:]), module=True) if len(rest) > 1 else None
    return Call(rest[0], tuple(rest[1:])) if rest and rest[0].endswith(".py") else None


def _redirected(words: list[str]) -> list[str]:
    """The words without what is behind `>` and `<`."""
    kept: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif re.fullmatch(r"[<>]+&?|&>+|>&", word):
            skip = True
            if kept and kept[-1].isdigit():
                kept.pop()
        else:
            kept.append(word)
    return kept

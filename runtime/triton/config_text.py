"""The text of a config.pbtxt as a tree of places, so that it can be corrected without losing a comment or a space.

Values are Triton's own parser's business (model_config.read); this one only knows where each field begins and ends.
Source: protobuf.dev/reference/protobuf/textformat-spec.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from runtime.errors import Problem

_TOKEN = re.compile(
    r"""(?P<space>[\s]+|\#[^\n]*)|(?P<text>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|(?P<mark>[{}<>\[\]:,;])"""
    r"""|(?P<word>[^\s{}<>\[\]:,;"'\#]+)""",
    re.VERBOSE,
)
_CLOSES = {"{": "}", "<": ">", "[": "]"}


@dataclass
class Block:
    """What stands between two brackets, or the whole file: `start` and `end` are inside them."""

    start: int
    end: int
    fields: list[Field] = field(default_factory=list)

    def named(self, name: str) -> list[Field]:
        """The fields of this name, in order."""
        return [f for f in self.fields if f.name == name]

    def blocks(self, name: str) -> list[Block]:
        """The messages of a repeated field, whether it is written once for each or as a list."""
        return [block for f in self.named(name) for block in f.blocks]


@dataclass
class Field:
    """One field: `start` to `end` with its value and the separator after it; `value` to `end_value` without."""

    name: str
    start: int
    value: int
    end_value: int = 0
    end: int = 0
    blocks: list[Block] = field(default_factory=list)


class _Reader:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.tokens: list[tuple[str, str, int]] = []
        while self.at < len(text):
            match = _TOKEN.match(text, self.at)
            if match is None:
                raise ValueError(f"{place(text, self.at)}: a text that is not closed")
            if match.lastgroup != "space":
                self.tokens.append((str(match.lastgroup), match.group(), self.at))
            self.at = match.end()
        self.next = 0

    def peek(self) -> tuple[str, str, int]:
        return self.tokens[self.next] if self.next < len(self.tokens) else ("end", "", len(self.text))

    def take(self) -> tuple[str, str, int]:
        token = self.peek()
        self.next += 1
        return token

    def block(self, start: int, close: str) -> Block:
        block = Block(start, start)
        while True:
            kind, word, at = self.peek()
            if word == close and kind in ("mark", "end"):
                self.take()
                block.end = at
                return block
            if kind != "word":
                raise ValueError(f"{place(self.text, at)}: expected a field, found {word or 'the end'}")
            block.fields.append(self.field())

    def field(self) -> Field:
        _, name, at = self.take()
        if self.peek()[1] == ":":
            self.take()
        made = Field(name, at, self.peek()[2])
        made.end_value = self.value(made)
        made.end = made.end_value
        if self.peek()[1] in (",", ";"):
            made.end = self.take()[2] + 1
        return made

    def value(self, made: Field) -> int:
        """Reads one value; returns where it ends."""
        kind, word, at = self.take()
        if kind == "mark" and word in "{<":
            made.blocks.append(self.block(at + 1, _CLOSES[word]))
            return made.blocks[-1].end + 1
        if kind == "mark" and word == "[":
            while self.peek()[1] != "]":
                if self.peek()[0] == "end":
                    raise ValueError(f"{place(self.text, at)}: a list that is not closed")
                if self.peek()[1] == ",":
                    self.take()
                else:
                    self.value(made)
            return self.take()[2] + 1
        if kind not in ("word", "text"):
            raise ValueError(f"{place(self.text, at)}: expected a value, found {word or 'the end'}")
        end = at + len(word)
        while kind == "text" and self.peek()[0] == "text":  # texts side by side are one
            _, word, at = self.take()
            end = at + len(word)
        return end


def parse(text: str) -> Block:
    """The tree of a config.pbtxt; raises `ValueError` with `line:column: what` where the brackets do not fit."""
    return _Reader(text).block(0, "")


def place(text: str, at: int) -> str:
    """`line:column`, both from 1."""
    return f"{text.count(chr(10), 0, at) + 1}:{at - text.rfind(chr(10), 0, at)}"


def unknown_fields(text: str, path: Any, port: str) -> list[Problem]:
    """Every field that Triton's schema does not have at its place: each with its line and column, and the nearest name.

    Triton's own parser stops at the first.
    """
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    return [
        Problem(port, f"{path}:{place(text, f.start)}", f"{message} has no field {f.name!r}", todo)
        for f, message, todo in _unknown(parse(text), ModelConfig.DESCRIPTOR)
    ]


def _unknown(block: Block, descriptor: Any) -> Iterator[tuple[Field, str, str]]:
    for entry in block.fields:
        known = descriptor.fields_by_name.get(entry.name)
        if known is None:
            yield entry, descriptor.name, _where(entry.name, descriptor) or _similar(entry.name, descriptor)
        elif known.message_type is not None:
            for inner in entry.blocks:
                yield from _unknown(inner, known.message_type)


def _where(name: str, descriptor: Any) -> str:
    """For a field that stands at the wrong place: the place where it belongs."""
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    if name in ModelConfig.DESCRIPTOR.fields_by_name:
        return "move it to the top of the file, outside all brackets"
    inside = [
        f.name
        for f in ModelConfig.DESCRIPTOR.fields
        if f.message_type is not None and name in f.message_type.fields_by_name and f.message_type is not descriptor
    ]
    return f"it belongs inside {' or '.join(inside[:3])}" if inside else ""


def _similar(name: str, descriptor: Any) -> str:
    known = list(descriptor.fields_by_name)
    close = difflib.get_close_matches(name, known, 1)
    return f"did you mean {close[0]!r}?" if close else f"it has {', '.join(sorted(known))}"


class Editor:
    """Changes to one text, made all at once, so that the places of the tree stay true while they are collected."""

    def __init__(self, text: str) -> None:
        self.text, self.tree = text, parse(text)
        self._edits: list[tuple[int, int, str]] = []
        self._added: list[tuple[Block, str]] = []
        self._removed: set[int] = set()

    def set(self, block: Block, name: str, value: str) -> None:
        """Give a field this value; it is added where it is not there, and written once where it was repeated."""
        there = block.named(name)
        if not there:
            self.add(block, f"{name}: {value}")
            return
        self._edits.append((there[0].value, there[0].end_value, value))
        for extra in there[1:]:
            self.remove(extra)

    def add(self, block: Block, line: str) -> None:
        """A new line at the end of a block, indented as the block's fields are."""
        self._added.append((block, line))

    def _insert(self, block: Block, line: str) -> None:
        last = next((f for f in reversed(block.fields) if id(f) not in self._removed), None)
        if last is None:
            self._edits.append((block.end, block.end, f" {line} "))
            return
        begin = self.text.rfind("\n", 0, last.start) + 1
        before = self.text[begin : last.start]
        at = self._after(last)
        separator = f"\n{before}" if not before.strip() else "\n" if at > last.end else " "
        self._edits.append((at, at, separator + line))

    def remove(self, entry: Field) -> None:
        """Take a field away, and its line where nothing else is on it."""
        self._removed.add(id(entry))
        begin = self.text.rfind("\n", 0, entry.start) + 1
        newline = self.text.find("\n", entry.end)
        end = len(self.text) if newline < 0 else newline + 1
        alone = not self.text[begin : entry.start].strip() and not self.text[entry.end : end].strip()
        self._edits.append((begin, end, "") if alone else (entry.start, entry.end, ""))

    def remove_block(self, owner: Block, name: str, number: int) -> None:
        """Take away one message of a repeated field, be it written by itself or in a list."""
        seen = 0
        for entry in owner.named(name):
            if number < seen + len(entry.blocks):
                if len(entry.blocks) == 1:
                    self.remove(entry)
                    return
                block = entry.blocks[number - seen]
                begin, end = block.start - 1, block.end + 1
                after = re.compile(r"\s*,").match(self.text, end)
                if after:
                    end = after.end()
                else:  # the last of the list: the comma before it goes
                    begin = self.text.rfind(",", 0, begin)
                self._edits.append((begin, end, ""))
                return
            seen += len(entry.blocks)

    def done(self) -> str:
        """The text with every change made; what was added goes behind what is left. To be called once."""
        for block, line in self._added:
            self._insert(block, line)
        gone = [(start, end) for start, end, new in self._edits if not new]
        text = self.text
        # By place from the end; several at one place stay in the order in which they were asked for.
        numbered = sorted(((start, end, i) for i, (start, end, _) in enumerate(self._edits)), reverse=True)
        for start, end, i in numbered:
            new = self._edits[i][2]
            if not any(a <= start and end <= b and (a, b) != (start, end) for a, b in gone):
                text = text[:start] + new + text[end:]
        return text

    def _after(self, entry: Field) -> int:
        """Past a comment that stands behind a field on its line."""
        match = re.compile(r"[ \t]*#[^\n]*").match(self.text, entry.end)
        return match.end() if match else entry.end

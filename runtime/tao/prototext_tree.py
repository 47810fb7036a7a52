"""The tree of a protobuf text: every field and value with where it stands, so that an edit can leave the rest alone.

Accepts what `google.protobuf.text_format` of protobuf 7.36.2 accepts (its Tokenizer's words), whatever the message is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from runtime.errors import BadInput, Problem

MAX_DEPTH = 100  # messages in messages; text_format has no limit of its own and would overflow the stack
_TOKEN = re.compile(
    r"""(?P<space>(?:\s|\#[^\n]*)+)
    |(?P<word>[A-Za-z_][0-9A-Za-z_+-]*)
    |(?P<number>(?:[0-9+-]|\.[0-9])[0-9A-Za-z_.+-]*)
    |(?P<text>"(?:[^"\n\\]|\\[^\n])*"|'(?:[^'\n\\]|\\[^\n])*')
    |(?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)
_CLOSING = {"{": "}", "<": ">"}
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_SHORT = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "\\": "\\", '"': '"', "'": "'"}


class ProtoTextError(BadInput):
    """The text is not protobuf text: nothing in it can be looked up or edited."""

    def __init__(self, text: str, offset: int, value: str, wrong: str, todo: str) -> None:
        self.line, self.column = position(text, offset)
        super().__init__([Problem("spec", value, f"line {self.line}:{self.column}: {wrong}", todo)])


@dataclass(frozen=True, slots=True)
class Token:
    """One word, number, string or mark, and where it stands."""

    kind: str
    raw: str
    start: int

    @property
    def end(self) -> int:
        """The offset behind it."""
        return self.start + len(self.raw)


@dataclass(frozen=True, slots=True)
class Value:
    """One value; `kind` is `text`, `word`, `number` or `message`, and only a message has fields."""

    kind: str
    start: int
    end: int
    raw: str
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True, slots=True)
class Field:
    """One occurrence of a field. `end` is behind its value, `tail` behind its separator too, if it has one."""

    name: str
    start: int
    end: int
    tail: int
    values: tuple[Value, ...]
    bracketed: bool
    colon: bool


def parse(text: str) -> Value:
    """The whole text as one message; raises `ProtoTextError` with the line and column of the first thing amiss."""
    return _Reader(text).whole()


def position(text: str, offset: int) -> tuple[int, int]:
    """Line and column of an offset, both from 1."""
    return text.count("\n", 0, offset) + 1, offset - (text.rfind("\n", 0, offset) + 1) + 1


def unquote(raw: str) -> str:
    """What one or more adjacent quoted strings say, escapes resolved; bytes that are not UTF-8 become U+FFFD."""
    return _bytes(raw).decode("utf-8", "replace")


def _bytes(raw: str) -> bytes:
    return b"".join(_unescape(match["text"][1:-1]) for match in _TOKEN.finditer(raw) if match["text"])


def bad_escape(raw: str, *, utf8: bool) -> str:
    """The first escape in a quoted value that text_format refuses, or what is not UTF-8; empty when all is well."""
    for part in (match["text"][1:-1] for match in _TOKEN.finditer(raw) if match["text"]):
        for match in _ESCAPE.finditer(part):
            octal, _, four, eight, short = match.groups()
            code = int(four or eight or "0", 16)
            wrong = code > 0x10FFFF or 0xD800 <= code < 0xE000 or short in ("x", "u", "U", "N")
            if wrong or (octal and int(octal, 8) > 255):
                return match[0]
    try:
        _bytes(raw).decode("utf-8" if utf8 else "latin-1")
    except UnicodeDecodeError as failure:
        return repr(failure.object[failure.start : failure.end])[2:-1]
    return ""


def quote(value: str, mark: str = '"') -> str:
    """The value as a quoted string that fits on one line."""
    escaped = value.replace("\\", "\\\\").replace(mark, "\\" + mark)
    return mark + "".join(_as_escape(char) for char in escaped) + mark


def _as_escape(char: str) -> str:
    if char in "\n\r\t":
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}[char]
    # protobuf reads a spec line by line, and Python's line ends are more than "\n"; those must not stand bare
    if char < " " or char in "\x7f\x85\u2028\u2029":
        return "".join(f"\\{byte:03o}" for byte in char.encode())
    return char


def _unescape(body: str) -> bytes:
    out, last = b"", 0
    for match in _ESCAPE.finditer(body):
        octal, two, four, eight, short = match.groups()
        out += body[last : match.start()].encode("utf-8", "surrogatepass")
        if octal or two:
            out += bytes([int(octal, 8) & 255 if octal else int(two, 16)])
        elif four or eight:
            out += chr(min(int(four or eight, 16), 0x10FFFF)).encode("utf-8", "surrogatepass")
        else:
            out += _SHORT.get(short, "\\" + short).encode("utf-8", "surrogatepass")  # \q stays as it is
        last = match.end()
    return out + body[last:].encode("utf-8", "surrogatepass")


class _Reader:
    """Reads tokens one by one; the only state is where it is."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = self._scan()
        self.now = next(self.tokens)

    def _scan(self) -> Iterator[Token]:
        for match in _TOKEN.finditer(self.text):
            if match.lastgroup != "space":
                yield Token(str(match.lastgroup), match[0], match.start())
        while True:
            yield Token("end", "", len(self.text))

    def take(self) -> Token:
        token, self.now = self.now, next(self.tokens)
        return token

    def taken(self, marks: str) -> bool:
        """Whether the next token is one of the marks; if so it is consumed."""
        if self.now.kind == "mark" and self.now.raw in marks:
            self.take()
            return True
        return False

    def fail(self, wrong: str, todo: str, at: Token | None = None) -> ProtoTextError:
        token = at or self.now
        if token.kind == "mark" and token.raw in "\"'":
            wrong, todo = "the string has no closing quote on its line", f"close it with {token.raw}"
        return ProtoTextError(self.text, token.start, token.raw or "end of the spec", wrong, todo)

    def whole(self) -> Value:
        fields = []
        while self.now.kind != "end":
            fields.append(self.field(0))
        return Value("message", 0, len(self.text), self.text, tuple(fields))

    def field(self, depth: int) -> Field:
        first = self.now
        name = self.name()
        colon = self.taken(":")
        bracketed = self.now.raw == "[" and self.now.kind == "mark"
        if not (colon or bracketed or self.now.raw in ("{", "<")):
            raise self.fail(f"no ':' and no '{{' follows {name!r}", f"write `{name}: VALUE` or `{name} {{ ... }}`")
        values, end = self.listed(depth) if bracketed else self.single(depth)
        tail = self.now.end
        if not self.taken(",;"):
            tail = end
        return Field(name, first.start, end, tail, values, bracketed, colon)

    def name(self) -> str:
        if self.now.kind == "word" or (self.now.kind == "number" and self.now.raw[0].isdigit()):
            return self.take().raw
        if self.now.kind == "mark" and self.now.raw == "[":  # an extension; no TAO message has one
            start = self.take().start
            while self.now.kind in ("word", "number") or self.now.raw in (".", "/"):
                self.take()
            end = self.now.end
            if not self.taken("]"):
                raise self.fail("expected ']'", "close the extension's name")
            return self.text[start:end]
        if self.now.raw in ("}", ">"):
            raise self.fail(f"there is nothing that this {self.now.raw!r} closes", "remove it, or add what it closes")
        raise self.fail("expected a field's name", "write `name: value` or `name { ... }`")

    def single(self, depth: int) -> tuple[tuple[Value, ...], int]:
        value = self.value(depth)
        return (value,), value.end

    def listed(self, depth: int) -> tuple[tuple[Value, ...], int]:
        opening = self.take()
        values: list[Value] = []
        while True:
            end = self.now.end
            if not values and self.taken("]"):
                return (), end
            values.append(self.value(depth))
            end = self.now.end
            if self.taken("]"):
                return tuple(values), end
            if self.now.kind == "end":
                raise self.fail("this '[' is never closed", "add ']'", opening)
            if not self.taken(","):
                raise self.fail("expected ',' or ']' in a list", "separate the values by ','")

    def value(self, depth: int) -> Value:
        token = self.now
        if token.raw in ("{", "<") and token.kind == "mark":
            return self.message(depth + 1)
        if token.kind in ("word", "number"):
            self.take()
            return Value(token.kind, token.start, token.end, token.raw)
        if token.kind != "text":
            raise self.fail("expected a value", "write a number, a word, a string or { ... }")
        while self.now.kind == "text":
            end = self.take().end
        return Value("text", token.start, end, self.text[token.start : end])

    def message(self, depth: int) -> Value:
        opening = self.take()
        if depth > MAX_DEPTH:
            raise self.fail(f"messages stand more than {MAX_DEPTH} deep in each other", "remove braces", opening)
        closing = _CLOSING[opening.raw]
        fields: list[Field] = []
        while True:
            end = self.now.end
            if self.taken(closing):
                return Value("message", opening.start, end, self.text[opening.start : end], tuple(fields))
            if self.now.kind == "end":
                raise self.fail(f"this {opening.raw!r} is never closed", f"add {closing!r}", opening)
            fields.append(self.field(depth))

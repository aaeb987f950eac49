"""YAML read strictly: one meaning per text, every mistake with its line, nothing constructed.

The tree is built from PyYAML's events, not by its constructor: PyYAML speaks YAML 1.1, in which `1e-3` is a string,
`no` is false, `010` is eight and `12:30` is 750. Scalars are resolved here, by the core schema of YAML 1.2.2 (10.3).
Events rather than `yaml.compose`, because compose recurses without a limit and silently accepts duplicate keys.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from hpo.yaml_syntax import explain

SIZE_LIMIT = 64 * 1024  #: bytes
DEPTH_LIMIT = 8

_NULL = {"", "~", "null", "Null", "NULL"}
_TRUE, _FALSE = {"true", "True", "TRUE"}, {"false", "False", "FALSE"}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_PREFIXED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


class StudyError(Exception):
    """All mistakes of a file.

    Attributes:
        source: the file, as the reader knows it.
        mistakes: one line each, in the order of the file: `line 4: budget.trials is 0: ...`.
    """

    def __init__(self, source: str, mistakes: Sequence[str]) -> None:
        self.source, self.mistakes = source, tuple(mistakes)
        super().__init__(source, self.mistakes)

    def __str__(self) -> str:
        count = "1 mistake" if len(self.mistakes) == 1 else f"{len(self.mistakes)} mistakes"
        return "\n  ".join([f"{self.source}: {count}", *self.mistakes])


class Mistakes:
    """Collects what is wrong with one file."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._found: list[tuple[int, str]] = []

    def add(self, line: int, text: str) -> None:
        """Remember a mistake; line 0 stands for the file as a whole."""
        if (line, text) not in self._found:
            self._found.append((line, text))

    def error(self) -> StudyError:
        found = sorted(self._found, key=lambda mistake: mistake[0])
        return StudyError(self.source, [f"line {line}: {text}" if line else text for line, text in found])

    def raise_any(self) -> None:
        """Raise a StudyError when anything was added."""
        if self._found:
            raise self.error()


class _Broken:
    """The value of a node whose mistake is already on the list, so that nobody reports it a second time."""

    def __repr__(self) -> str:
        return "unreadable"


BROKEN = _Broken()


@dataclass(frozen=True)
class Node:
    """A part of the file. In a mapping, `line` is the line of the key."""

    line: int  #: counted from 1
    value: Any  #: bool, int, float, str, None, `tuple[Node, ...]`, `dict[str, Node]` or BROKEN

    def plain(self) -> Any:
        """The same without lines: scalars, lists and dicts."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        return [node.plain() for node in self.value] if isinstance(self.value, tuple) else self.value


def parse(text: str, source: str, mistakes: Mistakes | None = None) -> Node:
    """Read one YAML document.

    Args:
        text: the content of the file.
        source: names the file in messages.
        mistakes: takes what leaves the rest readable (duplicate keys, aliases, odd scalars) instead of raising it.

    Raises:
        StudyError: when the text is not YAML, is larger than SIZE_LIMIT or deeper than DEPTH_LIMIT; and, without
            `mistakes`, for everything else.
    """
    found = mistakes if mistakes is not None else Mistakes(source)
    if len(text.encode("utf-8", "surrogatepass")) > SIZE_LIMIT:
        found.add(0, f"larger than {SIZE_LIMIT // 1024} KiB: a study file is a page of text; is this the right file?")
        raise found.error()
    try:
        root = _Builder(yaml.parse(text, Loader=yaml.SafeLoader), found).document()
    except yaml.YAMLError as error:
        found.add(*explain(error))
        raise found.error() from None
    if mistakes is None:
        found.raise_any()
    return root


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


class _Builder:
    """Turns events into nodes."""

    def __init__(self, events: Iterable[yaml.Event], mistakes: Mistakes) -> None:
        self._events: Iterator[yaml.Event] = iter(events)
        self._mistakes = mistakes

    def document(self) -> Node:
        next(self._events)  # start of the stream
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return Node(1, None)
        root = self._node(next(self._events), 1)
        next(self._events)  # end of the document
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            self._mistakes.add(_line(after), "a second document starts here: a file holds one study")
        return root

    def _node(self, event: yaml.Event, depth: int) -> Node:
        line = _line(event)
        if depth > DEPTH_LIMIT:
            self._mistakes.add(line, f"nested deeper than {DEPTH_LIMIT} levels")
            raise self._mistakes.error()
        broken = self._refuse_machinery(event, line)
        if isinstance(event, yaml.MappingStartEvent):
            value: Any = self._mapping(depth)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(depth)
        elif isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event, line) if not broken else None
        return Node(line, BROKEN if broken else value)

    def _refuse_machinery(self, event: Any, line: int) -> bool:
        if isinstance(event, yaml.AliasEvent):
            self._mistakes.add(line, f"alias *{event.anchor}: aliases are off; write the value out")
        elif event.anchor is not None:
            self._mistakes.add(line, f"anchor &{event.anchor}: anchors are off; write the value out where it is needed")
        elif event.tag is not None:
            self._mistakes.add(line, f"tag {event.tag}: tags are off; write a plain value")
        else:
            return False
        # An anchored value is itself readable.
        return isinstance(event, yaml.AliasEvent) or event.tag is not None

    def _sequence(self, depth: int) -> tuple[Node, ...]:
        nodes = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            nodes.append(self._node(event, depth + 1))
        return tuple(nodes)

    def _mapping(self, depth: int) -> dict[str, Node]:
        nodes: dict[str, Node] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            line = _line(event)
            key = self._key(event, depth, line)
            value = self._node(next(self._events), depth + 1).value
            if key is not None and key in nodes:
                self._mistakes.add(line, f"duplicate key {key!r}, first on line {nodes[key].line}: keep one of them")
            elif key is not None:
                nodes[key] = Node(line, value)
        return nodes

    def _key(self, event: yaml.Event, depth: int, line: int) -> str | None:
        """Keys are names, always text: `on:` and `1:` are no traps here."""
        if isinstance(event, yaml.ScalarEvent):
            return None if self._refuse_machinery(event, line) and event.tag else event.value
        self._node(event, depth + 1)  # consume it
        self._mistakes.add(line, "a key must be a plain name")
        return None

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> Any:
        if event.style is not None:  # quoted, or a block of text
            return event.value
        try:
            return resolve_scalar(event.value)
        except ValueError as error:
            self._mistakes.add(line, str(error))
            return BROKEN


def resolve_scalar(text: str) -> bool | int | float | str | None:
    """What an unquoted scalar means, by the core schema of YAML 1.2.

    Raises:
        ValueError: for numbers that are not finite, or whose leading zero means different things to different readers.
    """
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _PREFIXED.fullmatch(text):
        return int(text, 0)
    if _INTEGER.fullmatch(text):
        digits = text.lstrip("+-")
        if len(digits) > 1 and digits.startswith("0"):
            raise ValueError(f"{text} with a leading zero is octal to some readers: write {digits.lstrip('0') or '0'}")
        if len(digits) > 18:
            raise ValueError(f"{text[:20]}... is too large a number")
        return int(text)
    if _NOT_FINITE.fullmatch(text) or (_FLOAT.fullmatch(text) and not math.isfinite(float(text))):
        raise ValueError(f"{text} is not a finite number")
    return float(text) if _FLOAT.fullmatch(text) else text


def shown(value: Any) -> str:
    """A value as it would stand in the file."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, str):
        return repr(value) if len(value) <= 60 else repr(value[:57] + "...")
    if isinstance(value, Node):
        return shown(value.plain())
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {shown(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(shown(entry) for entry in value) + "]"
    return "null" if value is None else str(value)


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?`, or what is known where nothing is near."""
    known = list(known)
    # A known name under the wrong group is nearer than any spelling.
    same = [other for other in known if other.rpartition(".")[2] == name.rpartition(".")[2]]
    close = same[:1] or difflib.get_close_matches(name.lower(), known, 1, 0.6)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known) or 'none'}"


class Section:
    """A mapping of the file with typed access; what is wrong is collected and a default stands in.

    Args:
        node: the mapping; None where the file has none.
        path: dotted name in messages; empty for the whole file.
        mistakes: takes what is wrong.
        keys: the keys that may stand here; None allows any.
        line: to name where the section is missing.
    """

    def __init__(
        self, node: Node | None, path: str, mistakes: Mistakes, keys: Iterable[str] | None, line: int = 1
    ) -> None:
        self.path, self._mistakes, self.line = path, mistakes, node.line if node else line
        value = node.value if node else {}
        known = None if keys is None else list(keys)
        self.broken = not isinstance(value, dict)
        self.nodes: dict[str, Node] = {} if self.broken else value
        if self.broken and value is not BROKEN:
            example = f", {{{', '.join(f'{key}: ...' for key in known)}}}" if known and path else ""
            text = f"{path or 'the file'} is {shown(value)}: a mapping of keys to values is needed{example}"
            mistakes.add(self.line, text)
        self._hints = {key: nearest(key, known) for key in self.nodes if known is not None and key not in known}
        for key, hint in self._hints.items():
            space = " (write a space after the colon)" * (":" in key)
            mistakes.add(self.nodes[key].line, f"unknown key {self.name(key)!r}; {hint}{space}")

    def name(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def line_of(self, key: str) -> int:
        return self.nodes[key].line if key in self.nodes else self.line

    def fail(self, key: str, text: str) -> None:
        """Add a mistake about a key, at its line; at the section's where it is missing."""
        self._mistakes.add(self.line_of(key), f"{self.name(key)} {text}")

    def require(self, *keys: str) -> None:
        """Add a mistake for each key that is missing; one that is misspelt has been told."""
        for key in keys:
            if key not in self.nodes and not self.broken and f"did you mean {key!r}?" not in self._hints.values():
                self.fail(key, "is missing")

    def section(self, key: str, keys: Iterable[str] | None) -> Section:
        return Section(self.nodes.get(key), self.name(key), self._mistakes, keys, self.line)

    def text(self, key: str, default: str, choices: Iterable[str] | None = None) -> str:
        value = self._get(key, default)
        if not isinstance(value, str) or not value:
            self._refuse(key, value, "text is needed (quote it where it looks like a number)")
            return default
        if choices is not None and value not in (known := list(choices)):
            self._refuse(key, value, nearest(value, known))
            return default
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self._get(key, default)
        if isinstance(value, bool):
            return value
        self._refuse(key, value, "true or false is needed")
        return default

    def integer(self, key: str, default: int, low: int, high: int | None = None) -> int:
        value = self._get(key, default)
        fits = isinstance(value, int) and not isinstance(value, bool) and low <= value
        if fits and (high is None or value <= high):
            return int(value)
        allowed = f"of at least {low}" if high is None else f"from {low} to {high}"
        self._refuse(key, value, f"a whole number {allowed} is needed")
        return default

    def number(self, key: str, default: float, above: float | None = None, below: float | None = None) -> float:
        """A finite number, strictly between the bounds."""
        value = self._get(key, default)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if (above is None or value > above) and (below is None or value < below):
                return float(value)
        bounds = [f"{word} {end:g}" for word, end in (("above", above), ("below", below)) if end is not None]
        self._refuse(key, value, " ".join(["a number", " and ".join(bounds), "is needed"]).replace("  ", " "))
        return default

    def _get(self, key: str, default: Any) -> Any:
        return self.nodes[key].value if key in self.nodes else default

    def _refuse(self, key: str, value: Any, need: str) -> None:
        if key in self.nodes and value is not BROKEN:
            self.fail(key, f"is {shown(value)}: {need}{spelled(value)}")


def spelled(value: Any) -> str:
    """What keeps a value from being the number that it looks like."""
    if isinstance(value, float) and value.is_integer():
        return ", without a decimal point or exponent"
    return ", without quotes" if isinstance(value, str) and _FLOAT.fullmatch(value) else ""

"""YAML as a configuration wants it: the scalars of YAML 1.2, no surprises, and the line of every key.

PyYAML follows YAML 1.1, where `1e-4` is text, `no` is false and `010` is eight; here a number with an exponent is a
number, only `true` and `false` are booleans, and integers are decimal.  A key that comes twice, an anchor or a tag is an
error.
"""

import os
import re
from typing import Any

import yaml

from priorkit.errors import UsageError

__all__ = ["LARGEST", "KeyPath", "Lines", "dump", "parse", "parse_value"]

LARGEST = 2**18
"""Characters of a document; a configuration has a few thousand, and PyYAML reads some hundred thousand a second."""

KeyPath = tuple[str, ...]
Lines = dict[KeyPath, int]
"""Path of a key (list items by their number) -> line, from 1."""
DEEPEST = 32

NULL = re.compile(r"^(?:~|null|Null|NULL|)$")
BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
INT = re.compile(r"^[-+]?[0-9](?:_?[0-9])*$")
FLOAT = re.compile(r"^(?:[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$", re.ASCII)
SCALARS = [
    ("null", NULL, ["~", "n", "N", ""]),
    ("bool", BOOL, list("tTfF")),
    ("int", INT, list("-+0123456789")),
    ("float", FLOAT, list("-+.0123456789")),
]
NO_TEXT = "contains a character that is not text"
ENCLOSED = ("[", "{", "'", '"')
"""Characters with which a value begins that is not all of its text."""


class Loader(yaml.SafeLoader):
    """A safe loader with our scalars."""

    # A fresh table: the parent's would recognise the scalars of YAML 1.1 too.
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse anchors, by which a few lines could unfold without end, and tags: a value is what it looks like."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.MarkedYAMLError(problem="anchors and aliases (& and *) are not read", problem_mark=event.start_mark)
        if getattr(event, "tag", None):
            raise yaml.MarkedYAMLError(problem="tags (words after !) are not read", problem_mark=event.start_mark)
        return super().compose_node(parent, index)

    def fetch_flow_collection_start(self, kind: type[yaml.Token]) -> None:
        """Refuse brackets in brackets without end: PyYAML's time grows with the square of their depth."""
        if self.flow_level >= DEEPEST:
            problem = f"more than {DEEPEST} lists or mappings within each other"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=self.get_mark())
        super().fetch_flow_collection_start(kind)

    def decimal(self, node: yaml.ScalarNode) -> int:
        """An integer as it is written, leading zeros or not."""
        return int(self.construct_scalar(node))


class ValueLoader(Loader):
    """A loader of one value, where no comment can be meant: it would cut the value."""

    def scan_to_next_token(self) -> None:
        """Refuse a comment."""
        ahead = 0
        while self.peek(ahead) in (" ", "\n", "\r"):
            ahead += 1
        if self.peek(ahead) == "#":
            problem = "' #' begins a comment, which would cut the value; put all of it in quotes"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=self.get_mark())
        super().scan_to_next_token()


class Dumper(yaml.SafeDumper):
    """A safe dumper that also quotes what only our loader would take for a number."""

    def quoted(self, text: str) -> yaml.ScalarNode:
        """Text; the line breaks of Unicode are escaped, since a reader would fold them into spaces."""
        style = '"' if set(text) & set("\x85\u2028\u2029") else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


for name, pattern, first in SCALARS:
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{name}", pattern, first)
Loader.add_constructor("tag:yaml.org,2002:int", Loader.decimal)
Dumper.add_representer(str, Dumper.quoted)
Dumper.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+.0123456789"))
Dumper.add_implicit_resolver("tag:yaml.org,2002:int", INT, list("-+0123456789"))


def parse(text: str, source: str) -> tuple[Any, Lines]:
    """The value of a document and the line of each of its keys.  Raises UsageError naming `source` and the line."""
    return _read(Loader, text, source)


def parse_value(text: str, source: str) -> Any:
    """One value as an argument gives it: in quotes, brackets or braces as in a document, otherwise all of the text.

    So neither ' #' nor ': ' in a file's name means anything.  Raises as `parse`.
    """
    if text.lstrip()[:1] in ENCLOSED:
        return _read(ValueLoader, text, source)[0]
    plain = text.strip()
    if yaml.reader.Reader.NON_PRINTABLE.search(plain):
        raise UsageError(f"{source!r}: a value {NO_TEXT}")
    is_scalar = any(pattern.match(plain) for _, pattern, _ in SCALARS)
    return _read(Loader, plain, source)[0] if is_scalar else plain


def _read(kind: type[Loader], text: str, source: str) -> tuple[Any, Lines]:
    if len(text) > LARGEST:
        raise UsageError(f"{source[:60]}: {len(text):,} characters; a configuration has at most {LARGEST:,}")
    lines: Lines = {}
    try:
        loader = kind(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None, lines
            note_lines(node, (), lines)
            return loader.construct_document(node), lines
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        where = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UsageError(f"{source}{where}: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{source}: not YAML: {' '.join(str(error).split())}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{source}: not readable as YAML: {error}") from error


def note_lines(node: yaml.Node, path: KeyPath, lines: Lines) -> None:
    """Enter the lines below a node, and refuse keys that are no words or come twice, and escapes of what is no text."""
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.ScalarNode) and not _is_text(node.value):
        raise yaml.MarkedYAMLError(problem=f"a value {NO_TEXT}", problem_mark=node.start_mark)
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            note_lines(item, (*path, str(number)), lines)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            mark = key.start_mark
            if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} is not a word", problem_mark=mark)
            below = (*path, key.value)
            if below in lines:
                twice = f"the key {'.'.join(below)!r} occurs twice, first in line {lines[below]}"
                raise yaml.MarkedYAMLError(problem=twice, problem_mark=mark)
            lines[below] = mark.line + 1
            note_lines(value, below, lines)


def _is_text(value: str) -> bool:
    """Whether it can be written; it may hold bytes of a file's name that are no UTF-8."""
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        return False
    return True


def dump(value: Any) -> str:
    """A document that `parse` reads back to the same value."""
    text: str = yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text

"""YAML whose scalars mean what they look like."""

import math
import os

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from priorkit.config.document import dump, parse, parse_value
from priorkit.config.layers import override
from priorkit.errors import UsageError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1.5E+3", 1500.0),
        (".5", 0.5),
        ("-2.", -2.0),
        ("-.inf", -math.inf),
        ("7", 7),
        ("010", 10),
        ("10_000", 10_000),
        ("-3", -3),
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("0x1f", "0x1f"),
        ("toy:checkerboard", "toy:checkerboard"),
        ("'1e-4'", "1e-4"),
        ("[1, 2e0, no]", [1, 2.0, "no"]),
        ("{a: 1e-3}", {"a": 1e-3}),
    ],
)
def test_scalars(text, value):
    found, _ = parse(text, "here")
    assert found == value
    assert type(found) is type(value)


def test_lines_of_keys():
    _, lines = parse("a: 1\nb:\n  c: [1,\n    2]\n", "f.yaml")
    assert (lines[("a",)], lines[("b",)], lines[("b", "c")], lines[("b", "c", "1")]) == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", r"f\.yaml, line 3: the key 'a' occurs twice, first in line 1"),
        ("a:\n  b: 1\n  b: 2\n", r"f\.yaml, line 3: the key 'a\.b' occurs twice"),
        ("a: &x 1\nb: *x\n", r"f\.yaml, line 1: anchors"),
        ("&x [*x]", r"f\.yaml, line 1: anchors"),
        ("a: 1\n? [b]\n: 2\n", r"f\.yaml, line 2: the key .* is not a word"),
        ("1: a", r"f\.yaml, line 1: the key '1' is not a word"),
        ("a: !!python/name:os.system x", r"f\.yaml, line 1: tags"),
        ("a: !!bool maybe", r"f\.yaml, line 1: tags"),
        ("a: !!timestamp x", r"f\.yaml, line 1: tags"),
        ("a: ! x", r"f\.yaml, line 1: tags"),
        ("a: [1, 2\nb: 3", r"f\.yaml, line 2"),
        ("a: 1\n---\nb: 2", r"f\.yaml, line 2"),
        ("a: \x00", r"f\.yaml: not YAML"),
        ("[" * 5000, r"f\.yaml, line 1: more than 32 lists"),
        ("- " * 5000, r"f\.yaml"),
        (" " * 2**18 + "1", r"f\.yaml: 262,145 characters; a configuration has at most 262,144"),
    ],
)
def test_what_is_refused(text, message):
    with pytest.raises(UsageError, match=message):
        parse(text, "f.yaml")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "zip:/x/set #1.zip",
            "zip:/x/a: b.zip",
            "a: {b: 1}",
            "# a",
            "- a",
            "? a",
            "*.zip",
            "&a",
            "@x",
            "%x",
            "|",
            ">",
            "!!int 3",
        ),
        *("folder:/x/[old] #2", "it's", "a'b #c", "no", "1:30", "1, 2", "1 2", "1 #2", "true #", "null: x"),
    ],
)
def test_an_arguments_plain_text_is_kept_whole(text):
    assert parse_value(text, "here") == text
    assert parse_value(f"  {text} ", "here") == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("3", 3), (" 3 ", 3), ("1e-4", 1e-4), ("true", True), ("", None), ("~", None), ("null", None), (".5", 0.5)),
        *(
            ("[1, two, {a: no}]", [1, "two", {"a": "no"}]),
            ("{a: 'b #c'}", {"a": "b #c"}),
            ('"a: b #c"', "a: b #c"),
            ("'3'", "3"),
        ),
        *((" {a: [b#c]}", {"a": ["b#c"]}),),
    ],
)
def test_an_arguments_value_is_what_it_looks_like(text, value):
    found = parse_value(text, "here")
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "text", ["[a #b]", "'a' #b", "{a: 1} # c", '"a" #', "[a,\n #b\n c]", "{a: x #1.zip}", "[1] [2]", "'a'b"]
)
def test_an_argument_is_refused_rather_than_cut(text):
    with pytest.raises(UsageError, match="here, line"):
        parse_value(text, "here")


@pytest.mark.parametrize("text", ["zip:\x00", "a\ud800", "\x7f"])
def test_a_character_that_is_no_text_is_refused(text):
    with pytest.raises(UsageError, match="not text"):
        parse_value(text, "here")


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12)
TREES = st.recursive(
    SCALARS, lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=8), part, max_size=3), max_leaves=8
)


@given(TREES)
def test_what_is_written_is_read_back(tree):
    text = dump(tree)
    assert parse(text, "round trip")[0] == tree


@given(st.sampled_from(["no", "1e-4", "010", "1:30", "2024-01-01", "null", "0x1f", "true", "1_0", ".5", "+1e5"]))
def test_text_that_looks_like_something_else_is_quoted_for_every_reader(text):
    assert parse(dump({"key": text}), "here")[0] == {"key": text} == yaml.safe_load(dump({"key": text}))


@pytest.mark.parametrize("text", ['"zip:\\ud800"', '[a, "\\ud800"]', '{a: "\\ud800"}'])
def test_an_escape_of_what_is_no_text_is_refused(text):
    with pytest.raises(UsageError, match="line 1: a value contains a character that is not text"):
        parse_value(text, "here")
    with pytest.raises(UsageError, match=r"f\.yaml, line 1: a value contains a character that is not text"):
        parse(f"a: {text}", "f.yaml")


def test_the_bytes_of_a_file_s_name_are_read_back():
    value = {"name": os.fsdecode(b"zip:a\xff.zip")}
    assert parse(dump(value), "f.yaml")[0] == value


@pytest.mark.parametrize("key", ["prior.\udcff", "\udcff", "a\tb"])
def test_a_key_that_is_no_text_names_the_argument(key):
    with pytest.raises(UsageError, match=r"--set.*expected KEY=VALUE"):
        list(override(f"{key}=1"))

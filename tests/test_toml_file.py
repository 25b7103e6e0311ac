# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.errors import SettingsError
from edged.toml_file import MAX_BYTES, Loc, TomlFile, key_lines, read_toml

TEXT = """\
# a comment
top = 1

[daemon]   # another
name = "a # b"
[[sources]]
name = "x"
[sources.inner]
deep.er = 1
[[sources]]

name = "y"
[build]
profiles = [
  # in between
  [1, 4, 8], [2,
   4, 8],
]
"quoted key" = '''
[not.a.header]
name = 1
'''
table = { a = 1, b = [ { c = 2 } ] }
"""


@pytest.mark.parametrize(
    ("loc", "line"),
    [
        (("top",), 2),
        (("daemon",), 4),
        (("daemon", "name"), 5),
        (("sources", 0), 6),
        (("sources", 0, "name"), 7),
        (("sources", 0, "inner", "deep", "er"), 9),
        (("sources", 1), 10),
        (("sources", 1, "name"), 12),
        (("build", "profiles"), 14),
        (("build", "profiles", 1, 2), 14),
        (("build", "quoted key"), 19),
        (("build", "table", "b", 0, "c"), 23),
    ],
)
def test_line_of_a_key(loc: Loc, line: int) -> None:
    assert key_lines(TEXT)[loc] == line


def test_text_inside_a_string_is_no_key() -> None:
    assert not any("not" in loc for loc in key_lines(TEXT))


def test_a_value_that_is_not_there_is_found_at_its_table() -> None:
    file = TomlFile(Path("x.toml"), {}, key_lines(TEXT))
    assert file.where(("sources", 1, "uri")) == "x.toml:10"
    assert file.where(("absent", "key")) == "x.toml"


names = st.sampled_from(["a", "b", "c", "d-1", "e_2"])
values = st.sampled_from(["1", '"x"', "[1, 2]", "[\n 1,\n 2,\n]", "'''\n[a]\n'''", "{ k = 1 }"])


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(names, st.dictionaries(names, values, max_size=4), max_size=4), st.integers(0, 3))
def test_every_key_is_found_where_it_was_written(tables: dict[str, dict[str, str]], blank: int) -> None:
    lines: list[str] = []
    expected: dict[Loc, int] = {}
    for table, keys in tables.items():
        lines += [""] * blank
        expected[(table,)] = len(lines) + 1
        lines.append(f"[{table}]")
        for key, value in keys.items():
            expected[(table, key)] = len(lines) + 1
            lines += f"{key} = {value}".split("\n")
    found = key_lines("\n".join(lines))
    assert {loc: found[loc] for loc in expected} == expected
    assert {loc for loc in found if len(loc) <= 2} == set(expected)


def _refused(path: Path) -> str:
    with pytest.raises(SettingsError) as caught:
        read_toml(path, SettingsError, kind="settings file", remedy="fix it")
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a = 1\nb = \n", ":2: not valid TOML: Invalid value (column 5); correct this line"),
        (b"a = [1,\n2\n", ":3: not valid TOML"),
        (b"a = 1\na = 2\n", ":2: not valid TOML: Cannot overwrite a value"),
        (b"a = 1\nb = '\xff'\n", ":2: not UTF-8 text; a settings file is TOML text"),
        (b"#" * (MAX_BYTES + 1), ": larger than 1024 KiB, so it is no settings file; fix it"),
        (b"a = " + b"[" * 20000, ":1: not valid TOML"),
    ],
)
def test_a_broken_file_is_refused_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    text = _refused(path)
    if "[" * 10 in content.decode("latin-1"):
        assert "nested too deeply" in text or message in text
    else:
        assert text.startswith(f"{path}{message}")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert _refused(tmp_path / "absent.toml") == f"{tmp_path / 'absent.toml'}: settings file not found; fix it"
    assert _refused(tmp_path) == f"{tmp_path}: settings file cannot be read: Is a directory; fix it"


def test_what_editors_of_other_systems_leave_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "windows.toml"
    path.write_bytes(b"\xef\xbb\xbf[a]\r\nb = 1\r\n")
    file = read_toml(path, SettingsError, kind="settings file", remedy="")
    expected: dict[str, Any] = {"a": {"b": 1}}
    assert file.data == expected
    assert file.where(("a", "b")) == f"{path}:2"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a = " + "[" * 100 + "]" * 100, "nested too deeply"),
        ("a = " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        (".".join("a" * 500) + " = 1", "nested too deeply"),
        ("big = 9223372036854775807\nbigger = 9223372036854775808", "a number that does not fit into 64 bits"),
        ("hex = 0x" + "f" * 5000, "a number that does not fit into 64 bits"),
        ("long = " + "9" * 5000, "a number of thousands of digits"),
    ],
)
def test_more_than_anybody_means_is_refused(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "a.toml"
    path.write_text("[table]\n" + text + "\n")
    with pytest.raises(SettingsError, match=what) as caught:
        read_toml(path, SettingsError, kind="file", remedy="look")
    if "64 bits" in what:
        assert caught.value.where == f"{path}:{2 + text.count(chr(10))}"


def test_a_value_over_many_lines_takes_no_time(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("first = 1\nlist = [\n" + "  1,\n" * 30_000 + "]\nlast = 2\n")
    file = read_toml(path, SettingsError, kind="file", remedy="look")
    assert len(file.data["list"]) == 30_000
    assert file.line(("first",)) == 1
    # Where the lines end that are known, the file itself is named.
    assert file.where(("last",)) == str(path)

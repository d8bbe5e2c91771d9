"""Files appear whole or not at all, never through a link, and with the umask's permissions."""

import contextlib
import csv
import io
import os
import secrets
import stat
import time

import numpy as np
import pytest

from lcss_tf import files


@contextlib.contextmanager
def umask(mask):
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def test_a_block_that_fails_leaves_what_was_there(tmp_path):
    path = files.write_text(tmp_path / "a" / "b.txt", "old")
    with pytest.raises(RuntimeError), files.whole(path) as file:  # noqa: PT012
        file.write(b"half of the n")
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == ["b.txt"]


def test_the_target_may_be_a_link_which_is_replaced_and_not_followed(tmp_path):
    victim, path = tmp_path / "victim", tmp_path / "out.txt"
    victim.write_text("mine")
    path.symlink_to(victim)
    files.write_text(path, "new")
    assert victim.read_text() == "mine"
    assert not path.is_symlink()
    assert path.read_text() == "new"


@pytest.mark.parametrize("kind", ["symlink", "dangling", "file"])
def test_a_planted_temporary_file_is_never_written_to(kind, tmp_path, monkeypatch):
    """Even to somebody who knows its name beforehand, which is drawn anew for each file."""
    names = {secrets.token_hex(6) for _ in range(100)}
    assert len(names) == 100
    monkeypatch.setattr(secrets, "token_hex", lambda _: "known")
    victim, planted = tmp_path / "victim", tmp_path / ".out.txt.known.tmp"
    if kind != "dangling":
        victim.write_text("mine")
    planted.symlink_to(victim) if kind != "file" else planted.hardlink_to(victim)
    with pytest.raises(FileExistsError):
        files.write_text(tmp_path / "out.txt", "new")
    assert not (tmp_path / "out.txt").exists()
    if kind == "dangling":
        assert not victim.exists()
    else:
        assert victim.read_text() == "mine"


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o027, 0o640)])
def test_the_umask_decides_the_permissions(mask, mode, tmp_path):
    with umask(mask):
        written = [
            files.write_text(tmp_path / "a.txt", "x"),
            files.write_arrays(tmp_path / "a.npz", {"x": np.ones(3)}, durable=True),
        ]
    assert [stat.S_IMODE(path.stat().st_mode) for path in written] == [mode, mode]


def test_damaged_arrays_are_none(tmp_path):
    path = files.write_arrays(tmp_path / "a.npz", {"x": np.arange(1_000)})
    np.testing.assert_array_equal(files.read_arrays(path)["x"], np.arange(1_000))
    content = path.read_bytes()
    path.write_bytes(content[:500] + bytes([content[500] ^ 1]) + content[501:])
    assert files.read_arrays(path) is None
    assert files.read_arrays(tmp_path / "absent.npz") is None
    assert files.read_json(tmp_path / "absent.json") is None
    assert files.read_json(files.write_json(tmp_path / "b.json", {"a": [1]})) == {"a": [1]}


HOSTILE = [
    r"$\frac{a$", "fee $ (% of $)", "a|b", "two\nlines", "<b>&amp;", "*x*", "1e3", "=1+1",
    "a,\"b\"", "",
]  # fmt: skip


def test_a_table_in_csv_gives_the_texts_back():
    text = files.csv_table(HOSTILE, [[1, 0.25, None, *HOSTILE[3:]]])
    header, row = csv.reader(io.StringIO(text, newline=""))
    assert header == HOSTILE
    assert row == ["1", "0.25", "", *HOSTILE[3:]]
    assert "\\x1b[2J" in files.csv_table(["\x1b[2J"], [])


def test_a_table_in_markdown_shows_the_texts_literally():
    table = files.markdown_table(["name", "value"], [[name, 1234.5] for name in HOSTILE])
    lines = table.split("\n")
    assert len(lines) == 2 + len(HOSTILE)
    for line in lines:  # two cells a line: what is no escaped bar separates
        assert line.replace("\\|", "").count("|") == 3
        assert line.endswith(("| 1,234 |", "| --- |", "| value |"))
    assert r"two\\nlines" in table
    assert r"\<b\>\&amp;" in table
    assert "| 1e3 |" in table  # a name, not the number


def test_a_name_in_another_encoding_can_be_written(tmp_path):
    assert files.write_text(tmp_path / "a.txt", "caf\udce9").read_text() == "caf\\udce9"


def test_what_a_killed_process_left_goes_an_hour_later(tmp_path):
    left = [
        tmp_path / ".config.gin.0123456789ab.tmp",
        tmp_path / "pictures" / ".a.png.abcdef012345.tmp",
    ]
    kept = [tmp_path / ".notes.tmp", tmp_path / "a.tmp", tmp_path / ".b.png.0123456789ab.tmp"]
    (tmp_path / "pictures").mkdir()
    for path in [*left, *kept]:
        path.write_text("half")
    for path in [*left, *kept[:2]]:
        os.utime(path, (time.time() - 4_000,) * 2)
    files.sweep(tmp_path)
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in kept)

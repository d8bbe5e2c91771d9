"""What is shown while something runs, and how it fails: by doing nothing."""

import errno
import io
import os
import subprocess
import sys

import pytest

from lcss_tf import display
from lcss_tf.display import Bar, Tolerance, say, tolerant_streams
from tests.processes import ENVIRONMENT, ROOT


def test_what_may_fail_is_counted_and_logged_once_in_a_hundred(caplog):
    tolerance = Tolerance()

    def fail(value):
        raise BrokenPipeError(value)

    assert tolerance("The sum", sum, [1, 2]) == 3
    for _ in range(101):
        assert tolerance("The pipe", fail, "gone") is None
    assert tolerance.failures == {"The pipe": 101}
    logged = [r for r in caplog.records if "The pipe failed (BrokenPipeError: gone)" in r.message]
    assert len(logged) == 2
    with pytest.raises(KeyboardInterrupt):  # what people ask for is no failure
        tolerance("The keyboard", _interrupt)


def _interrupt():
    raise KeyboardInterrupt


class Gone(io.StringIO):
    """Nobody reads the other end."""

    def write(self, text):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    flush = isatty = lambda self: self.write("")


@pytest.mark.parametrize("stream", [Gone(), None], ids=["broken pipe", "none"])
def test_nothing_that_is_shown_raises(stream, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "stdout", stream)
    say("a line")
    say("an error", error=True)
    display.warn("a %s", "warning")
    with Bar(3, "work", "steps") as bar:
        bar.update()
    with tolerant_streams():
        print("by anybody", flush=True)
    assert sys.stdout is stream


def test_what_is_said_does_not_act_on_the_terminal(capsys):
    say("a\nb \x1b[2J\x07")
    assert capsys.readouterr().out == "a\nb \\x1b[2J\\x07\n"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_what_an_encoding_lacks_is_escaped_and_the_line_is_kept(encoding, monkeypatch):
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, encoding=encoding)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, stream)
    say("loss \u2265 3, caf\u00e9")
    with tolerant_streams():
        print("by anybody: \u2265")
    lines = buffer.getvalue().decode(encoding).splitlines()
    signs = {"ascii": ("\\u2265", "\\xe9"), "cp1252": ("\\u2265", "\u00e9")}
    at_least, accent = signs.get(encoding, ("\u2265", "\u00e9"))
    assert lines == [f"loss {at_least} 3, caf{accent}", f"by anybody: {at_least}"]


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when they are told to."""

    class Clock:
        now = 0.0

        def monotonic(self):
            return self.now

    monkeypatch.setattr(display, "time", Clock())
    return display.time


def test_into_a_file_work_is_told_in_whole_lines(clock, capsys):
    with Bar(1_000, "converting \x1b[31m", "images") as bar:
        for _ in range(99):
            clock.now += 1.0
            bar.update(10)
        clock.now += 1.0
        bar.update(10)
    lines = capsys.readouterr().err.split("\n")
    assert len(lines) == 5  # after 31, 62 and 93 seconds, at the end, and nothing behind it
    assert lines[0] == "converting \\x1b[31m: 310/1,000 images [00:31, 01:09 left]"
    assert lines[3] == "converting \\x1b[31m: 1,000/1,000 images [01:40, 00:00 left]"
    assert not any("\r" in line for line in lines)


def test_the_time_left_does_not_count_the_time_to_the_first_update(clock, capsys):
    """A first step compiles: a minute for it and a second for each of the others."""
    with Bar(100, "work", "steps") as bar:
        clock.now += 60.0
        bar.update(1)
        for _ in range(31):
            clock.now += 1.0
            bar.update(1)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "work: 1/100 steps [01:00, 1:39:00 left]"  # nothing else is known yet
    assert lines[1] == "work: 32/100 steps [01:31, 01:08 left]"


def test_short_work_says_nothing_where_it_was_asked_to_wait(clock, capsys):
    with Bar(5, "reading", delay_s=3.0) as bar:
        bar.update(5)
    with Bar(5, shown=False) as bar:
        clock.now += 100.0
        bar.update(5)
    assert capsys.readouterr().err == ""


def test_on_a_terminal_the_line_is_live(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    with Bar(4, "work", "steps") as bar:
        bar.update(4)
    assert "work: 100%" in sys.stderr.getvalue()
    assert "\r" in sys.stderr.getvalue()


@pytest.mark.parametrize("streams", [(), (0,), (1,), (2,), (0, 1, 2)])
def test_closed_streams_are_opened_on_the_null_device(streams, tmp_path):
    """Before the first file takes their number, and the errors of libraries."""
    code = (
        "import os, sys\n"
        "from lcss_tf.display import open_closed_streams\n"
        "open_closed_streams()\n"
        "file = open(sys.argv[1], 'w')\n"
        "assert file.fileno() > 2\n"
        "os.write(1, b'x'); os.write(2, b'x'); print(1); print(2, file=sys.stderr)\n"
        "assert os.system('echo from a child') == 0\n"
    )
    close = lambda: [os.close(number) for number in streams]
    path = tmp_path / "file"
    done = subprocess.run(
        [sys.executable, "-c", code, path], preexec_fn=close, cwd=ROOT, env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0
    assert path.read_text() == ""

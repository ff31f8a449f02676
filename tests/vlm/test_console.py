"""Bars of the commands as a terminal shows them, and options that are written NAME=VALUE."""

import io
import re
import subprocess
import sys
from typing import Any

import pytest
import typer
from rich.console import Console

from vlm.console import bars, named_numbers, named_values, progress, stages

MAP: dict[str, Any] = {"option": "--map", "form": "FIELD=COLUMN", "example": "text=caption"}
SPLIT: dict[str, Any] = {"option": "--split", "form": "NAME=SHARE", "example": "train=0.8"}


@pytest.fixture
def terminal():
    return Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)


def rows(console: Console) -> list[str]:
    """Every row that was drawn, the last ones last, without what moves the cursor."""
    drawn = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", console.file.getvalue())  # type: ignore[attr-defined]
    return [row for row in re.split(r"[\r\n]+", drawn) if row]


def shown(console: Console, bar) -> str:
    """The rows of a bar that nothing has moved yet."""
    with console.capture() as drawn:
        console.print(bar)
    return drawn.get()


def test_one_bar_advances_by_what_is_new(terminal):
    with progress("reading", 10, console=terminal) as advance:
        advance(3)
        advance(4)
    assert re.fullmatch(r"reading [━╸╺ ]+ +7/10 0:00:0\d", rows(terminal)[-1])


def test_stages_get_a_bar_each_when_they_are_named_and_take_what_is_done_so_far(terminal):
    with stages(console=terminal) as on_step:
        on_step("ingest", 2, None)
        on_step("ingest", 5, 9)  # how many there are is known only now
        on_step("shards: train", 1, 4)
    first, second = rows(terminal)[-2:]
    assert re.fullmatch(r"ingest +[━╸╺ ]+ +5/9 0:00:0\d", first)
    assert re.fullmatch(r"shards: train [━╸╺ ]+ +1/4 0:00:0\d", second)


@pytest.mark.parametrize(
    ("clock", "times"),
    [("none", ""), ("elapsed", " 0:00:00"), ("left", " -:--:--"), ("both", " 0:00:00 -:--:--")],
)
def test_a_clock_shows_what_was_asked_for(terminal, clock, times):
    bar = bars(terminal, clock=clock)
    bar.add_task("reading", total=4)
    assert shown(terminal, bar).rstrip("\n").endswith(f" 0/4{times}")


def test_counts_can_be_left_out(terminal):
    for counts in (True, False):
        bar = bars(terminal, counts=counts)
        bar.add_task("bytes", total=2_000)
        assert ("2000" in shown(terminal, bar)) == counts


def test_a_bar_ends_where_the_work_fails(terminal):
    with pytest.raises(ValueError, match="broken file"), progress("reading", 2, console=terminal):
        raise ValueError("broken file")
    hidden, seen, gone = (terminal.file.getvalue().rfind(code) for code in ("\x1b[?25l", "\x1b[?25h", "\x1b[2K"))
    assert -1 < hidden < seen < gone  # the cursor is there again, and the row is wiped


def test_the_module_loads_no_bars_before_one_is_shown():
    code = "import sys, vlm.console; print('rich.progress' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_values_are_taken_as_they_were_typed():
    assert named_values(["text= a=b ", "image=file"], **MAP) == {"text": " a=b ", "image": "file"}
    assert named_values([" a=b=keep"], **MAP, last_equals=True) == {" a=b": "keep"}
    assert named_values(["text=a", "text=b"], **MAP) == {"text": "b"}
    assert named_values((), **MAP) == {}


@pytest.mark.parametrize("text", ["", "text", "=caption", "text=", "="])
def test_a_text_without_a_name_or_a_value_says_how_to_write_it(text):
    for last_equals in (False, True):
        with pytest.raises(typer.BadParameter) as caught:
            named_values(["image=file", text], **MAP, last_equals=last_equals)
        assert caught.value.message == f"{text!r} is not FIELD=COLUMN, for example text=caption"
        assert caught.value.param_hint == "--map"


def test_numbers_do_not_mind_blanks():
    assert named_numbers(["train=0.9", " val = .1 "], **SPLIT) == {"train": 0.9, "val": 0.1}


@pytest.mark.parametrize("text", ["", "train", "train=", "=0.5", " =0.5", "train=half", "train=0.5=0.5"])
def test_what_is_no_number_says_how_to_write_it(text):
    with pytest.raises(typer.BadParameter) as caught:
        named_numbers(["val=0.1", text], **SPLIT)
    assert caught.value.message == f"{text!r} is not NAME=SHARE, for example train=0.8"
    assert caught.value.param_hint == "--split"

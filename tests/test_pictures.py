"""The command that remakes the documentation's pictures knows each of them."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SPEC = importlib.util.spec_from_file_location("pictures", ROOT / "tools" / "pictures.py")
pictures = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(pictures)

PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]


def shown():
    """The pictures that the documentation shows."""
    links = [
        link for page in PAGES for link in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page.read_text())
    ]
    return {Path(link).name for link in links if not link.startswith("http")}


def test_each_picture_that_is_shown_can_be_remade_and_is_there():
    known = {picture.name for picture in pictures.PICTURES}
    assert shown() <= known
    assert {path.name for path in (ROOT / "docs" / "images").iterdir()} <= known | {"README.md"}


@pytest.mark.parametrize("picture", pictures.PICTURES, ids=lambda p: p.name)
def test_commands_name_what_exists(picture):
    steps, made = pictures.commands(picture)
    assert steps
    assert "{" not in str(made)
    if picture.recipe and picture.recipe != "my_sde":
        assert (ROOT / "gin" / f"{picture.recipe}.gin").is_file()
    for command in steps:
        for word in command:
            if word.startswith("--gin_file="):
                name = word.removeprefix("--gin_file=")
                assert (ROOT / "gin" / name).is_file() or Path(name).is_file()


def test_the_newest_of_a_pattern(tmp_path):
    with pytest.raises(FileNotFoundError, match="No picture was made"):
        pictures.newest(tmp_path / "a_*.png")
    (tmp_path / "a_1.png").write_text("")
    assert pictures.newest(tmp_path / "a_*.png").name == "a_1.png"


def test_the_list_runs_nothing(capsys):
    assert pictures.main(["--list", "my_sde"]) == 0
    printed = capsys.readouterr().out
    assert "my_sde_picture.py" in printed
    assert "fashion" not in printed

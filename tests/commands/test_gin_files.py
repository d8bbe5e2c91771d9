"""Every shipped configuration parses, builds and says how it is run."""

import pytest

from lcss_tf import config
from lcss_tf.experiment import dry_run

ROOT = config.PROJECT_GIN.parent
EXPERIMENTS = sorted(
    set(config.PROJECT_GIN.glob("*.gin")) - set(config.PROJECT_GIN.glob("compare_*.gin"))
) + sorted((ROOT / "examples").glob("*.gin"))


def test_the_promised_ones_are_there():
    names = {path.stem for path in EXPERIMENTS}
    promised = {"lcss_digits", "dsm_digits", "lcss_checkerboard", "lcss_cifar10", "lcss_ffhq"}
    promised |= {"lcss_signal", "lcss_volume", "lcss_table"}
    assert promised <= names


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: p.stem)
def test_it_opens_with_command_hours_and_quality(path):
    head = path.read_text().split("\n\n", 1)[0] + path.read_text()
    name = path.relative_to(ROOT).as_posix()
    assert f"python bin/train.py --gin_file={name}" in head
    assert "# Hours: " in head or "# Minutes: " in head
    assert "# Quality: " in head


# Large networks take long to build; the small ones here have the network of lcss_digits.
_SLOW = ("lcss_ffhq", "lcss_cifar10", "dsm_digits", "lcss_digits_dequantised", "lcss_photos")
_BUILT = [
    pytest.param(path, id=path.stem, marks=pytest.mark.slow if path.stem in _SLOW else ())
    for path in EXPERIMENTS
]


@pytest.mark.parametrize("path", _BUILT)
def test_it_builds(path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    modules = [str(path.with_suffix(".py"))] if path.with_suffix(".py").exists() else []
    config.load(path, imports=modules)
    lines = dry_run("runs/none")
    printed = capsys.readouterr().out
    for word in ("parameters", "replicas", "global batch", "steps", "data"):
        assert word in printed
    assert lines["replicas"] == "1 (mirrored)"

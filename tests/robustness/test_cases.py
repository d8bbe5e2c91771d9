"""Every case of every kind. A module of this package with a function `cases` enters by itself."""

import importlib
import pkgutil

import pytest

import tests.robustness


def kinds():
    """Name → list of Case, of every module here that makes cases."""
    found = {}
    for module in pkgutil.iter_modules(tests.robustness.__path__):
        if module.name in ("case", "test_cases"):
            continue
        imported = importlib.import_module(f"tests.robustness.{module.name}")
        if hasattr(imported, "cases"):
            found[module.name] = list(imported.cases())
    return found


def _every_case():
    for kind, cases in kinds().items():
        for case in cases:
            yield pytest.param(case, id=f"{kind}: {case.group}: {case.name}")


@pytest.mark.parametrize("case", list(_every_case()))
def test_case(case, tmp_path):
    assert case.check(tmp_path)


def test_names_are_unique():
    for kind, cases in kinds().items():
        names = [(case.group, case.name) for case in cases]
        assert len(set(names)) == len(names), kind

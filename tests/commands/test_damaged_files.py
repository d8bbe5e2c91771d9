"""Whatever stands in the files of a workdir: it is read rightly, or named with the remedy."""

import copy
import json
import shutil

import gin
import pytest

from lcss_tf import files, forms
from lcss_tf.callbacks import Watch
from lcss_tf.commands import _comparison, _gin, _likelihood, _runs, quality
from lcss_tf.commands._comparison_report import read_results, report_finished
from lcss_tf.commands._report import _likelihood as reported_likelihood
from lcss_tf.commands._report import _quality as reported_quality
from lcss_tf.commands._report import _record as reported_record
from lcss_tf.commands._report import _versions as reported_versions
from lcss_tf.commands._results import Results
from lcss_tf.commands.main import main
from lcss_tf.errors import UsageError
from lcss_tf.preparation import Source
from lcss_tf.preparation.collection import _finished as prepared
from lcss_tf.training.workdir import check_same_model, only_process
from tests.commands.helpers import ONE, SMALL

POINT = {"step": 20, "seconds": 0.5, "epsilon_mse_mean": float("nan")}
RECORD = {
    "seconds": 1.0, "block_ms": [0.1], "curve": [POINT], "budgets": {"steps": POINT},
    "peak_mib": 3.0,
}  # fmt: skip


class Checkpoints:
    def __init__(self, folder):
        self.best_path = folder / "best.npz"


def best(folder):
    (folder / "best.npz").write_bytes(b"")
    watch = Watch()
    watch.run = type("Run", (), {"checkpoints": Checkpoints(folder)})
    return watch.best()


def recorded(folder):
    (folder / "config.gin").write_text("fit.steps = 3")
    return (
        _runs.recorded(folder),
        _runs.load_configuration(folder),
        reported_versions(reported_record(folder)),
    )


def evaluated(folder):
    results = Results(folder)
    return results.finished(3, "k"), results.all()


# What a workdir holds: {file: (content, what reads it)}.
READ = {
    "run.json": (
        {"imports": [], "devices": [], "lcss_tf": "0.2.0", "versions": {"numpy": "2.0"}},
        recorded,
    ),
    "model.json": ({"sde": {}}, lambda folder: check_same_model(folder, {"sde": {}})),
    "best.json": ({"metric": "m", "value": 0.1, "error": None, "step": 5}, best),
    "evaluation/step_000000003/result.json": (
        {
            "step": 3,
            "key": "k",
            "real_split": None,
            "counts": {"num_samples": 4},
            "figures": {"m": {"value": 0.5, "error": None, "real": None}},
            "references": [],
        },
        evaluated,
    ),  # fmt: skip
    "likelihood.json": (
        {
            "settings": {"step": 3},
            "figures": {"nats": 1.0},
            "log_prob": [1.0],
            "nats": [1.0],
            "nfe": [3],
        },
        lambda folder: (
            _likelihood._Results(folder / "likelihood.json", {"step": 3}),
            reported_likelihood(folder / "likelihood.json"),
        ),
    ),  # fmt: skip
    "quality.json": (
        {
            "metric": "m",
            "real": None,
            "refused": {},
            "configuration": [1, 2],
            "repeats": 1,
            "rows": [
                {
                    "sampler": "DDIM",
                    "budget": 5,
                    "tolerance": None,
                    "steps": 5,
                    "nfe": 5,
                    "distance": 0.1,
                    "std": 0.0,
                    "real": 0.1,
                }
            ],
        },
        lambda folder: (
            quality._finished(folder / "quality.json", [1, 2]),
            reported_quality(folder),
            quality.table(quality.read_result(folder / "quality.json")),
        ),
    ),  # fmt: skip
    "lcss/result.json": (
        {
            "name": "LCSS",
            "loss": "LCSSLoss",
            "sde": "VPSDE",
            "parameters": 3,
            "batch_size": 4,
            "ms_per_step": 1.0,
            "peak_mib": 3.0,
            "curve": [POINT],
            "budgets": {"steps": POINT, "seconds": POINT},
        },
        lambda folder: read_results(folder, ["LCSS"], _comparison.RESULT),
    ),  # fmt: skip
    "lcss/diagnosis.json": (
        {
            "name": "LCSS",
            "buckets": [[0.0, 0.5]],
            "figures": {"variance": [1.0]},
            "step": {"variance": 1.0},
        },
        lambda folder: read_results(folder, ["LCSS"], _comparison.DIAGNOSIS),
    ),
    "progress.json": (
        {"20": RECORD},
        lambda folder: _comparison._record(folder / "progress.json", 20),
    ),
    "report.json": (
        {"made_from": Source("x", 8)._asdict(), "dataset": "x", "shape": [8, 8, 3]},
        lambda folder: prepared(Source("x", 8), str(folder)),
    ),
}
ODD = {
    "empty": b"",
    "zeros": bytes(64),
    "no text": b"\xff\xfe\x00{",
    "another encoding": '{"naïve": 1}'.encode("latin-1"),
    "a list": b"[]",
    "a number": b"3",
    "a text": b'"text"',
    "null": b"null",
    "an empty object": b"{}",
    "nested": b"[" * 100_000,
    "nested objects": b'{"a":' * 100_000,
    "a very large number": b'{"step": ' + b"9" * 5_000 + b"}",
}
OTHERS = [None, [], {}, "x", True, -1, 10**30, 1e999, [[None]], {"": {"": None}}]


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return tmp_path

    yield write
    gin.clear_config()


def mended(name, read, folder):
    """Whether a file is read; if not, its name and a remedy must be said."""
    said = None
    try:
        read(folder)
    except UsageError as error:
        said = str(error)
    assert said is None or (str(folder) in said and ("emove" in said or "write {" in said))
    assert said is None or name in said or "made from" in said
    return said is None


@pytest.mark.parametrize("name", READ)
def test_a_good_file_is_read(name, write):
    content, read = READ[name]
    assert mended(name, read, write(name, json.dumps(content).encode()))


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", READ)
def test_an_odd_file_is_named_with_the_remedy(name, odd, write):
    _, read = READ[name]
    fine = (name, odd) in {("model.json", "an empty object"), ("progress.json", "an empty object")}
    if (name, odd) == ("model.json", "an empty object"):
        with pytest.raises(UsageError, match="another model"):
            read(write(name, ODD[odd]))
        return
    assert mended(name, read, write(name, ODD[odd])) == fine


@pytest.mark.parametrize("name", READ)
def test_a_truncated_file_is_named_with_the_remedy(name, write):
    content, read = READ[name]
    whole = json.dumps(content).encode()
    for length in range(1, len(whole), max(1, len(whole) // 5)):
        assert not mended(name, read, write(name, whole[:length]))


def places(value, place=()):
    """Every place in nested dicts and lists."""
    yield place
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in items if isinstance(value, dict | list) else ():
        yield from places(part, (*place, key)) if isinstance(part, dict | list) else [(*place, key)]


@pytest.mark.parametrize("name", READ)
def test_values_of_other_types_are_named_or_harmless(name, write):
    """Any value in the place of any other: no error but one that names the file."""
    content, read = READ[name]
    if name == "model.json":  # any dict may be compared
        return
    tried = 0
    for place in places(content):
        for other in OTHERS:
            tried += 1
            changed = {"": copy.deepcopy(content)}
            target, steps = changed, ("", *place)
            for step in steps[:-1]:
                target = target[step]
            target[steps[-1]] = other
            # Read, or named with the remedy: `mended` asserts it.
            mended(name, read, write(name, json.dumps(changed[""]).encode()))
    assert tried >= len(OTHERS)


def test_columns_of_different_lengths_are_damaged(write):
    content, read = READ["likelihood.json"]
    folder = write("likelihood.json", json.dumps(content | {"nfe": []}).encode())
    assert not mended("likelihood.json", read, folder)


def test_every_json_file_of_a_workdir_is_in_the_table(plane_run):
    """A file that is written and read by a new name must be added above."""
    never_read = {"data.json", "metrics.json", "inpainting.json"}
    written = {path.name for path in plane_run.rglob("*.json")}
    assert written <= {name.rpartition("/")[2] for name in READ} | never_read


@pytest.mark.parametrize("content", [b"[]", b'{"pid": 1}', b"null", b"\xff", b"[" * 9_999])
def test_a_damaged_lock_is_no_obstacle_to_the_message(content, tmp_path):
    with only_process(tmp_path):
        (tmp_path / ".lock").write_bytes(content)
        with pytest.raises(UsageError, match="is being used by another process"), \
             only_process(tmp_path):  # fmt: skip
            pass


# Configurations -------------------------------------------------------------------------------

GIN = {
    "no text": b"\xff\xfe\x00",
    "another encoding": "fit.steps = 3  # ein Schritt für alle".encode("latin-1"),
    "zeros": bytes(20),
    "truncated": b"fit.steps = (1,",
    "an open text": b'fit.steps = "3',
    "an open block": b'fit.steps = """3',
    "no binding": b"just words",
    "indented": b"    fit.steps = 3\n  x\n",
    "an unknown name": b"fitt.steps = 3",
    "a module that is not there": b"import no_such_module_at_all",
    "a file that is not there": b"include 'nowhere.gin'",
    "itself": b"include 'config.gin'",
    "JSON": b'{"a": 1}',
    "nested": b"fit.steps = " + b"(" * 5_000,
    "a very large number": b"fit.steps = " + b"9" * 5_000,
}


@pytest.mark.parametrize("odd", GIN)
def test_an_odd_gin_file_is_named(odd, write):
    folder = write("config.gin", GIN[odd])
    write("run.json", b'{"imports": []}')
    with pytest.raises(UsageError, match=r"config\.gin|nowhere\.gin"):
        _runs.load_configuration(folder)
    with pytest.raises(UsageError, match=r"config\.gin|nowhere\.gin"):
        _gin.load(folder / "config.gin")


@pytest.mark.parametrize("name", ["run.json", "config.gin", "model.json"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[3"], ids=["empty", "no text", "cut"])
def test_every_command_names_a_damaged_file_of_its_run(name, content, plane_run, tmp_path, capsys):
    workdir = tmp_path / "run"
    shutil.copytree(plane_run, workdir)
    (workdir / name).write_bytes(content)
    train = ["train", f"--gin_file={SMALL}"]
    commands = [["sample"], ["evaluate"], ["inpainting"], train]
    for words in commands if name != "model.json" else [train]:
        if (name, words) == ("run.json", train):  # it is written again
            continue
        status = main([*words, f"--workdir={workdir}", f"--gin_bindings={ONE}"])
        printed = capsys.readouterr().err
        assert status == 1, printed
        assert "Traceback" not in printed
        assert str(workdir) in printed
    if name == "config.gin" and content.startswith(b"\xff"):
        with pytest.raises(UsageError, match="config.gin"):
            report_finished([workdir])


def test_forms_say_what_is_wrong():
    form = {"a": [forms.COUNT], "b": forms.Optional({str: forms.NUMBER}), "c": forms.Nullable(dict)}
    assert forms.mismatch({"a": [1], "c": None}, form) is None
    for value, said in (
        ({"a": [1, -1], "c": None}, r"a[1] should be a whole number from 0 up; got -1"),
        ({"a": [1]}, "c is missing"),
        ({"a": [], "c": {}, "b": {"x": True}}, "b.x should be a number; got True"),
        ([], "it should be an object with keys; got []"),
        ({"a": {}, "c": 1}, "a should be a list; got {}"),
    ):
        assert forms.mismatch(value, form) == said


def test_a_text_in_another_encoding_and_without_permission_is_named(tmp_path):
    (tmp_path / "x").write_bytes(b"\xff")
    with pytest.raises(UsageError, match="x is no text in UTF-8"):
        files.read_text(tmp_path / "x")

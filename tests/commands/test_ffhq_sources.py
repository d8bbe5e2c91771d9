"""gin/lcss_ffhq.gin from a folder, a prepared dataset and a TFRecord: the same batches."""

import numpy as np
import pytest
import tensorflow as tf

from lcss_tf.commands import _gin
from lcss_tf.commands._benchmark_more import write_pictures
from lcss_tf.data.pipeline import training_batches
from lcss_tf.preparation import Source, prepare
from lcss_tf.training.distribution import Distribution
from tests.commands.helpers import load
from tests.data.helpers import write_records
from tests.processes import run, scalars

NARROW = [
    "NCSNpp.num_features = 4",
    "NCSNpp.channel_multipliers = (1, 1, 1, 1, 1)",  # attention in the middle alone, at 64×64
    "NCSNpp.attention_resolutions = ()",
    "fit.steps = 2",
    "fit.batch_size = 2",
    "sample.batch_size = 2",
    "TrainStep.jit_compile = False",
    "Pictures.every = 0",
    "check_prior.num_examples = 4",
    "Trainer.log_every = 1",
]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Bindings by source: four images of 1,024 pixels, one of them held out."""
    root = tmp_path_factory.mktemp("ffhq")
    folder = root / "images1024x1024"
    for part in ("00000", "01000"):
        write_pictures(folder / part, 2, 1024)
    paths = sorted(folder.rglob("*.png"))
    # The same two pictures lie in both parts: make the second ones different.
    for path in paths[2:]:
        image = 255 - tf.io.decode_png(path.read_bytes()).numpy()
        path.write_bytes(tf.io.encode_png(image).numpy())
    images = [tf.io.decode_png(path.read_bytes()).numpy() for path in paths]
    write_records(root / "ffhq-r10.tfrecords", images)
    prepare(Source(str(folder), 1024), root / "tfds", name="ffhq")
    return {
        "folder": [f"ImageFolder.root = '{folder}'"],
        "tfds": [
            "fit.data = @datasets.TFDS()", "TFDS.name = 'ffhq'",
            "TFDS.shape = (1024, 1024, 3)", f"TFDS.data_dir = '{root}/tfds'",
            "TFDS.flip = True", "TFDS.centered = False",
        ],
        "tfrecord": [
            "fit.data = @datasets.FFHQ()", f"FFHQ.path = '{root}/ffhq-r10.tfrecords'",
            "FFHQ.flip = True", "FFHQ.centered = False",
        ],
    }  # fmt: skip


def batches(bindings, count, start_step=0):
    load("lcss_ffhq.gin", *NARROW, *bindings)
    arguments, distribution = _gin.fit(), Distribution(1)
    iterator = training_batches(
        arguments["data"], distribution, arguments["batch_size"], arguments["seed"], start_step
    )
    return np.stack([distribution.first(next(iterator)).numpy() for _ in range(count)])


@pytest.mark.slow
def test_the_three_give_identical_batches(sources):
    folder = batches(sources["folder"], 4)
    assert folder.shape == (4, 2, 1024, 1024, 3)
    assert folder.min() >= 0
    assert 0.8 < folder.max() <= 1.0  # [0, 1], and which images come first is the seed's
    assert len({image.tobytes() for image in folder.reshape(8, -1)}) >= 3
    for name in ("tfds", "tfrecord"):
        # Resuming at step 1 is the same, too, and no image lies in memory.
        uncached = f"{'TFDS' if name == 'tfds' else 'FFHQ'}.cache_mib = 0"
        other = batches([*sources[name], uncached], 3, 1)
        assert np.array_equal(other, folder[1:]), name


@pytest.fixture(scope="module")
def trained(sources, tmp_path_factory):
    """The losses and gradient norms of the first steps, by source, as a person trains."""
    root, known = tmp_path_factory.mktemp("trained"), {}

    def figures(name):
        if name not in known:
            flags = [f"--gin_bindings={line}" for line in [*NARROW, *sources[name]]]
            run("train", "--gin_file=gin/lcss_ffhq.gin", f"--workdir={root / name}", *flags)
            known[name] = [scalars(root / name, tag) for tag in ("loss/total", "gradient_norm")]
        return known[name]

    return figures


@pytest.mark.slow
@pytest.mark.parametrize("name", ["folder", "tfds", "tfrecord"])
def test_the_command_trains_on_each_the_same(trained, name):
    losses, norms = trained(name)
    assert sorted(losses) == [1, 2]
    expected_losses, expected_norms = trained("folder")
    # The batches are identical; sums over threads may round differently. A fresh network's output
    # is next to nothing, and its losses with it: gradients tell the batches apart.
    assert losses == pytest.approx(expected_losses, rel=1e-4)
    assert norms == pytest.approx(expected_norms, rel=1e-4)
    assert norms[1] != pytest.approx(norms[2], rel=1e-2)

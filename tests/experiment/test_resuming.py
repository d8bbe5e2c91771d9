"""A run that is gone on with ends as the whole one; tests/reliability kills real processes."""

import shutil

import gin

from lcss_tf import config
from lcss_tf.experiment import train
from tests.processes import ROOT, assert_same_end


def test_from_an_earlier_checkpoint_on_every_array_ends_the_same(tmp_path):
    def trained(workdir):
        gin.clear_config()
        config.load(ROOT / "tests/small.gin")
        return train(workdir)

    trained(tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    (newest,) = (tmp_path / "again").glob("checkpoints/step_000000040.npz")
    newest.unlink()
    assert trained(tmp_path / "again").step == 40
    assert_same_end(tmp_path / "whole", tmp_path / "again")

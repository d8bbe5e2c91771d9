"""Commands in this process, and small runs for them."""

from pathlib import Path

import gin

from lcss_tf.commands import _gin, _runs
from lcss_tf.commands.main import main
from lcss_tf.commands.train import train

ROOT = Path(__file__).parents[2]
SMALL = ROOT / "tests" / "small.gin"
ONE = "Distribution.num_replicas = 1"  # of the two that a test's process has
DIGITS = [
    "fit.data = @datasets.Digits()",
    "ScoreModel.network = @networks.NCSNpp()",
    "NCSNpp.num_features = 4",
    "NCSNpp.channel_multipliers = (1,)",
    "NCSNpp.num_res_blocks = 1",
    "NCSNpp.attention_resolutions = ()",
    "NCSNpp.dropout = 0.0",
    "fit.steps = 20",
    "EulerMaruyama.num_steps = 5",
]

# Of a .csv file with the columns a and b, unless a test says otherwise after it.
TABLE = """
fit.data = @datasets.Table()
Table.path = "{}"
Table.columns = ("a", "b")
ScoreModel.network = @networks.MLP()
MLP.width = 8
MLP.depth = 1
fit.steps = 2
fit.batch_size = 8
TrainStep.jit_compile = False
Pictures.every = 0
check_prior.num_examples = 4
sample.sampler = @samplers.ProbabilityFlowODE()
sample.jit_compile = False
sample.batch_size = 8
ProbabilityFlowODE.num_steps = 2
"""


def lcss(*words, bindings=()):
    """The exit status of ``lcss <words>``, run in this process."""
    return main([*map(str, words), *(f"--gin_bindings={line}" for line in bindings)])


def load(gin_file, *bindings, imports=()):
    """Parses a gin file, on one replica."""
    _gin.load(gin_file, [ONE, *bindings], imports)


def load_run(workdir, *bindings):
    """Parses the configuration of a run, on one replica; returns the workdir."""
    gin.clear_config()
    _runs.load_configuration(workdir, [ONE, *bindings])
    return workdir


def trained(workdir, *bindings, gin_file=SMALL):
    """Trains a gin file into a workdir, which is returned."""
    load(gin_file, *bindings)
    train(workdir)
    gin.clear_config()
    return workdir

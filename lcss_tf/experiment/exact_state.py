"""The exact score of known data, where a trained state stands: samplers alone are then measured."""

from types import SimpleNamespace

from lcss_tf.errors import UsageError
from lcss_tf.score import ScoreModel


class ExactState:
    """What `Generation` asks a `TrainState` for, without a network.

    Args:
      data: has `score(x, alpha_t, sigma_t)`, ∇log p_t in the graph; a `Mixture`, say.
      sde: an affine SDE.

    Raises:
      ValueError: there is no such closed form.
    """

    network = None

    def __init__(self, data, sde):
        if not sde.has_marginal or not hasattr(data, "score"):
            raise UsageError(
                "An exact score takes data with score(x, alpha_t, sigma_t), such as "
                f"GaussianMixture, on an affine SDE; got {type(data).__name__} on "
                f"{type(sde).__name__}."
            )

        def score(network, sde, x, t):
            del network
            return data.score(x, *sde.marginal(t))

        self.model = ScoreModel(sde, score)
        self.ema = SimpleNamespace(network=None)

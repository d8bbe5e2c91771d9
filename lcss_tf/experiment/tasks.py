"""What bin/sample.py can be asked for: a function of (workdir, `Request`) for each task."""

from dataclasses import dataclass

from lcss_tf.control import AveragePooling, Greyscale, InverseProblem, Mask
from lcss_tf.errors import UsageError
from lcss_tf.experiment.latents import encode_inputs, interpolate_inputs
from lcss_tf.experiment.restoring import restore
from lcss_tf.experiment.sampling import sample


@dataclass
class Request:
    """The flags of the command.

    num_samples: in all, or for each input; None: the task's own number. out, seed, label: see
    `sample`. inputs: see `read_inputs`. mask, factor: of the operators. noise_std: of the noise
    in the observation, in the units of the scaled data. trajectory: also draw the way there.
    """

    num_samples: int | None = None
    out: str | None = None
    seed: int = 0
    label: int | None = None
    inputs: tuple = ()
    mask: str = "half"
    factor: int = 2
    noise_std: float = 0.0
    trajectory: bool = False


def _sample(workdir, request):
    count = 64 if request.num_samples is None else request.num_samples
    return sample(
        workdir, count, request.out, request.seed, request.label, trajectory=request.trajectory
    )


def _restore(make_operator):
    def task(workdir, request):
        if request.trajectory:
            raise UsageError("--trajectory draws the way of free samples: leave --task out.")
        problem = InverseProblem(make_operator(request), None, request.noise_std)
        count = 4 if request.num_samples is None else request.num_samples
        return restore(
            workdir, problem, request.inputs, count, request.out, request.seed, request.label
        )

    return task


def _encode(workdir, request):
    return encode_inputs(workdir, request.inputs, request.out)


def _interpolate(workdir, request):
    count = 9 if request.num_samples is None else request.num_samples
    return interpolate_inputs(workdir, request.inputs, count, request.out)


TASKS = {
    "sample": _sample,
    "encode": _encode,
    "interpolate": _interpolate,
    "inpaint": _restore(lambda request: Mask(request.mask)),
    "colourise": _restore(lambda request: Greyscale()),
    "superresolve": _restore(lambda request: AveragePooling(request.factor)),
}

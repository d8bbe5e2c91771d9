"""lcss_tf: score-based diffusion models by local curvature smoothing with Stein's identity."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "lcss_tf/__init__.py").read_text())[1]

setup(
    name="lcss_tf",
    version=VERSION,
    description="Score-based diffusion models without Jacobian traces, on SDEs of any drift",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.13",
    # gin/ holds configurations, never a package: it would shadow the library of that name.
    packages=find_packages(include=["lcss_tf*"]),
    package_data={"lcss_tf.report": ["templates/*"]},
    install_requires=[
        "tensorflow>=2.18",
        "keras>=3.6",
        "tensorflow-datasets>=4.9",
        "importlib_resources>=5.0",  # tensorflow-datasets 4.9.10 needs it to prepare data
        "numpy>=1.26",
        "absl-py>=2.0",
        "gin-config>=0.5",
        "tensorboard>=2.18",
        "scikit-learn>=1.4",  # ships the digits
        "scipy>=1.11",  # banded solves and splines of the exact scores
        "tqdm>=4.66",
        "matplotlib>=3.8",  # densities, score fields
        "pillow>=10.0",  # PNG, and users' image files
        "jinja2>=3.1",  # reports in HTML, all text escaped
    ],
    extras_require={
        # xdist: the tests are many small compilations, each on one core.
        "test": ["pytest>=8.0", "pytest-xdist>=3.6", "ruff>=0.6"],
        "gpu": ["tensorflow[and-cuda]>=2.18"],
        # Other people's code for FID, KID, IS, precision and recall, density and coverage: tests
        # hold ours against it. torch-fidelity needs torch, and imports torchvision without need.
        "parity": ["torch-fidelity>=0.4", "prdc>=0.2"],
        "beam": ["apache-beam>=2.60"],  # bin/prepare_data.py --beam
        "torch": ["torch>=2.4"],  # reads score_sde's checkpoints; the CPU build is enough
    },
)

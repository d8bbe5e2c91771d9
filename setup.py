"""What pyproject.toml cannot say: the gin files of gin/ are shipped as lcss_tf.configs.

gin/ holds configurations and is never a package of its own: it would shadow the library gin.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["lcss_tf", "lcss_tf.*"]), "lcss_tf.configs"],
    package_dir={"lcss_tf": "lcss_tf", "lcss_tf.configs": "gin"},
    package_data={
        "lcss_tf": ["py.typed"],
        "lcss_tf.configs": ["*.gin", "*/*.gin"],
        "lcss_tf.metrics": ["weights/*.npz"],
        "lcss_tf.reports": ["templates/*"],
    },
)

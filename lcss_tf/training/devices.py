"""The names of this machine's devices for a number of replicas."""

import tensorflow as tf

from lcss_tf.errors import UsageError


def device_names(num_replicas):
    """Device names, or None for the strategy's own choice; see `Distribution`.

    Raises:
      ValueError: there are not as many.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if num_replicas is None:
        return None if gpus else ("/cpu:0",)
    if num_replicas < 1:
        raise UsageError(f"distribution.num_replicas must be at least 1; got {num_replicas}.")
    if num_replicas <= len(gpus):
        return tuple(f"/gpu:{i}" for i in range(num_replicas))
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        if tf.config.get_logical_device_configuration(cpu) is None:
            tf.config.set_logical_device_configuration(
                cpu, [tf.config.LogicalDeviceConfiguration()] * num_replicas
            )
    except RuntimeError:  # the devices are initialised already: use those there are
        pass
    cpus = tf.config.list_logical_devices("CPU")
    if len(cpus) < num_replicas:
        raise UsageError(
            f"distribution.num_replicas = {num_replicas}, but this machine has {len(gpus)} GPUs "
            f"and {len(cpus)} logical CPU devices. Use at most {max(len(gpus), len(cpus))}."
        )
    return tuple(f"/cpu:{i}" for i in range(num_replicas))

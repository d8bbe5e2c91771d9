"""Which processes train together, and which of them this is: read from the environment.

Three kinds of environment are known: TensorFlow's own TF_CONFIG, the variables that Slurm sets
for every task of a step, and those of a pod of an indexed Kubernetes Job (launch/).
"""

import contextlib
import json
import re
import signal
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from lcss_tf.display import say
from lcss_tf.errors import UsageError

TEMPORARY = 75  # the exit status that says "try again" (EX_TEMPFAIL): lost workers, hanging data
_PORT = 12_345
_SLURM = ("SLURM_PROCID", "SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE")
_KUBERNETES = ("JOB_COMPLETION_INDEX", "LCSS_TF_NUM_WORKERS", "LCSS_TF_SERVICE", "HOSTNAME")


class ClusterError(UsageError):
    """The environment names no cluster, or one that cannot be."""


class Cluster(NamedTuple):
    """workers: addresses "host:port" in their order, the chief first. index: of this process."""

    workers: tuple[str, ...]
    index: int  # type: ignore[assignment]  # tuple has a method of this name

    def tf_config(self) -> str:
        """As TF_CONFIG has it."""
        task = {"type": "worker", "index": self.index}
        return json.dumps({"cluster": {"worker": list(self.workers)}, "task": task})


def find_cluster(environment: Mapping[str, str]) -> Cluster:
    """The `Cluster` that the environment variables describe.

    LCSS_TF_PORT is the first port used under Slurm and Kubernetes, 12345 by default.

    Raises:
      ClusterError: none, or one that contradicts itself; says which variables were looked for.
    """
    for names, read in (
        (("TF_CONFIG",), _from_tf_config),
        (_KUBERNETES[:1], _from_kubernetes),
        (_SLURM[:1], _from_slurm),
    ):
        if environment.get(names[0]):
            return _checked(read(environment), names[0])
    raise ClusterError(
        "The strategy multi_worker needs to know the other workers, and the environment has "
        "neither TF_CONFIG, nor the variables of a Slurm step (start by srun, see "
        "launch/slurm.sh), nor those of an indexed Kubernetes Job (launch/kubernetes.yaml). "
        "On one machine use the strategy mirrored, or bin/launch.py to start several processes."
    )


@contextlib.contextmanager
def waiting_for_others(cluster: Cluster, seconds: float) -> Iterator[None]:
    """Ends the process by SIGALRM if the block, in which workers meet, takes too long.

    By the operating system: TensorFlow waits without end, and lets no Python run meanwhile. So the
    message comes before.
    """
    others = ", ".join(w for i, w in enumerate(cluster.workers) if i != cluster.index)
    say(
        f"Worker {cluster.index} of {len(cluster.workers)} waits up to {seconds:g} s for the "
        f"others ({others}). If it ends here (SIGALRM): do they run, by the same command, and can "
        "these addresses be reached? Distribution.start_timeout_s sets the limit.",
        error=True,
    )
    with contextlib.suppress(AttributeError, ValueError):  # Windows, or not in the main thread
        signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        with contextlib.suppress(AttributeError, ValueError):
            signal.setitimer(signal.ITIMER_REAL, 0)


def _checked(cluster, source):
    if not 0 <= cluster.index < len(cluster.workers):
        raise ClusterError(
            f"{source} names {len(cluster.workers)} workers and says that this is number "
            f"{cluster.index}; the numbers run from 0 to {len(cluster.workers) - 1}."
        )
    if len(set(cluster.workers)) < len(cluster.workers):
        raise ClusterError(f"{source} names an address twice: {', '.join(cluster.workers)}.")
    return cluster


def _from_tf_config(environment):
    text = environment["TF_CONFIG"]
    try:
        config = json.loads(text)
        jobs, task = config["cluster"], config["task"]
        workers = [*jobs.get("chief", ()), *jobs["worker"]]
        index = int(task["index"])
        kind = task["type"]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ClusterError(
            f"TF_CONFIG cannot be read ({error!r}): {text[:200]}\nExpected such as "
            + Cluster(("host0:12345", "host1:12345"), 0).tf_config()
        ) from error
    if kind not in ("chief", "worker"):
        raise ClusterError(f"TF_CONFIG's task type is {kind!r}; expected chief or worker.")
    if kind == "worker":
        index += len(jobs.get("chief", ()))
    return Cluster(tuple(workers), index)


def _from_slurm(environment):
    missing = [name for name in _SLURM if not environment.get(name)]
    if missing:
        raise ClusterError(f"Not in a Slurm step: {', '.join(missing)} are not set. Use srun.")
    rank, nodes, tasks = (environment[name] for name in _SLURM)
    # In the order of the list: Slurm numbers the tasks by it (block distribution). TensorFlow's
    # own resolver sorts the names, and mixes up n9 and n10.
    counts = _counts(tasks)
    hosts = hosts_of(nodes)
    if len(counts) != len(hosts):
        raise ClusterError(
            f"Slurm's {_SLURM[1]}={nodes} has {len(hosts)} hosts, {_SLURM[2]}={tasks} "
            f"{len(counts)}."
        )
    port = _port(environment)
    workers = [
        f"{h}:{port + i}" for h, count in zip(hosts, counts, strict=True) for i in range(count)
    ]
    return Cluster(tuple(workers), int(rank))


def hosts_of(nodelist: str) -> list[str]:
    """Slurm's list of hosts written out: ``n[08-10],m5`` is n08, n09, n10, m5.

    Raises:
      ClusterError: it is no such list.
    """
    hosts = []
    for part in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", nodelist):
        match = re.fullmatch(r"([^\[\]]*)(?:\[([\d,-]+)\])?([^\[\]]*)", part)
        if not match:
            raise ClusterError(f"{nodelist!r} is no list of hosts as Slurm writes it.")
        before, ranges, after = match.groups()
        if ranges is None:
            hosts.append(part)
            continue
        for one in ranges.split(","):
            first, _, last = one.partition("-")
            width = len(first)
            numbers = range(int(first), int(last or first) + 1)
            hosts += [f"{before}{n:0{width}d}{after}" for n in numbers]
    return hosts


def _counts(tasks):
    """``2(x3),1`` is 2, 2, 2, 1."""
    counts = []
    for part in tasks.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if not match:
            raise ClusterError(f"{tasks!r} does not count tasks as Slurm does, such as 2(x3),1.")
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def _from_kubernetes(environment):
    missing = [name for name in _KUBERNETES if not environment.get(name)]
    if missing:
        raise ClusterError(
            f"In a pod of an indexed Job {', '.join(missing)} must be set; copy "
            "launch/kubernetes.yaml, which does."
        )
    index, count, service, host = (environment[name] for name in _KUBERNETES)
    # A pod of an indexed Job is called <job>-<index>, and reachable through its headless service.
    job = host.removesuffix(f"-{index}")
    port = _port(environment)
    workers = [f"{job}-{i}.{service}:{port}" for i in range(int(count))]
    return Cluster(tuple(workers), int(index))


def _port(environment):
    return int(environment.get("LCSS_TF_PORT", _PORT))

"""Who the workers are, read from TF_CONFIG, Slurm's variables and Kubernetes'."""

import json

import pytest
import tensorflow as tf

from lcss_tf.errors import UsageError
from lcss_tf.training import distribution
from lcss_tf.training.cluster import Cluster, ClusterError, find_cluster, hosts_of

OF_A_PARAMETER_SERVER = '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}'


def test_what_is_written_is_read_back():
    cluster = Cluster(("a:1", "b:2"), 1)
    assert find_cluster({"TF_CONFIG": cluster.tf_config()}) == cluster


def test_a_chief_is_the_first_worker():
    jobs = {"chief": ["c:1"], "worker": ["a:1", "b:1"]}
    for kind, index, place in (("chief", 0, 0), ("worker", 0, 1), ("worker", 1, 2)):
        config = {"cluster": jobs, "task": {"type": kind, "index": index}}
        found = find_cluster({"TF_CONFIG": json.dumps(config)})
        assert found == Cluster(("c:1", "a:1", "b:1"), place)


def test_slurm():
    environment = {
        "SLURM_PROCID": "3",
        "SLURM_STEP_NODELIST": "n[9-10],m5",
        "SLURM_STEP_TASKS_PER_NODE": "2,1(x2)",
        "LCSS_TF_PORT": "7000",
    }
    # In the order of the list, which numbers the tasks: n9 before n10.
    workers = ("n9:7000", "n9:7001", "n10:7000", "m5:7000")
    assert find_cluster(environment) == Cluster(workers, 3)


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("node1", ["node1"]),
        ("a,b-2,c", ["a", "b-2", "c"]),
        ("n[08-11,20]", ["n08", "n09", "n10", "n11", "n20"]),
        ("g[1-2]-ib,m", ["g1-ib", "g2-ib", "m"]),
    ],
)
def test_lists_of_hosts(text, hosts):
    assert hosts_of(text) == hosts


def test_kubernetes():
    environment = {
        "JOB_COMPLETION_INDEX": "2",
        "LCSS_TF_NUM_WORKERS": "3",
        "LCSS_TF_SERVICE": "svc",
        "HOSTNAME": "my-job-2",
    }
    workers = ("my-job-0.svc:12345", "my-job-1.svc:12345", "my-job-2.svc:12345")
    assert find_cluster(environment) == Cluster(workers, 2)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "neither TF_CONFIG, nor the variables of a Slurm step"),
        ({"TF_CONFIG": "{"}, "TF_CONFIG cannot be read"),
        ({"TF_CONFIG": '{"cluster": {"worker": ["a:1"]}}'}, "TF_CONFIG cannot be read"),
        ({"TF_CONFIG": Cluster(("a:1", "a:1"), 0).tf_config()}, "names an address twice: a:1"),
        ({"TF_CONFIG": Cluster(("a:1",), 1).tf_config()}, "run from 0 to 0"),
        ({"TF_CONFIG": OF_A_PARAMETER_SERVER}, "task type is 'ps'"),
        ({"SLURM_PROCID": "0"}, "SLURM_STEP_NODELIST"),
        (
            {
                "SLURM_PROCID": "0",
                "SLURM_STEP_NODELIST": "n[1-3]",
                "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
            },
            "has 3 hosts",
        ),
        ({"JOB_COMPLETION_INDEX": "0"}, "LCSS_TF_NUM_WORKERS"),
    ],
)
def test_what_cannot_be_is_refused(environment, message):
    with pytest.raises(ClusterError, match="(?s)" + message.replace("(", r"\(")):
        find_cluster(environment)


def test_a_port_that_another_process_has_is_named(monkeypatch):
    def taken():
        raise tf.errors.UnknownError(None, None, "Could not start gRPC server")

    cluster = Cluster(("127.0.0.1:4711", "127.0.0.1:4712"), 0)
    monkeypatch.setenv("TF_CONFIG", cluster.tf_config())
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", taken)
    with pytest.raises(UsageError, match=r"listen at 127\.0\.0\.1:4711 .*LCSS_TF_PORT.*TF_CONFIG"):
        distribution._multi_worker.__wrapped__(1.0)

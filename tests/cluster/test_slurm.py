"""The recipes of deploy/slurm/ on a real SLURM of two nodes, submitted, requeued and submitted again.

Run by `make test-cluster`, as root, where slurm-wlm and munge are installed.
"""

from __future__ import annotations

import pytest

from tests.cluster import slurm
from tests.cluster.slurm import RECIPES
from tests.support import faults

pytestmark = pytest.mark.cluster

SPEC = faults.SPEC.replace("seeds: 1", "seeds: 2")


@pytest.fixture(scope="module")
def cluster(mnist, tmp_path_factory):
    if reason := slurm.missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("slurm")
    (folder / "small.yaml").write_text(SPEC)
    with slurm.running(folder, 2) as started:
        yield started


@pytest.fixture(scope="module")
def undisturbed(cluster, tmp_path_factory):
    return faults.undisturbed(cluster.folder / "small.yaml", tmp_path_factory.mktemp("undisturbed") / "run")


def test_job_on_two_nodes_is_requeued_and_goes_on_to_the_same_tables(cluster, undisturbed):
    job = cluster.submit(RECIPES / "launch.sbatch", "small.yaml", "--checkpoint-every", "1")
    run = cluster.runs / "small"
    cluster.until(lambda: len(faults.ends(run)) >= 2, "two replicates have finished", 400)
    cluster.call("scontrol", "requeue", job)
    finished = faults.ends(run)
    log = cluster.finish(job)
    assert "Done: 9 finished" in log and log.count("On head node") == 2 and "On worker node" in log, log
    assert finished.items() <= faults.ends(run).items(), "what had finished was not trained again"
    faults.assert_same(undisturbed, run)


def test_job_array_without_ray_is_merged_to_the_same_tables(cluster, undisturbed):
    job = cluster.submit("--array=0-1", RECIPES / "array.sbatch", "small.yaml")
    merge = cluster.submit(f"--dependency=afterany:{job}", RECIPES / "merge.sbatch", "small.yaml")
    log = cluster.finish(merge)
    assert "every file is sound" in log, log
    assert cluster.states(job) == {"COMPLETED"}
    faults.assert_same(undisturbed, cluster.runs / "small-tables", ordered=False)

"""The fixture of the cluster tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster import hosts
from tests.cluster.rayup import Cluster


@pytest.fixture(scope="module")
def cluster(mnist: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three hosts, Ray not yet started."""
    if reason := hosts.missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("cluster")
    with hosts.running(folder / "hosts", 3) as machines:
        yield Cluster(folder, machines, 3)

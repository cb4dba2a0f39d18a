"""A campaign on a real Dask cluster over TCP, one of whose workers is killed in the middle."""

import os
import signal
from typing import Any

import pytest

from vnet_rx.testing import Budget, Limits, Report, fuzz

distributed = pytest.importorskip("distributed", reason="the distributed package is not installed")

SETTINGS: dict[str, Any] = {
    "budget": Budget(cases=1500),
    "seed": 11,
    "limits": Limits(operations=(4, 16)),
}


def comparable(report: Report) -> dict[str, Any]:
    return {**report.as_dict(), "seconds": 0, "operations_per_second": 0}


@pytest.mark.filterwarnings("ignore")
def test_a_cluster_that_loses_a_worker_reports_the_same() -> None:
    alone = fuzz("reference+M06", "reference", **SETTINGS)
    assert alone.findings
    killed: list[int] = []
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, protocol="tcp", host="127.0.0.1", dashboard_address=None
    )
    with cluster, distributed.Client(cluster) as client:
        pids: dict[str, int] = client.run(os.getpid)

        def kill_one(report: Report) -> None:
            if report.cases >= 300 and not killed:
                killed.append(pids.popitem()[1])
                os.kill(killed[0], signal.SIGKILL)

        executor = client.get_executor()
        spread = fuzz(
            "reference+M06", "reference", executor=executor, on_progress=kill_one, **SETTINGS
        )
        executor.shutdown()
    assert killed
    assert comparable(spread) == comparable(alone)

"""Dask DataFrames, by its local schedulers and by a cluster that loses a worker."""

import os
import signal
import threading
import time

import dask
import dask.dataframe as dd
import numpy as np
import pytest

from skmixed import MixedLinearRegressor, distributed
from skmixed.exceptions import PartitionError
from tests.distributed.rows import assert_same_fit, engine_fit, table, whole_fit

N_PARTS = 20
SIZE = 100


def part(number, delay=0.0, broken=None):
    """Return one partition, after a while."""
    time.sleep(delay)
    if number == broken:
        raise OSError("the disk is gone")
    return table()[number * SIZE : (number + 1) * SIZE]


def frame(**how):
    return dd.from_map(part, range(N_PARTS), meta=table()[:0], **how)


@pytest.fixture(scope="module")
def client():
    from dask.distributed import Client, LocalCluster

    settings = {"distributed.scheduler.allowed-failures": 10}
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, processes=True
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def test_progress(capsys):
    with dask.config.set(scheduler="threads"):
        engine_fit(frame(), verbose=1)
    assert "100% Completed" in capsys.readouterr().out


def test_threads():
    with dask.config.set(scheduler="threads"):
        assert_same_fit(engine_fit(frame()), whole_fit(table()), rtol=1e-9)


def test_columns_that_are_called_by_numbers():
    numbered = table().rename(columns={"g": 0, "x": 1, "y": 2})[[0, 1, 2]]
    named = numbered.rename(columns=str)
    model = MixedLinearRegressor(group_features="0").fit(named[["0", "1"]], named["2"])
    parts = dd.from_pandas(numbered, npartitions=4)
    with dask.config.set(scheduler="sync"):
        again = distributed.fit(MixedLinearRegressor(group_features="0"), parts, target="2")
        found = distributed.predict(model, parts.rename(columns={2: 7})).compute()
    np.testing.assert_allclose(again.coef_, model.coef_, rtol=1e-9)
    np.testing.assert_allclose(found, model.predict(named[["0", "1"]]), rtol=1e-12)


def test_predictions_are_a_series():
    fitted = whole_fit(table())
    lazy = distributed.predict(fitted, frame())
    assert isinstance(lazy, dd.Series)
    with dask.config.set(scheduler="sync"):
        np.testing.assert_allclose(lazy.compute(), fitted.predict(table()), rtol=1e-12)


def test_partition_that_cannot_be_read_is_named():
    with (
        dask.config.set(scheduler="sync"),
        pytest.raises(PartitionError, match="partition 13 cannot be read: the disk is gone"),
    ):
        engine_fit(frame(broken=13))


def test_partition_with_an_invalid_value_is_named():
    rows = table()
    rows.loc[777, "y"] = np.inf
    spoilt = dd.from_pandas(rows, npartitions=20, sort=False)
    with (
        dask.config.set(scheduler="sync"),
        pytest.raises(PartitionError, match=r"^partition 7: Input y contains infinity"),
    ):
        engine_fit(spoilt)


@pytest.mark.filterwarnings("ignore")  # of the cluster, which is being damaged
def test_worker_that_is_killed_in_mid_fit_changes_nothing(client):
    before = client.run(os.getpid)
    rows = frame(delay=0.3)
    done = {}

    def fit():
        with client.as_current():
            done["fit"] = engine_fit(rows)

    thread = threading.Thread(target=fit)
    thread.start()
    time.sleep(1.5)
    assert not done
    os.kill(next(iter(before.values())), signal.SIGKILL)
    thread.join(120)
    client.wait_for_workers(2)
    assert set(client.run(os.getpid).values()) != set(before.values())
    assert_same_fit(done["fit"], whole_fit(table()), rtol=1e-9)


@pytest.mark.filterwarnings("ignore")
def test_cluster_names_the_partition_that_is_broken(client):
    with (
        client.as_current(),
        pytest.raises(PartitionError, match="partition 3 cannot be read: the disk is gone"),
    ):
        engine_fit(frame(broken=3))

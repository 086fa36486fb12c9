"""Spark DataFrames in a local session."""

import shutil
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from skmixed import distributed
from skmixed.exceptions import PartitionError
from tests.distributed.rows import FEATURES, assert_same_fit, engine_fit, table, whole_fit

pytestmark = [
    pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java, which is not there"),
    pytest.mark.skipif(find_spec("pyspark") is None, reason="the extra spark is not there"),
    # pyspark has not caught up with pandas 3, and leaves sockets to the garbage collector
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning"),
    pytest.mark.filterwarnings("ignore:distutils Version classes:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def session():
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.driver.host", "127.0.0.1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        session = builder.getOrCreate()
        session.sparkContext.setLogLevel("OFF")
        yield session
        session.stop()


@pytest.fixture
def frame(session, tmp_path):
    table().to_parquet(tmp_path / "rows.parquet")
    return session.read.parquet(str(tmp_path)).repartition(10)


def test_fit_and_prediction(frame):
    fitted = engine_fit(frame)
    assert_same_fit(fitted, whole_fit(table()), rtol=1e-9)
    column = distributed.predict(fitted, frame)
    rows = frame.withColumn("p", column).collect()
    columns = {name: [row[name] for row in rows] for name in [*FEATURES, "p"]}
    expected = fitted.predict(table().iloc[:0].assign(**columns)[FEATURES])
    np.testing.assert_allclose(columns["p"], expected, rtol=1e-12)


def test_partition_with_an_invalid_value_is_named(frame):
    spoilt = frame.selectExpr("x", "z", "g", "h", "c", "w", "if(g = 7, null, y) as y")
    with pytest.raises(PartitionError, match=r"partition \d+: Input y contains NaN"):
        engine_fit(spoilt)

"""DuckDB relations, streamed; predictions as an expression."""

import duckdb
import numpy as np
import pytest

from skmixed import distributed
from skmixed.exceptions import PartitionError
from tests.distributed.rows import assert_same_fit, engine_fit, table, whole_fit


@pytest.fixture
def connection():
    with duckdb.connect() as connection:
        connection.register("arrow_rows", table())
        yield connection


def test_fit(connection):
    relation = connection.sql("select * from arrow_rows")
    assert_same_fit(engine_fit(relation), whole_fit(table()), rtol=1e-9)


def test_prediction_is_a_column_of_a_query(connection):
    rows = table()
    fitted = whole_fit(rows)
    relation = connection.sql("select * from arrow_rows")
    prediction = distributed.predict(fitted, relation, connection=connection)
    found = relation.select(duckdb.StarExpression(), prediction.alias("p")).df()
    np.testing.assert_allclose(found["p"], fitted.predict(found), rtol=1e-12)


def test_default_connection():
    rows = table(200)
    relation = duckdb.from_df(rows)
    fitted = engine_fit(relation)
    column = distributed.predict(fitted, relation, random="none").alias("p")
    found = relation.select(column).df()["p"]
    np.testing.assert_allclose(found, fitted.predict(rows, random="none"), rtol=1e-12)


def test_query_that_fails_says_why(connection):
    query = "select *, 1 / (case when g = 59 then error('no such shop') else 1 end) as q"
    relation = connection.sql(f"{query} from arrow_rows")
    with pytest.raises(PartitionError, match=r"the relation cannot be read: .*no such shop"):
        engine_fit(relation, ["x", "z", "g", "h", "c", "q"], fixed="x + q")

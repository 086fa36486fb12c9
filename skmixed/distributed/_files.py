"""Data in files that pyarrow reads, mainly parquet."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Container, Iterable, Iterator, Sequence
from os import PathLike, fspath
from typing import Any

import pandas as pd

from skmixed._extras import missing
from skmixed.design.tables import column_names
from skmixed.distributed._chunks import joined, sum_chunks
from skmixed.distributed._partial_sums import PartialSums
from skmixed.distributed._parts import PartPredictor, PartSummer
from skmixed.exceptions import PartitionError

BLOCK_ROWS = 2**20  # rows summed at once: each block costs as much as it has levels


def parquet_files(paths: Sequence[str | PathLike[str]]) -> Any:
    """Return parquet files, or folders of them, as one pyarrow Dataset.

    Raises PartitionError for a file whose columns cannot be read; the message names it.
    """
    try:
        import pyarrow as pa
        import pyarrow.dataset as ds
    except ImportError as error:
        raise missing("pyarrow", "parquet", "reading parquet files") from error
    texts = [fspath(path) for path in paths]
    try:
        return ds.dataset(texts[0] if len(texts) == 1 else texts, format="parquet")
    except pa.ArrowInvalid as error:
        raise PartitionError(f"the files cannot be read: {error}") from error


class ArrowFiles:
    """A pyarrow Dataset, whose fragments are its partitions.

    Its columns are read file by file, one block of rows at a time.
    """

    def __init__(self, dataset: Any, *, has_schema: bool = True) -> None:
        self._dataset = dataset
        self._has_schema = has_schema  # given by the user rather than taken from the first file
        self.names: list[str] = list(dataset.schema.names)

    def total(self, summing: PartSummer) -> PartialSums | None:
        """Sum over the files in turn; pyarrow reads ahead."""
        n_rows = self._n_rows() if summing.verbose else None
        chunks = self._chunks(summing.columns, summing.categories)
        return sum_chunks(summing, chunks, n_rows=n_rows, verbose=summing.verbose)

    def predicted(self, predictor: PartPredictor) -> Any:
        """Return a pyarrow RecordBatchReader of one column, "prediction"."""
        import pyarrow as pa

        schema = pa.schema([("prediction", pa.float64())])
        batches = (
            pa.record_batch([pa.array(predictor(chunk, name))], schema=schema)
            for name, chunk in self._chunks(predictor.columns)
        )
        return pa.RecordBatchReader.from_batches(schema, batches)

    def _n_rows(self) -> int | None:
        """Return the number of rows, None if a file cannot be read: reading will name it."""
        try:
            return int(self._dataset.count_rows())
        except (OSError, ValueError):
            return None

    def _chunks(
        self, columns: list[str], with_order: Container[str] | None = None
    ) -> Iterator[tuple[str, pd.DataFrame]]:
        """Read blocks of rows and name them; what was categories is categories again.

        Raises ValueError where their order is lost, unless it is known of all (None) or of those
        `with_order`.
        """
        for number, fragment in enumerate(self._dataset.get_fragments()):
            path = getattr(fragment, "path", None)
            name = f"partition {number}" + (f" ({path})" if path else "")
            _verify_checksums(fragment)
            try:
                schema = self._schema(fragment, columns)
                lost = _lost_categories(fragment, schema, columns)
                for column, is_ordered in lost.items():
                    if is_ordered and with_order is not None and column not in with_order:
                        raise ValueError(
                            f"the order of the categories of {column!r} is not in the file, since "
                            f"they are not text: say it, as in categories={{{column!r}: [...]}}"
                        )
                scanner = fragment.scanner(schema=schema, columns=columns, batch_size=BLOCK_ROWS)
                for table in tables_of(scanner.to_batches()):
                    yield name, pandas_of(table).astype(dict.fromkeys(lost, "category"))
            except (OSError, ValueError) as error:
                if isinstance(error, PartitionError):
                    raise
                raise PartitionError(f"{name} cannot be read: {error}") from error

    def _schema(self, fragment: Any, columns: list[str]) -> Any:
        """Return the schema by which a file is read.

        Its numbers keep their type, and so does everything unless the schema is the user's: that of
        the first file would round the numbers of the others, or make numbers of text. Raises
        ValueError for columns that the file lacks.
        """
        import pyarrow as pa
        import pyarrow.dataset as ds

        own, fields = fragment.physical_schema, []
        in_path = ds.get_partition_keys(fragment.partition_expression)
        missing = [name for name in columns if name not in own.names and name not in in_path]
        if missing:
            raise ValueError(f"the columns {missing} are missing; there are {own.names}")
        for field in self._dataset.schema:
            found = own.field(field.name) if field.name in own.names else field
            as_found = not self._has_schema or (_is_number(field.type) and _is_number(found.type))
            fields.append(found if as_found else field)
        return pa.schema(fields)


def _lost_categories(fragment: Any, schema: Any, columns: list[str]) -> dict[str, bool]:
    """Return the columns written as categories but read as their values; True if ordered.

    Parquet keeps dictionaries of text alone; of others, the writer's schema tells.
    """
    import pyarrow as pa

    footer = getattr(fragment, "metadata", None)  # of parquet files alone
    encoded = (getattr(footer, "metadata", None) or {}).get(b"ARROW:schema")
    if encoded is None:
        return {}
    written = pa.ipc.read_schema(pa.py_buffer(b64decode(encoded)))
    types = {field.name: field.type for field in written if field.name in columns}
    return {
        name: bool(dtype.ordered)
        for name, dtype in types.items()
        if pa.types.is_dictionary(dtype) and not pa.types.is_dictionary(schema.field(name).type)
    }


def _is_number(dtype: Any) -> bool:
    import pyarrow as pa

    return any(
        ask(dtype) for ask in (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    )


def _verify_checksums(fragment: Any) -> None:
    """Have the checksums of the pages of a parquet file compared, where there are any.

    The other options of its format, as those of encryption, stay as they are.
    """
    format_ = getattr(fragment, "format", None)
    options: Any = getattr(format_, "default_fragment_scan_options", None)
    if hasattr(options, "page_checksum_verification"):
        options.page_checksum_verification = True


def tables_of(batches: Iterable[Any]) -> Iterator[Any]:
    """Join record batches of pyarrow to tables of `BLOCK_ROWS` rows, the last of fewer."""
    import pyarrow as pa

    return joined(batches, BLOCK_ROWS, pa.Table.from_batches)


def pandas_of(table: Any) -> pd.DataFrame:
    """Return a pyarrow table as a data frame; decimals become floating-point numbers.

    Integers with missing values are objects: as floating-point numbers different ones were one.
    """
    import pyarrow as pa

    for place, column in enumerate(table.schema):
        if pa.types.is_decimal(column.type):
            values = table.column(place).cast(pa.float64())
            table = table.set_column(place, column.name, values)
    frame: pd.DataFrame = table.to_pandas(split_blocks=True, integer_object_nulls=True)
    frame.columns = pd.Index(column_names(frame))  # which pandas may have written as numbers
    return frame

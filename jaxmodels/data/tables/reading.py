"""Tables of files and of memory, in pieces of Arrow columns."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxmodels.data.kinds import count_endings, kind_of_files, readers_of, told_other_kind
from jaxmodels.data.walking import walk
from jaxmodels.errors import InputError

if TYPE_CHECKING:
    import pyarrow

ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet", ".pq")
# What stands for a missing value in text. "?" is that of the UCI repository.
MISSING = ("", "?", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null")
_ROWS = 8192  # of a piece


class Piece(NamedTuple):
    """Some rows of a table, in order. A row that is broken has no values, and an error."""

    table: "pyarrow.Table"
    errors: dict[int, str]  # by row of the piece


def read_pieces(path: Path) -> Iterator[Piece]:
    """Yields the rows of a CSV file with a line of names, or of a Parquet file. Texts have no space
    around them, and what is in `MISSING` is null. All values of a CSV file are texts.

    Raises:
      InputError: no such file, of another kind, damaged, or with names that repeat or look like
        values.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        other = told_other_kind(walk(path).files, ("tables",)) if path.is_dir() else ""
        raise InputError(f"table {path} {what}; expected a file {', '.join(ENDINGS)}{other}")
    name = path.name.lower()
    if not name.endswith(ENDINGS):
        kind = kind_of_files(count_endings([name]))
        fix = readers_of(kind) if kind else "save it as CSV"
        raise InputError(
            f"table {path} ends in {path.suffix or 'nothing'}; expected {', '.join(ENDINGS)}: {fix}"
        )
    if name.endswith((".parquet", ".pq")):
        yield from _parquet(path)
        return
    opened = gzip.open if name.endswith(".gz") else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            yield from _csv(path, file)
    except UnicodeDecodeError:
        raise InputError(
            f"table {path} is no UTF-8; convert it: iconv -f latin1 -t utf-8 FILE > NEW"
        ) from None
    except (csv.Error, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"table {path} cannot be read: {error}") from None


def pieces_of_rows(rows: Any) -> Iterator[Piece]:
    """Yields rows that are in memory: a list of mappings, a mapping of columns, or a data frame.

    Raises:
      InputError: they are none of these, or a column has values of several kinds.
    """
    import pyarrow as pa

    if isinstance(rows, Sequence) and rows and all(isinstance(row, Mapping) for row in rows):
        names = dict.fromkeys(name for row in rows for name in row)
        rows = {name: [row.get(name) for row in rows] for name in names}
    try:
        table = pa.table(dict(rows) if isinstance(rows, Mapping) else rows)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InputError(
            f"a table of {type(rows).__name__} cannot be read ({error}); expected rows [{{name:"
            " value, ...}, ...], columns {name: values, ...}, or a data frame"
        ) from None
    for batch in table.to_batches(max_chunksize=_ROWS):
        yield Piece(_cleaned("given", pa.Table.from_batches([batch])), {})


def joined(pieces: Iterator[Piece]) -> Piece:
    """Joins all pieces to one."""
    import pyarrow as pa

    tables, errors, count = [], {}, 0
    for table, wrong in pieces:
        errors |= {count + row: reason for row, reason in wrong.items()}
        tables.append(table)
        count += table.num_rows
    return Piece(pa.concat_tables(tables).combine_chunks(), errors)


def _parquet(path: Path) -> Iterator[Piece]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            names = _names(path, file.schema_arrow.names)
            empty = file.schema_arrow.empty_table()
            for batch in file.iter_batches(_ROWS):
                table = pa.Table.from_batches([batch]).rename_columns(names)
                yield Piece(_cleaned(str(path), table), {})
            yield Piece(_cleaned(str(path), empty.rename_columns(names)), {})
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"table {path} cannot be read: {error}") from None


def _csv(path: Path, file: io.TextIOBase) -> Iterator[Piece]:
    first = file.readline()
    file.seek(0)
    reader = csv.reader(file, delimiter=_delimiter(first), skipinitialspace=True)
    names = _names(path, next(reader, []))
    if sum(map(_is_number, names)) > len(names) / 2:
        raise InputError(
            f"table {path} begins with values, {first.strip()[:60]}; expected names: write a line"
            " of them above"
        )
    rows: list[list[str]] = []
    errors: dict[int, str] = {}
    for values in reader:
        if not values:
            continue  # an empty line
        if len(values) != len(names):
            errors[len(rows)] = (
                f"has {len(values)} of {len(names)} values; expected one for each name"
            )
            values = [""] * len(names)
        rows.append(values)
        if len(rows) == _ROWS:
            yield _of_texts(names, rows, errors)
            rows, errors = [], {}
    yield _of_texts(names, rows, errors)


def _delimiter(line: str) -> str:
    """Guesses what lies between the names of the first line: a comma, unless there is none."""
    return next((mark for mark in ",\t;|" if mark in line), ",")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _of_texts(names: list[str], rows: list[list[str]], errors: dict[int, str]) -> Piece:
    import pyarrow as pa

    columns = list(zip(*rows)) or [()] * len(names)
    arrays = [pa.array(column, pa.string()) for column in columns]
    return Piece(_cleaned("", pa.table(arrays, names=names)), errors)


def _names(path: Path, names: Sequence[str]) -> list[str]:
    """Names the columns; one without a name, as an index often is, by its number."""
    names = [name.strip() or f"column {number}" for number, name in enumerate(names, 1)]
    if not names:
        raise InputError(f"table {path} is empty; expected a line of names, and rows")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(
            f"table {path} has several columns '{repeated[0]}'; expected different names"
        )
    return names


def _cleaned(where: str, table: "pyarrow.Table") -> "pyarrow.Table":
    """Brings columns to the types that are read here: texts, numbers, bools, times and lists."""
    import pyarrow as pa
    from pyarrow.compute import SetLookupOptions
    from pyarrow.compute import call_function as call

    columns, missing = [], pa.array(MISSING)
    for name, column in zip(table.column_names, table.columns):
        kind = column.type
        if pa.types.is_dictionary(kind):
            column = column.cast(kind.value_type)
            kind = column.type
        if (
            pa.types.is_null(kind)
            or pa.types.is_large_string(kind)
            or pa.types.is_string_view(kind)
        ):
            column = column.cast(pa.string())
        elif pa.types.is_decimal(kind):
            column = column.cast(pa.float64())
        elif pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
            column = column.cast(pa.list_(kind.value_type))
        kind = column.type
        if pa.types.is_string(kind):
            column = call("utf8_trim_whitespace", [column])
            is_missing = call("is_in", [column], SetLookupOptions(missing))
            column = call("if_else", [is_missing, pa.scalar(None, pa.string()), column])
        elif not _is_read(kind):
            raise InputError(
                f"table {where}: column '{name}' has values of {kind}; expected texts, numbers,"
                " times or lists of texts: convert it, or take it out"
            )
        columns.append(column)
    return pa.table(columns, names=table.column_names)


def _is_read(kind: "pyarrow.DataType") -> bool:
    from pyarrow import types

    kinds = (types.is_integer, types.is_floating, types.is_boolean)
    kinds += (types.is_date, types.is_timestamp, types.is_list)
    return any(is_kind(kind) for is_kind in kinds)

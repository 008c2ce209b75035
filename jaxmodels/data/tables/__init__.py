"""Tables as data: of CSV and Parquet files, and of rows in memory."""

from jaxmodels.data.tables.encoding import Encoder
from jaxmodels.data.tables.loading import TableDataConfig, load_table, rows_elsewhere
from jaxmodels.data.tables.table_data import TableData, read_rows
from jaxmodels.data.tables.targets import Target

__all__ = [
    "Encoder",
    "TableData",
    "TableDataConfig",
    "Target",
    "load_table",
    "read_rows",
    "rows_elsewhere",
]

"""Data sets as columns, and how their examples reach the compiled step.

The modules here know columns by their names alone. What the columns mean, how they are decoded,
checked and divided, is known to the packages of each kind of data: `images`, `boxes`, `tables`,
`text`, `sentences`, `tagged`, `pairs`, `documents`, `audio` and `transcripts`.
"""

from jaxmodels.data.dataset import (
    ArrayRecords,
    BadRecord,
    BadRow,
    Columns,
    ColumnSpec,
    Dataset,
    Decode,
    Draw,
    Record,
    Records,
    Selection,
    evaluation_splits,
)
from jaxmodels.data.resident import Resident, decode_once
from jaxmodels.data.streamed import Streamed
from jaxmodels.order import Order, sample_order

__all__ = [
    "ArrayRecords",
    "BadRecord",
    "BadRow",
    "ColumnSpec",
    "Columns",
    "Dataset",
    "Decode",
    "Draw",
    "Order",
    "Record",
    "Records",
    "Resident",
    "Selection",
    "Streamed",
    "decode_once",
    "evaluation_splits",
    "sample_order",
]

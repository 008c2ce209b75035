"""Small tables that are embedded in the package scikit-learn."""

from typing import TYPE_CHECKING, Any

from jaxmodels.data.tables.reading import Piece, joined, pieces_of_rows

if TYPE_CHECKING:
    import pyarrow

EMBEDDED = ("breast_cancer", "diabetes", "iris", "wine")
TARGET = "target"  # the name of the column to predict in each


def embedded_table(name: str) -> "pyarrow.Table":
    """Returns an embedded table; the classes of its target have their names."""
    from sklearn import datasets

    options = {"scaled": False} if name == "diabetes" else {}
    bunch: Any = getattr(datasets, f"load_{name}")(**options)
    columns = dict(zip(map(str, bunch.feature_names), bunch.data.T))
    names = bunch.get("target_names")
    columns[TARGET] = bunch.target if names is None else names[bunch.target]
    whole: Piece = joined(pieces_of_rows(columns))
    return whole.table

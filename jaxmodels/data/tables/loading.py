"""Tables by flags: which columns are learned from, which is predicted, and with which rows."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, get_args

import numpy as np

from jaxmodels.cache import cache_folder
from jaxmodels.data.checking import BAD_RECORDS, check_policy
from jaxmodels.data.content import fingerprint_of
from jaxmodels.data.dataset import TRAIN, BadRow, Columns
from jaxmodels.data.kinds import kind_of_embedded, readers_of
from jaxmodels.data.tables.embedded import EMBEDDED, TARGET, embedded_table
from jaxmodels.data.tables.encoding import fit_encoder, not_of
from jaxmodels.data.tables.inference import Kind, infer
from jaxmodels.data.tables.reading import ENDINGS, joined, pieces_of_rows, read_pieces
from jaxmodels.data.tables.splitting import (
    Split,
    fingerprint_of_rows,
    splits_by_column,
    splits_by_content,
)
from jaxmodels.data.tables.table_data import TableData, absent_table
from jaxmodels.data.tables.targets import (
    Task,
    encode_target,
    find_target,
    scaled,
    with_statistics,
)
from jaxmodels.errors import InputError, closest, require_known
from jaxmodels.files import is_path, write_text
from jaxmodels.protocol import Metadata
from jaxmodels.roles import Role

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True, kw_only=True)
class TableDataConfig:
    """Which table, which of its columns, and with which rows to train."""

    data: str = "breast_cancer"
    """Table: a file .csv, .tsv (.gz) or .parquet, or breast_cancer, diabetes, iris or wine, which
    are embedded."""
    data_dir: Annotated[str | None, Role.HOW] = None
    """Folder of tfds, as other experiments have it; tables are files, so that any is refused."""
    target: str = ""
    """Column to predict."""
    task: Literal["auto", "regression", "classification", "multilabel"] = "auto"
    """What the target is: a number, a class, or a list of labels; auto: as its values say."""
    separator: str = ";"
    """What lies between the labels of a list, where the target is text."""
    split: str = ""
    """Column that says train, validation or test of each row; empty: by a hash of its values."""
    validation_fraction: float = 0.1
    """Share of the rows to choose the best checkpoint with, without --split."""
    test_fraction: float = 0.2
    """Share of the rows to test with, without --split."""
    ignore: tuple[str, ...] = ()
    """Columns not to learn from."""
    categorical: tuple[str, ...] = ()
    """Columns of categories, though they look like numbers or names."""
    numeric: tuple[str, ...] = ()
    """Columns of numbers, though they look like numbers of the rows."""
    skip_bad_records: Annotated[int, Role.HOW] = 0
    """Most rows that may be bad (broken, without a target, with text among numbers) and are left
    out; more are an error that lists them."""

    def validate(self) -> None:
        """Raises InputError for a number out of range."""
        require_known("task", self.task, ("auto", *get_args(Task)))
        if self.data_dir is not None:
            raise InputError(
                f"data_dir = {self.data_dir}; tables are not read from tfds: leave it out, and give"
                f" --data a file ({', '.join(ENDINGS)})"
            )
        if self.skip_bad_records < 0:
            raise InputError(f"skip_bad_records = {self.skip_bad_records}; expected at least 0")
        fractions = self.validation_fraction, self.test_fraction
        if min(fractions) < 0 or sum(fractions) >= 1:
            raise InputError(
                f"validation_fraction = {fractions[0]:g}, test_fraction = {fractions[1]:g};"
                " expected at least 0, and less than 1 together"
            )
        if not self.separator:
            raise InputError("separator = ''; expected what lies between labels, as ';'")


class _Chosen(NamedTuple):
    """The columns to learn from and what each holds; the others and why they are left out."""

    kinds: dict[str, Kind]
    left_out: dict[str, str]
    wrong: dict[int, str]  # by row, a value that is not of its column's kind


def load_table(config: TableDataConfig, given: Any = None) -> TableData:
    """Loads the table that a config describes.

    given: rows in memory to read in its place (see `pieces_of_rows`), or what a run has kept of a
      table.

    Raises:
      InputError: no such table or column, nothing to learn from or to predict, or more bad rows
        than may be skipped.
    """
    if isinstance(given, Metadata):
        return absent_table(given)
    if isinstance(given, TableData):
        return given
    name, table, errors = _opened(config, given)
    if not table.num_rows:
        raise InputError(f"data '{name}' has no rows; expected some")
    target_name = _target_name(config, name, table.column_names)
    target = find_target(target_name, table[target_name], config.task, config.separator)
    targets = encode_target(target, table[target_name])
    chosen = _choose(config, target_name, table)
    fingerprint = _fingerprint(config, table, given is None)
    problems = targets.wrong | chosen.wrong | errors
    kinds = dict.fromkeys(targets.wrong, "target") | dict.fromkeys(chosen.wrong, "value")
    kinds |= dict.fromkeys(errors, "broken")
    bad = tuple(BadRow(name, row + 1, kinds[row], problems[row]) for row in sorted(problems))
    check_policy(name, bad, config.skip_bad_records, _kept_list(name, fingerprint, bad))
    good = np.setdiff1d(np.arange(table.num_rows), np.array(list(problems), np.int64))
    rows = _split(config, name, table, good, [*chosen.kinds, target_name])
    target = with_statistics(target, targets.values[rows[TRAIN]])
    encoder = fit_encoder(table.take(rows[TRAIN]), chosen.kinds)
    columns = {**encoder.encode(table).columns, "target": scaled(target, targets.values)}
    return TableData(
        name=name,
        fingerprint=fingerprint,
        encoder=encoder,
        target=target,
        splits={
            split: {column: values[some] for column, values in columns.items()}
            for split, some in rows.items()
        },
        rows=rows,
        left_out=chosen.left_out,
        skipped=bad,
    )


def rows_elsewhere(data: TableData, config: TableDataConfig) -> tuple[str, str, Columns]:
    """Reads the table that a config names as more rows of `data`, with their targets: name,
    fingerprint and columns. Bad rows are treated as those of `data`.

    Raises:
      InputError: a column is not there, or more rows are bad than may be skipped.
    """
    name, table, errors = _opened(config, None)
    column = data.target.column
    if column not in table.column_names:
        raise InputError(f"data '{name}' has no column '{column}'; expected the target of the run")
    targets, encoded = encode_target(data.target, table[column]), data.encoder.encode(table)
    problems = targets.wrong | encoded.wrong | errors
    bad = [BadRow(name, row + 1, "value", problems[row]) for row in sorted(problems)]
    check_policy(name, bad, config.skip_bad_records)
    good = np.setdiff1d(np.arange(table.num_rows), np.array(list(problems), np.int64))
    if not len(good):
        raise InputError(f"data '{name}' has no good row; expected some")
    columns = {**encoded.columns, "target": scaled(data.target, targets.values)}
    fingerprint = _fingerprint(config, table, True)
    return name, fingerprint, {name: values[good] for name, values in columns.items()}


def _opened(config: TableDataConfig, given: Any) -> tuple[str, "pyarrow.Table", dict[int, str]]:
    """Returns the name and the rows of a table, and the errors of broken rows."""
    if given is not None:
        whole = joined(pieces_of_rows(given))
        return "rows", whole.table, whole.errors
    if config.data in EMBEDDED:
        return config.data, embedded_table(config.data), {}
    path = Path(config.data).expanduser()
    if not path.exists() and not is_path(config.data):
        held = kind_of_embedded(config.data)
        hint = f", it holds {held}: {readers_of(held)}." if held else closest(config.data, EMBEDDED)
        raise InputError(
            f"data '{config.data}' is no file{hint} Expected a table {', '.join(ENDINGS)}, or one"
            f" of {', '.join(EMBEDDED)}"
        )
    whole = joined(read_pieces(path))
    return path.name, whole.table, whole.errors


def _fingerprint(config: TableDataConfig, table: "pyarrow.Table", is_named: bool) -> str:
    if not is_named or config.data in EMBEDDED:
        return fingerprint_of_rows(table)
    path = Path(config.data).expanduser()
    return fingerprint_of(path.name, {"table": path}, path.parent)


def _target_name(config: TableDataConfig, name: str, columns: list[str]) -> str:
    """Finds the column to predict, and requires those that flags name.

    Raises:
      InputError: no target, or a column of the flags that the table lacks.
    """
    target = config.target or (TARGET if name in EMBEDDED else "")
    if not target:
        raise InputError(
            f"target = ''; expected the column of '{name}' to predict, --target COLUMN, one of"
            f" {', '.join(columns)}"
        )
    for flag in ("split", "ignore", "categorical", "numeric"):
        named = getattr(config, flag)
        for column in [named] if isinstance(named, str) else named:
            if column:
                require_known(f"{flag} column", column, columns)
    require_known("target column", target, columns)
    return target


def _choose(config: TableDataConfig, target: str, table: "pyarrow.Table") -> _Chosen:
    """Chooses the columns to learn from.

    Raises:
      InputError: none is left.
    """
    chosen = _Chosen({}, {}, {})
    for name in table.column_names:
        if name in (target, config.split):
            continue
        if name in config.ignore:
            chosen.left_out[name] = "--ignore"
            continue
        found = infer(name, table[name], name in config.categorical, name in config.numeric)
        if found.kind is None:
            chosen.left_out[name] = found.reason
            continue
        chosen.kinds[name] = found.kind
        for row in np.flatnonzero(found.wrong).tolist():
            reason = not_of(name, found.kind, table[name][row].as_py())
            chosen.wrong.setdefault(row, reason)
    if not chosen.kinds:
        why = ", ".join(f"{name} ({reason})" for name, reason in chosen.left_out.items())
        raise InputError(
            f"target = {target}; there is no other column to learn from: {why or 'none'}. Expected"
            " some; --numeric and --categorical say what a column holds"
        )
    return chosen


def _split(
    config: TableDataConfig,
    name: str,
    table: "pyarrow.Table",
    good: Split,
    columns: list[str],
) -> dict[str, Split]:
    """Divides the good rows of a table.

    Raises:
      InputError: no row is there, or left to train with.
    """
    usable = table.take(good)
    if config.split:
        splits = splits_by_column(usable, config.split)
    else:
        fractions = config.validation_fraction, config.test_fraction
        splits = splits_by_content(usable, columns, *fractions)
    if TRAIN not in splits:
        raise InputError(f"data '{name}' has no row to train with of {len(good):,}; expected some")
    return {split: good[rows] for split, rows in splits.items()}


def _kept_list(name: str, fingerprint: str, bad: tuple[BadRow, ...]) -> Path | None:
    """Writes the list of bad rows to the cache; returns its folder."""
    if not bad:
        return None
    folder = cache_folder("data") / f"{name[:100]}-{fingerprint}-rows"
    write_text(folder / BAD_RECORDS, "".join(f"{row}\n" for row in bad))
    return folder

"""Injects all faults and prints the table: python -m tests.faults [--most N] [--only KIND ...]."""

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import tests.conftest  # noqa: F401  # the environment comes before jax
from tests.faults.cases import FLAGS, Case
from tests.faults.kinds import KINDS, OUTCOMES, Fault


def table(faults: list[Fault]) -> str:
    """Formats the outcomes by kind as Markdown."""
    rows = ["| fault | injected | " + " | ".join(OUTCOMES) + " |", "|---|" + "---|" * 5]
    kinds = dict.fromkeys(fault.kind for fault in faults)
    for kind in [*kinds, None]:
        own = [fault for fault in faults if kind in (None, fault.kind)]
        counts = Counter(fault.outcome for fault in own)
        cells = [kind or "all", len(own), *(counts[outcome] for outcome in OUTCOMES)]
        rows.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(rows)


@contextlib.contextmanager
def _folder(keep: bool) -> Iterator[str]:
    place = tempfile.mkdtemp(prefix="faults-")
    try:
        yield place
    finally:
        if not keep:
            shutil.rmtree(place, ignore_errors=True)


def main() -> int:
    """Runs the campaign; returns 0 if nothing failed and nothing was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--most", type=int, default=8, help="faults of each kind and experiment")
    parser.add_argument("--only", nargs="*", default=[*KINDS], choices=[*KINDS])
    parser.add_argument("--cases", nargs="*", default=[*FLAGS], choices=[*FLAGS])
    parser.add_argument("--keep", action="store_true", help="keep the folders")
    given = parser.parse_args()
    faults: list[Fault] = []
    with _folder(given.keep) as at:
        for name in given.cases:
            case = Case(name, Path(at) / "cases")
            for kind in given.only:
                began = time.monotonic()
                for fault in KINDS[kind](case, Path(at) / f"{kind}-{name}", given.most):
                    faults.append(fault)
                    if fault.outcome in ("failed", "lost"):
                        said = "\n".join(dict.fromkeys(fault.said.splitlines()))
                        print(f"{fault.outcome}: {fault[:3]}\n{said}", file=sys.stderr)
                seconds = time.monotonic() - began
                print(f"{name} {kind}: {len(faults)} so far, {seconds:.0f} s", file=sys.stderr)
    print(table(faults))
    return int(any(fault.outcome in ("failed", "lost") for fault in faults))


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # The threads of saves that failed would wait for minutes.
    os._exit(code)

"""Fails when a module of the package is longer than 500 lines: nobody reads further."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

LIMIT = 500


def main() -> int:
    root = Path(__file__).resolve().parent.parent / "qrtx_ray"
    sizes = {path: len(path.read_text("utf-8").splitlines()) for path in root.rglob("*.py")}
    long = {path: size for path, size in sizes.items() if size > LIMIT}
    for path, size in long.items():
        sys.stderr.write(f"{path}: {size} lines, the limit is {LIMIT}\n")
    written = [size for size in sizes.values() if size > 5]
    sys.stdout.write(f"{len(written)} modules, median {statistics.median(written):g} lines, longest {max(written)}\n")
    return 1 if long else 0


if __name__ == "__main__":
    sys.exit(main())

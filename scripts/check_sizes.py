"""Fails when a module of the package is longer than 500 lines or a function longer than 60: nobody reads further."""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

MODULE_LINES = 500
FUNCTION_LINES = 60
TRIVIAL_LINES = 5  # a docstring and nothing else: not counted in the median


def main() -> int:
    root = Path(__file__).resolve().parent.parent / "qrtx_ray"
    sources = {path.relative_to(root.parent): path.read_text("utf-8") for path in sorted(root.rglob("*.py"))}
    sizes = {path: len(text.splitlines()) for path, text in sources.items()}
    faults = [
        f"{path}: {size} lines, the limit is {MODULE_LINES}" for path, size in sizes.items() if size > MODULE_LINES
    ]
    for path, text in sources.items():
        faults += [
            f"{path}:{line}: {name} has {size} lines, the limit is {FUNCTION_LINES}" for name, line, size in long(text)
        ]
    for fault in faults:
        sys.stderr.write(f"{fault}\n")
    written = [size for size in sizes.values() if size > TRIVIAL_LINES]
    sys.stdout.write(f"{len(written)} modules, median {statistics.median(written):g} lines, longest {max(written)}\n")
    return 1 if faults else 0


def long(text: str) -> Iterator[tuple[str, int, int]]:
    """Name, first line and length of every function in `text` that is too long."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            size = (node.end_lineno or node.lineno) - node.lineno + 1
            if size > FUNCTION_LINES:
                yield node.name, node.lineno, size


if __name__ == "__main__":
    sys.exit(main())

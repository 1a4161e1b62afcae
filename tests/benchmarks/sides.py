"""A side process for the tests: doubles a number, or ends at once."""

from __future__ import annotations

from benchmarks.side import serve


def prepare(plan):
    print("this line is no answer")  # noqa: T201
    if plan.get("end"):
        raise SystemExit(3)
    return lambda: {"doubled": 2 * plan["number"]}


if __name__ == "__main__":
    serve(prepare)

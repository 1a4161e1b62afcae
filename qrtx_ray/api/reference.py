"""Writes docs/errors.md from the error classes: ``python -m qrtx_ray.api.reference > docs/errors.md``."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

from qrtx_ray import errors
from qrtx_ray.api import failures
from qrtx_ray.api.failures import ibm_code, solution_for
from qrtx_ray.errors import QrtxError

__all__ = ["document"]

_SEEN_OUTSIDE = frozenset({errors.__name__, failures.__name__})

_HEAD = """\
# Errors

Every answer with a status of 400 or more, of every API, has this body; a failed job carries the same `error` in its view.
This page is written by `python -m qrtx_ray.api.reference`.

```json
{
  "error": {
    "code": "validation_failed",
    "message": "shots must be a whole number from 1 to 100000",
    "field": "shots",
    "limit": "1..100000",
    "retryable": false
  },
  "errors": [
    {
      "code": 1002,
      "message": "shots must be a whole number from 1 to 100000",
      "more_info": "/docs",
      "solution": "Correct the request; sending it again unchanged will not help."
    }
  ],
  "trace": "40a200f0-5611-47bb-a81b-5f1be5017c68"
}
```

* `error.code` is stable; `message` is one sentence for people and may change. `field` is the dotted path of what is wrong and
  `limit` the bound that was crossed, where there are such.
* `retryable` says whether the same request may succeed later. Answers with 429, 503 and 507 carry `Retry-After`.
* `errors` says the same in the words of IBM's error registry, for the official client.
* `trace` identifies the request; it is also in the headers `x-request-id` and `uber-trace-id`, and in the log.
* No message ever repeats what a library said about the bytes it was given.

## Codes

| code | status | retryable | IBM's number | what it means |
|---|---|---|---|---|
"""

_MIDDLE = """
The status is that of a refused *request*. An error that ends a *job* (a `compile_failed` or an `execution_timeout`, say) never
is a status of its own: the job is `Failed` or `Timeout`, and asking for it is a 200 that carries the error.

## Categories

A job's error also belongs to a category, the branch of the tree in `qrtx_ray.errors` that its code is on:

| category | codes |
|---|---|
"""

_SOLUTIONS = """
## IBM's numbers

| number | what the answer suggests |
|---|---|
"""


def document() -> str:
    """The whole page, ending with a newline."""
    meanings = _meanings()
    rows, categories, numbers = [], dict[str, list[str]](), set[int]()
    for kind in _kinds(QrtxError):
        meaning = meanings.get(kind.__name__) or _first_sentence(kind)
        number = ibm_code(kind.code)
        numbers.add(number)
        retryable = "yes" if kind.retryable else "no"
        rows.append(f"| `{kind.code}` | {kind.http_status} | {retryable} | {number} | {meaning} |\n")
        categories.setdefault(kind.category, []).append(f"`{kind.code}`")
    names = [f"| {name} | {', '.join(codes)} |\n" for name, codes in categories.items()]
    advice = [f"| {number} | {solution_for(number)} |\n" for number in sorted(numbers)]
    return "".join([_HEAD, *rows, _MIDDLE, *names, _SOLUTIONS, *advice])


def _kinds(root: type[QrtxError]) -> Iterator[type[QrtxError]]:
    """All classes below `root` that reach users, parents first. (Others, of bugs inside, are answered as `internal`.)"""
    for kind in root.__subclasses__():
        if kind.__module__ in _SEEN_OUTSIDE:
            yield kind
            yield from _kinds(kind)


def _first_sentence(kind: type[QrtxError]) -> str:
    sentence = (kind.__doc__ or "").partition("\n")[0].rstrip(".")
    return sentence[:1].lower() + sentence[1:]


def _meanings() -> dict[str, str]:
    """Class name → meaning, from the tree in the docstring of `qrtx_ray.errors`."""
    return dict(re.findall(r"^ +[x-] (\w+) {2,}(\S.*)$", errors.__doc__ or "", re.MULTILINE))


if __name__ == "__main__":
    sys.stdout.write(document())

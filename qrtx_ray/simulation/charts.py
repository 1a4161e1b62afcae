"""Charts as SVG: lines, steps and points on a linear or logarithmic axis, drawn without a library."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Literal

__all__ = ["Chart", "Series"]

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 76, 24, 78, 58
# Told apart by every kind of colour vision (Okabe and Ito).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444")
INK, FAINT = "#222222", "#dddddd"

Point = tuple[float, float]
Kind = Literal["line", "step", "points"]


@dataclass(frozen=True, slots=True)
class Series:
    """Points ``(x, y)`` in order of x under one name."""

    name: str
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart.

    Args:
        title / x_label / y_label: Its words, units included.
        series: What it shows; at most seven are told apart by colour.
        kind: ``line``, ``step`` (a value holds until the next one), or ``points``.
        log_x: Whether x is logarithmic; values at or below 0 are then left out.
    """

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    kind: Kind = "line"
    log_x: bool = False

    def svg(self) -> str:
        """The chart as an SVG document; one without a single point says so."""
        shown = [Series(s.name, [p for p in s.points if not self.log_x or p[0] > 0]) for s in self.series]
        parts = [_text(LEFT, 26, self.title, size=16, weight="600")]
        every = [point for one in shown for point in one.points]
        if every:
            x_ticks = _decades(every) if self.log_x else _ticks([x for x, _ in every], self.kind)
            y_ticks = _ticks([y for _, y in every], self.kind)
            place_x = _scale(x_ticks, LEFT, WIDTH - RIGHT, log=self.log_x)
            place_y = _scale(y_ticks, HEIGHT - BOTTOM, TOP)
            parts += self._frame(x_ticks, y_ticks, place_x, place_y)
            drawn = self._points if self.kind == "points" else self._curves
            parts += drawn(shown, place_x, place_y)
        else:
            parts.append(_text(WIDTH / 2, HEIGHT / 2, "nothing to show", anchor="middle"))
        body = "\n".join(parts)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
            f'font-family="system-ui, sans-serif" font-size="12" role="img" aria-label="{escape(self.title)}">\n'
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>\n{body}\n</svg>\n'
        )

    def _frame(self, x_ticks: list[float], y_ticks: list[float], place_x: _Place, place_y: _Place) -> list[str]:
        parts = []
        for tick in y_ticks:
            y = place_y(tick)
            parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{FAINT}"/>')
            parts.append(_text(LEFT - 8, y + 4, _number(tick), anchor="end"))
        for tick in x_ticks:
            x = place_x(tick)
            parts.append(f'<path d="M{x:.1f} {HEIGHT - BOTTOM}v5" stroke="{INK}"/>')
            parts.append(_text(x, HEIGHT - BOTTOM + 20, _number(tick), anchor="middle"))
        parts.append(f'<path d="M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}" stroke="{INK}"/>')
        parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, self.x_label, anchor="middle"))
        y_label = _text(0, 0, self.y_label, anchor="middle")
        parts.append(f'<g transform="translate(18 {(TOP + HEIGHT - BOTTOM) / 2:.0f}) rotate(-90)">{y_label}</g>')
        return parts

    def _curves(self, shown: Sequence[Series], place_x: _Place, place_y: _Place) -> list[str]:
        parts = []
        for index, one in enumerate(shown):
            spots = [(place_x(x), place_y(y)) for x, y in one.points]
            if not spots:
                continue
            path = f"M{spots[0][0]:.1f} {spots[0][1]:.1f}"
            for (_, before), (x, y) in pairwise(spots):
                path += f"L{x:.1f} {before:.1f}V{y:.1f}" if self.kind == "step" else f"L{x:.1f} {y:.1f}"
            style = f'fill="none" stroke="{COLOURS[index % len(COLOURS)]}" stroke-width="2" stroke-linejoin="round"'
            parts.append(f'<path d="{path}" {style}/>')
        return parts + _legend([one.name for one in shown])

    @staticmethod
    def _points(shown: Sequence[Series], place_x: _Place, place_y: _Place) -> list[str]:
        marks = [
            f'<circle cx="{place_x(x):.1f}" cy="{place_y(y):.1f}" r="6" fill="{COLOURS[index % len(COLOURS)]}"/>'
            for index, one in enumerate(shown)
            for x, y in one.points
        ]
        return marks + _legend([one.name for one in shown])


_Place = Callable[[float], float]


def _scale(ticks: list[float], start: float, end: float, *, log: bool = False) -> _Place:
    form = math.log10 if log else float
    low, high = form(ticks[0]), form(ticks[-1])
    return lambda value: start + (form(value) - low) / (high - low) * (end - start)


def _ticks(values: Sequence[float], kind: Kind) -> list[float]:
    """About six round numbers around the values; from 0 unless only points are shown."""
    low, high = min(values), max(values)
    low = low if kind == "points" else min(low, 0.0)
    span = (high - low) or abs(high) or 1.0
    rough = span / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), max(math.ceil(high / step - 1e-9), math.floor(low / step) + 1)
    return [index * step for index in range(first, last + 1)]


def _decades(points: Sequence[Point]) -> list[float]:
    low = math.floor(math.log10(min(x for x, _ in points)))
    high = max(math.ceil(math.log10(max(x for x, _ in points))), low + 1)
    return [10.0**power for power in range(low, high + 1)]


def _number(value: float) -> str:
    if value and (abs(value) >= 1e5 or abs(value) < 1e-3):
        return f"{value:.0e}".replace("e+0", "e").replace("e-0", "e-")
    return f"{value:,.6g}" if abs(value) < 1e3 else f"{value:,.0f}"


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, weight: str = "400") -> str:
    style = f'text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" fill="{INK}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'


def _legend(names: Sequence[str]) -> list[str]:
    """The names with their colours, in as many rows as there is room for above the picture."""
    parts, x, y = [], float(LEFT), 44
    for index, name in enumerate(names):
        width = 42 + 7 * len(name)
        if x > LEFT and x + width > WIDTH:
            x, y = float(LEFT), y + 16
        parts.append(f'<path d="M{x:.0f} {y}h18" stroke="{COLOURS[index % len(COLOURS)]}" stroke-width="3"/>')
        parts.append(_text(x + 24, y + 4, name))
        x += width
    return parts

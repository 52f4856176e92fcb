"""A workflow as a picture: Mermaid text, and an SVG that needs nothing to be shown."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from tailrace import _core

if TYPE_CHECKING:
    from tailrace._definition import Definition
    from tailrace._trace import Node

__all__ = ["mermaid", "svg"]

_SHAPES = {_core.SYNC: ("[", "]"), _core.ASYNC: ("([", "])"), _core.BLOCKING: ("[[", "]]")}
_ENTITIES = {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;", "\n": " ", "`": "#96;"}

_BOX_W, _BOX_H, _GAP_X, _GAP_Y, _CHAR_W = 24, 28, 20, 36, 7.5

Edge = tuple[int, int, bool]


def mermaid(definition: Definition) -> str:
    """Return a flowchart: async steps round, blocking ones double-walled, `tr.each` six-sided."""
    count = len(definition.names)
    lines = ["flowchart TD"]
    lines += [f'    v{slot}[/"{_text(name)}"/]' for slot, name in enumerate(definition.names)]
    for index, node in enumerate(definition.nodes):
        left, right = ("{{", "}}") if node.is_each else _SHAPES[node.step.kind]
        lines.append(f'    v{count + index}{left}"{_text(_label(node))}"{right}')
    lines += [f"    v{a} {'-.->' if dotted else '-->'} v{b}" for a, b, dotted in _edges(definition)]
    return "\n".join(lines)


def svg(definition: Definition) -> str:
    """Return the graph drawn in rows, each node below what it waits for."""
    labels = [*definition.names, *(_label(node) for node in definition.nodes)]
    stacks = {len(definition.names) + at for at, node in enumerate(definition.nodes) if node.is_each}
    edges = _edges(definition)
    rows: dict[int, list[int]] = {}
    for slot, row in enumerate(_rows(len(labels), edges)):
        rows.setdefault(row, []).append(slot)
    places: dict[int, tuple[float, float, float]] = {}
    width = 0.0
    for row, slots in rows.items():
        left = float(_GAP_X)
        for slot in slots:
            box = _BOX_W + _CHAR_W * len(labels[slot])
            places[slot] = (left, _GAP_Y / 2 + row * (_BOX_H + _GAP_Y), box)
            left += box + _GAP_X
        width = max(width, left)
    height = len(rows) * (_BOX_H + _GAP_Y)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        'font-family="monospace" font-size="12" text-anchor="middle">'
    ]
    for a, b, dotted in edges:
        (ax, ay, aw), (bx, by, bw) = places[a], places[b]
        dash = ' stroke-dasharray="4"' if dotted else ""
        parts.append(
            f'<line x1="{ax + aw / 2:.0f}" y1="{ay + _BOX_H:.0f}" x2="{bx + bw / 2:.0f}" y2="{by:.0f}" '
            f'stroke="#888"{dash}/>'
        )
    for slot, (x, y, box) in places.items():
        fill = "#eee" if slot < len(definition.names) else "#cfe3f5"
        for shift in (6, 3) if slot in stacks else ():
            parts.append(
                f'<rect x="{x + shift:.0f}" y="{y + shift:.0f}" width="{box:.0f}" height="{_BOX_H}" rx="5" '
                f'fill="{fill}" stroke="#456"/>'
            )
        parts.append(
            f'<rect x="{x:.0f}" y="{y:.0f}" width="{box:.0f}" height="{_BOX_H}" rx="5" fill="{fill}" '
            f'stroke="#456"/><text x="{x + box / 2:.0f}" y="{y + 18:.0f}">{escape(labels[slot])}</text>'
        )
    return "".join([*parts, "</svg>"])


def _label(node: Node) -> str:
    return f"each {node.label}" if node.is_each else node.label


def _edges(definition: Definition) -> list[Edge]:
    count = len(definition.names)
    edges: list[Edge] = []
    for index, node in enumerate(definition.nodes):
        used = dict.fromkeys(slot for slot in node.slots if slot >= 0)
        edges += [(slot, count + index, False) for slot in used]
        edges += [(count + before, count + index, True) for before in sorted(node.after)]
    return edges


def _rows(count: int, edges: list[Edge]) -> list[int]:
    before: dict[int, list[int]] = {}
    for a, b, _ in edges:
        before.setdefault(b, []).append(a)
    rows = [0] * count
    changed = True
    while changed:  # `after` edges may point backwards, so one pass in order is not always enough
        changed = False
        for slot in range(count):
            row = 1 + max((rows[a] for a in before.get(slot, ())), default=-1)
            if row != rows[slot]:
                rows[slot], changed = row, True
    return rows


def _text(label: str) -> str:
    return "".join(_ENTITIES.get(char, char) for char in label)

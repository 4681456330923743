#!/usr/bin/env python3
"""Draws what scoring costs against the number of arms and the length of the context, as one SVG.

    shunt-bench score --only grid --json > score.json
    tests/bench/plot.py score.json > deploy/docs/score_cost.svg

Both axes are logarithmic: what grows linearly has slope 1, quadratically slope 2. Beside the points
stands the line of that slope through the middle one, and a lighter line: the time in which the
machine reads as many bytes as the matrices are."""
import json
import math
import sys

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 360, 250, 62, 40, 48
GAP = 40
INK, LIGHT, POINT = "#333", "#999", "#1b6ca8"


def text(x, y, s, size=12, anchor="middle", fill=INK, turn=None):
    rotate = f' transform="rotate({turn} {x:.1f} {y:.1f})"' if turn else ""
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
            f'fill="{fill}"{rotate}>{s}</text>')


def number(v):
    return f"{v:,.0f}" if v >= 1 else f"{v:g}"


class Panel:
    """One pair of logarithmic axes; the ends are powers of ten, or the data's own on x."""

    def __init__(self, at, xs, ys):
        self.x0, self.y0 = at + LEFT, TOP + HEIGHT
        self.low_x, self.high_x = min(xs) / 1.3, max(xs) * 1.3
        self.low_y = 10 ** math.floor(math.log10(min(ys)))
        self.high_y = 10 ** math.ceil(math.log10(max(ys)))

    def x(self, v):
        return self.x0 + WIDTH * math.log(v / self.low_x) / math.log(self.high_x / self.low_x)

    def y(self, v):
        return self.y0 - HEIGHT * math.log(v / self.low_y) / math.log(self.high_y / self.low_y)

    def frame(self, title, x_label, marks):
        out = [f'<rect x="{self.x0}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" fill="none" '
               f'stroke="{INK}"/>',
               text(self.x0 + WIDTH / 2, TOP - 14, title, 14),
               text(self.x0 + WIDTH / 2, self.y0 + 38, x_label),
               text(self.x0 - 46, TOP + HEIGHT / 2, "microseconds", turn=-90)]
        for v in marks:
            out.append(f'<line x1="{self.x(v):.1f}" x2="{self.x(v):.1f}" y1="{self.y0}" '
                       f'y2="{self.y0 + 4}" stroke="{INK}"/>')
            out.append(text(self.x(v), self.y0 + 18, number(v), 10))
        v = self.low_y
        while v <= self.high_y * 1.01:
            out.append(f'<line x1="{self.x0}" x2="{self.x0 + WIDTH}" y1="{self.y(v):.1f}" '
                       f'y2="{self.y(v):.1f}" stroke="#e4e4e4"/>')
            out.append(text(self.x0 - 6, self.y(v) + 4, number(v), 10, "end"))
            v *= 10
        return out

    def line(self, points, colour, dash=""):
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        style = f' stroke-dasharray="{dash}"' if dash else ""
        return f'<polyline points="{path}" fill="none" stroke="{colour}"{style}/>'

    def dots(self, points):
        return [f'<circle cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="3.5" fill="{POINT}"/>'
                for x, y in points]


def draw(at, rows, key, title, x_label, slope):
    rows = sorted(rows, key=lambda r: r[key])
    points = [(r[key], r["us"]) for r in rows]
    read = [(r[key], r["read_us"]) for r in rows]
    p = Panel(at, [x for x, _ in points], [y for _, y in points + read])
    mid_x, mid_y = points[len(points) // 2]
    guide = [(x, mid_y * (x / mid_x) ** slope) for x, _ in points]
    inside = [(x, y) for x, y in guide if y >= p.low_y]
    out = p.frame(title, x_label, [x for x, _ in points])
    out += [p.line(read, LIGHT), p.line(inside, INK, "5 4")] + p.dots(points)
    out.append(text(p.x0 + 10, TOP + 18, f"dashed: slope {slope}; grey: reading alone", 11,
                    "start"))
    return out


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as f:
        run = json.load(f)
    rows = [r for r in run["rows"] if r["what"] == "grid"]
    by_arms = [r for r in rows if r["d"] == 39]
    by_d = [r for r in rows if r["arms"] == 16]
    if len(by_arms) < 3 or len(by_d) < 3:
        sys.exit("the file holds no grid: shunt-bench score --only grid --json")
    panel = LEFT + WIDTH
    width, height = 2 * panel + GAP + 20, TOP + HEIGHT + BOTTOM
    print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
          f'viewBox="0 0 {width} {height}" font-family="sans-serif">')
    print(f'<rect width="{width}" height="{height}" fill="white"/>')
    print("\n".join(draw(0, by_arms, "arms", "All arms, d = 39", "arms", 1)))
    print("\n".join(draw(panel + GAP, by_d, "d", "16 arms", "d, numbers of a context", 2)))
    print("</svg>")


if __name__ == "__main__":
    main()

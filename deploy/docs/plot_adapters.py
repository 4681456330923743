#!/usr/bin/env python3
"""Draws the curves of `shuntctl adapters simulate --curves FILE` as an SVG, regret over requests, both
axes logarithmic: plot_adapters.py FILE OUT.svg. Standard library only."""
import csv
import math
import sys

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 420, 60, 20, 170, 45
COLOURS = ["#1b6ca8", "#5fa8d3", "#c1440e", "#e6863b", "#3f7d20", "#7a5195", "#888888", "#bbbbbb",
           "#b3003c", "#000000"]


def curves_of(path):
    curves = {}
    with open(path, newline="", encoding="utf-8") as f:
        reader = csv.DictReader(f)
        if reader.fieldnames != ["policy", "t", "regret"]:
            sys.exit(path + " holds no curves: policy,t,regret")
        for row in reader:
            if float(row["regret"]) > 1e-3:
                curves.setdefault(row["policy"], []).append((float(row["t"]), float(row["regret"])))
    return curves


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    curves = curves_of(sys.argv[1])
    points = [p for c in curves.values() for p in c]
    if not points:
        sys.exit("no curve in " + sys.argv[1])
    low_x, high_x = (math.log10(f(p[0] for p in points)) for f in (min, max))
    low_y, high_y = (f(math.log10(p[1]) for p in points) for f in (min, max))

    def place(t, regret):
        x = LEFT + (math.log10(t) - low_x) / (high_x - low_x or 1) * (WIDTH - LEFT - RIGHT)
        y = HEIGHT - BOTTOM - (math.log10(regret) - low_y) / (high_y - low_y or 1) * (
            HEIGHT - TOP - BOTTOM)
        return x, y

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
           'font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    for power in range(math.ceil(low_y), math.floor(high_y) + 1):
        y = place(10 ** low_x, 10 ** power)[1]
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
                   'stroke="#dddddd"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{10 ** power:g}</text>')
    for t in sorted({p[0] for p in points}):
        x = place(t, 10 ** low_y)[0]
        out.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" '
                   f'text-anchor="middle">{t:g}</text>')
    out.append(f'<text x="{LEFT}" y="{HEIGHT - 8}">requests; regret, utility</text>')
    ends = []
    for k, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[k % len(COLOURS)]
        line = " ".join("%.1f,%.1f" % place(*p) for p in curve)
        out.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        ends.append((place(*curve[-1])[1], name, colour))
    y = 0
    for at, name, colour in sorted(ends):
        y = max(at, y + 14)
        out.append(f'<text x="{WIDTH - RIGHT + 8}" y="{y + 4:.1f}" fill="{colour}">{name}</text>')
    out.append("</svg>")
    with open(sys.argv[2], "w", encoding="utf-8") as f:
        f.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main()

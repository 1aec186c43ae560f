"""Draws what peers.py measured: for each model and engine, how many times as fast as TensorFlow, as one SVG.

  bench/picture.py build/bench/peers.json [more.json ...] --out build/bench/peers.svg
"""
import argparse
import html
import json
import math
import pathlib

ORDER = ("tensorflow", "onnxruntime", "openvino", "openvino-bf16", "blade-tf", "blade", "blade-bf16")
COLORS = {"tensorflow": "#9e9e9e", "onnxruntime": "#5b8def", "openvino": "#43a047", "openvino-bf16": "#a5d6a7",
          "blade-tf": "#f6b26b", "blade": "#e53935", "blade-bf16": "#8e24aa"}
BAR, GAP, LEFT, WIDTH, TOP = 11, 14, 190, 620, 58


def load(paths):
    """[(title, {engine: median ms})] and the machine of the first file."""
    rows, machine = [], None
    for path in paths:
        report = json.loads(pathlib.Path(path).read_text())
        machine = machine or report["machine"]
        for result in report["results"]:
            batch = f", batch {result['batch']}" if result["batch"] else ""
            rows.append((result["model"] + batch, {n: e["median_ms"] for n, e in result["engines"].items()}))
    return [row for row in rows if "tensorflow" in row[1]], machine


def geometric_means(rows):
    """How many times as fast as TensorFlow each engine is over the models that it ran."""
    means = {}
    for name in ORDER:
        speeds = [medians["tensorflow"] / medians[name] for _, medians in rows if name in medians]
        if speeds:
            means[name] = math.exp(sum(map(math.log, speeds)) / len(speeds))
    return means


def draw(rows, machine):
    """The SVG's text. Bars are logarithmic: twice as long is not twice as fast."""
    names = [n for n in ORDER if any(n in medians for _, medians in rows)]
    groups = [(title, {n: medians["tensorflow"] / ms for n, ms in medians.items()}, medians)
              for title, medians in rows]
    if len(rows) > 1:
        groups.append(("geometric mean", geometric_means(rows), {}))
    speeds = [s for _, group, _ in groups for s in group.values()]
    low, high = math.log(min(0.5, min(speeds))), math.log(max(speeds) * 1.3)
    x_of = lambda speed: LEFT + WIDTH * (math.log(speed) - low) / (high - low)  # noqa: E731
    out, y = [], TOP
    for title, group, medians in groups:
        shown = [n for n in names if n in group]
        out.append(f'<text x="{LEFT - 8}" y="{y + BAR * len(shown) / 2 + 4}" text-anchor="end">{html.escape(title)}</text>')
        for name in shown:
            start, end = sorted((x_of(1), x_of(group[name])))
            label = f"{group[name]:.2f}x" + (f", {medians[name]:.3g} ms" if name in medians else "")
            out.append(f'<rect x="{start:.1f}" y="{y}" width="{max(end - start, 1):.1f}" height="{BAR - 1}" '
                       f'fill="{COLORS[name]}"/>')
            out.append(f'<text x="{end + 4:.1f}" y="{y + BAR - 2}" class="small">{label}</text>')
            y += BAR
        y += GAP
    legend = "".join(f'<rect x="{LEFT + 105 * i}" y="30" width="10" height="10" fill="{COLORS[n]}"/>'
                     f'<text x="{LEFT + 105 * i + 14}" y="39">{n}</text>' for i, n in enumerate(names))
    processor = html.escape(f"{machine.get('cpu', '')}, {machine.get('threads', '?')} threads")
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 110}" height="{y + 6}" '
            'font-family="sans-serif" font-size="12"><style>.small{font-size:9px}</style>'
            '<rect width="100%" height="100%" fill="white"/>'
            f'<text x="{LEFT}" y="18">Times as fast as TensorFlow (medians, logarithmic): {processor}</text>'
            f'{legend}<line x1="{x_of(1):.1f}" x2="{x_of(1):.1f}" y1="{TOP - 8}" y2="{y - GAP}" stroke="#555"/>'
            + "".join(out) + "</svg>\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", nargs="+", help="JSON files of peers.py")
    parser.add_argument("--out", required=True, help="where the SVG goes")
    arguments = parser.parse_args()
    rows, machine = load(arguments.reports)
    if not rows:
        parser.error("the reports hold no model that TensorFlow ran.")
    pathlib.Path(arguments.out).write_text(draw(rows, machine))
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Draws what `octet bench --json` and `bench/compare_peers --json` measured: tokens/s over context,
over rows of a step and over prompt length, with the machine's limit beside; programs side by side.

usage: plot_bench.py FILE.json... --out PLOT.svg [--label NAME...]

One line for each file, medians with a bar from the least to the most. Dashed in the same colour: the
limit, which is the rate over the part of the limit that it reached in that run. The ending of --out
decides the format: svg, png, pdf. The ground is clear, and the colours can be read on white and on
black. Needs matplotlib (pip install matplotlib).
"""
import argparse
import json
import pathlib
import sys

# Middle tones: at least 3:1 against both white and black.
COLORS = ("#2f86d6", "#d9730d", "#1a9c74", "#b565c9", "#c9503f", "#8a8a00")
GREY = "#808080"
DASHES = (0, (4, 3))


def limit_of(case):
    """Tokens a second at the limit that the case is measured against; None if it has none."""
    fraction = case.get("bandwidth_fraction") or case.get("peak_fraction")
    return case["tokens_per_second"]["median"] / fraction if fraction else None


def points(cases, x):
    """Cases as (x, rate, limit), ascending in x; cases at the same place follow each other."""
    return sorted(((case[x], case["tokens_per_second"], limit_of(case)) for case in cases),
                  key=lambda point: point[0])


def panels_of(report):
    """Title and axis of a panel -> lines of one bench report as (name, points)."""
    cases = report["cases"]
    decode = [case for case in cases if case["kind"] == "decode"]
    verify = [case for case in cases if case["kind"] == "verify"]
    prefill = [case for case in cases if case["kind"] == "prefill"]
    panels = {}
    if decode:
        batch = min(case["batch"] for case in decode)
        same = [case for case in decode if case["batch"] == batch]
        if len({case["context"] for case in same}) > 1:
            panels[f"decode, batch {batch}", "tokens of context"] = [("", points(same, "context"))]
        context = min(case["context"] for case in decode)
        same = [case for case in decode if case["context"] == context]
        lines = [("", points(same, "batch"))] if len({case["batch"] for case in same}) > 1 or not panels else []
        same = [case for case in verify if case["context"] == context]
        verify = [case for case in verify if case["context"] != context]
        if same:
            lines.append(("one sequence", points(same, "rows")))
        if lines:
            panels[f"decode behind {context} tokens", "rows of a step"] = lines
    for context in sorted({case["context"] for case in verify}):
        same = [case for case in verify if case["context"] == context]
        panels[f"verification behind {context} tokens", "rows of a step"] = [("one sequence", points(same, "rows"))]
    if prefill:
        panels["prefill", "tokens of the prompt"] = [("", points(prefill, "prompt"))]
    return panels


def style(axes, title, x, scale):
    axes.set_title(title, color=GREY, fontsize=11)
    axes.set_xlabel(x, color=GREY)
    axes.set_ylabel("tokens/s", color=GREY)
    axes.set_ylim(bottom=0)
    if scale:
        axes.set_xscale("log", base=2)
        axes.set_xticks(scale, [f"{value:,}" for value in scale])
        axes.minorticks_off()
    axes.tick_params(colors=GREY)
    axes.patch.set_alpha(0)
    axes.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_color(GREY)
        spine.set_visible(side in ("left", "bottom"))


def legend(axes):
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        axes.legend(frameon=False, labelcolor=GREY, fontsize=8, loc="best")


def draw_lines(axes, key, reports):
    title, x = key
    ticks, limited = set(), False
    for color, (label, panels) in zip(COLORS, reports):
        for number, (name, line) in enumerate(panels.get(key, [])):
            places = [point[0] for point in line]
            rates = [point[1]["median"] for point in line]
            bars = [[point[1]["median"] - point[1]["min"] for point in line],
                    [point[1]["max"] - point[1]["median"] for point in line]]
            text = f"{label}, {name}" if name else label
            axes.errorbar(places, rates, yerr=bars, color=color, marker="os"[number % 2], markersize=4.5,
                          linewidth=1.6, capsize=2.5, elinewidth=1, label=text,
                          markerfacecolor=color if number == 0 else "none")
            limits = [(place, limit) for place, _, limit in line if limit]
            if limits:
                axes.plot(*zip(*limits), color=color, linestyle=DASHES, linewidth=1.1)
                limited = True
            ticks.update(places)
    if limited:
        axes.plot([], [], color=GREY, linestyle=DASHES, linewidth=1.1, label="limit of this machine")
    style(axes, title, x, sorted(ticks))
    legend(axes)


def draw_bars(axes, what, report):
    names = [program["program"] for program in report["programs"]]
    for place, program in enumerate(report["programs"]):
        rate = program[what]
        own = "bandwidth_fraction" in program
        axes.bar(place, rate["median"], width=0.6, color=COLORS[0] if own else COLORS[1], alpha=0.85)
        axes.vlines(place, rate["min"], rate["max"], color=GREY, linewidth=1.4)
        axes.text(place, rate["median"] / 2, f"{rate['median']:.1f}", ha="center", va="center", color="white")
        if own and what == "decode":
            limit = rate["median"] / program["bandwidth_fraction"]["median"]
            axes.hlines(limit, place - 0.38, place + 0.38, color=COLORS[0], linestyle=DASHES,
                        label="limit by bandwidth" if place == 0 else None)
    settings = report["settings"]
    style(axes, f"{what} of {settings[what if what == 'decode' else 'prompt']} tokens, {settings['shape']}", "", None)
    axes.set_xticks(range(len(names)), names, fontsize=8)
    # Room for the legend.
    axes.set_ylim(top=1.12 * max(axes.get_ylim()[1], 1e-9))
    legend(axes)


def read(path):
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        sys.exit(f"plot_bench: {path}: {error}")
    if not isinstance(report, dict) or not (report.get("cases") or report.get("programs")):
        sys.exit(f"plot_bench: {path}: neither `octet bench --json` nor `bench/compare_peers --json` wrote this")
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=pathlib.Path, nargs="+", metavar="FILE.json")
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="PLOT.svg")
    parser.add_argument("--label", action="append", default=[], help="name of a file's line; default: the file's")
    args = parser.parse_args()
    if len(args.files) > len(COLORS):
        parser.error(f"at most {len(COLORS)} files: more lines can't be told apart")
    labels = args.label + [path.stem for path in args.files[len(args.label):]]
    reports = list(zip(labels, map(read, args.files)))
    benches = [(label, report) for label, report in reports if "cases" in report]
    lines = [(label, panels_of(report)) for label, report in benches]
    drawings = [lambda axes, key=key: draw_lines(axes, key, lines)
                for key in dict.fromkeys(key for _, panels in lines for key in panels)]
    drawings += [lambda axes, report=report, what=what: draw_bars(axes, what, report)
                 for _, report in reports if "programs" in report for what in ("prefill", "decode")]

    # Only now, so that --help and wrong files need no package.
    import matplotlib
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.fonttype"] = "none"
    from matplotlib import pyplot
    columns = min(2, len(drawings))
    rows = -(-len(drawings) // columns)
    figure, grid = pyplot.subplots(rows, columns, figsize=(5.6 * columns, 3.9 * rows), squeeze=False)
    for axes, draw in zip(grid.flat, drawings):
        draw(axes)
    for axes in grid.flat[len(drawings):]:
        axes.set_visible(False)
    machines = dict.fromkeys(f"{report['machine']['threads']} threads, {report['machine']['isa']}, reads "
                             f"{report['machine']['read_gb_s']:.0f} GB/s" for _, report in benches)
    figure.suptitle("; ".join(machines), color=GREY, fontsize=9)
    figure.tight_layout()
    figure.savefig(args.out, transparent=True, dpi=130)


main()

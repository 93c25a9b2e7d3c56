#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tables and pictures from what `tamis bench quality` and `tamis bench filters` wrote.

Usage: plot_selection.py REPORT.json [PICTURE.png]

Prints Markdown tables. With a picture (needs matplotlib): distance from dense decoding against the
budget and attention mass per layer for a quality report, the heat map of layers for a filter search.
"""
import collections
import json
import sys

LONG = "from 4096 on"


def of_texts(cell):
    return cell["texts"].get(LONG) or cell["texts"]["all"]


def setting(cell):
    return cell["name"].rsplit(" ", 1)[0]


def quality_tables(report):
    print("| factor | setting | budget % | attended % | loss +% | KL (± s.e.) | top-1 % | "
          f"same tokens of {report['free_tokens']} | recall % |")
    print("|---|---|---|---|---|---|---|---|---|")
    for cell in report["cells"]:
        texts = of_texts(cell)
        recall = cell["recall"]
        recall = f"{100 * sum(recall) / len(recall):.1f}" if recall else ""
        print(f"| {cell['factor']} | {setting(cell)} | {100 * cell['budget']:.1f} | "
              f"{100 * texts['attended']:.1f} | {texts['loss_increase_percent']:+.2f} | "
              f"{texts['kl']:.4f} ± {texts['kl_standard_error']:.4f} | "
              f"{100 * texts['top1_agreement']:.1f} | "
              f"{texts['free_common_prefix'] / texts['cases']:.1f} | {recall} |")
    lens = [key for key in report["cells"][0]["texts"] if key.isdigit()]
    lens.sort(key=int)
    print("\nBy context length, the base at each budget: loss +% / KL / top-1 %\n")
    print("| budget % | " + " | ".join(lens) + " |")
    print("|---" * (len(lens) + 1) + "|")
    for cell in report["cells"]:
        if cell["factor"] != "budget":
            continue
        figures = [cell["texts"][n] for n in lens]
        print(f"| {100 * cell['budget']:.1f} | " + " | ".join(
            f"{f['loss_increase_percent']:+.2f} / {f['kl']:.4f} / {100 * f['top1_agreement']:.1f}"
            if f["attended"] < 1 else "decodes densely" for f in figures) + " |")


def task_tables(report):
    cells = [cell for cell in report["cells"] if "tasks" in cell]
    if not cells:
        return
    kinds = list(cells[0]["tasks"])
    print("\nTasks: right answers (where dense decoding reaches half) and log-probability of the "
          "answer, of dense decoding's\n")
    print("| setting | budget % | " + " | ".join(kinds) + " |")
    print("|---" * (len(kinds) + 2) + "|")
    for cell in cells:
        columns = []
        for kind in kinds:
            task = cell["tasks"][kind]
            right = (f"{100 * task['accuracy']:.0f} of {100 * task['dense_accuracy']:.0f} %, "
                     if task["accuracy_counts"] else "")
            columns.append(f"{right}{task['answer_log_probability']:.2f} of "
                           f"{task['dense_answer_log_probability']:.2f}")
        print(f"| {setting(cell)} | {100 * cell['budget']:.1f} | " + " | ".join(columns) + " |")


def quality_picture(report, path):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    series = collections.defaultdict(list)
    # At the longest context, where the smallest budgets exceed the forced tokens.
    longest = max((key for key in report["cells"][0]["texts"] if key.isdigit()), key=int)
    for cell in report["cells"]:
        texts = cell["texts"][longest]
        if texts["attended"] < 0.99:
            series[setting(cell)].append((100 * texts["attended"], texts))
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4.2), dpi=62)
    for name, points in series.items():
        if len(points) < 2:
            continue
        points.sort(key=lambda point: point[0])
        x = [point[0] for point in points]
        left.plot(x, [max(point[1]["kl"], 1e-5) for point in points], marker="o", ms=3, label=name)
        middle.plot(x, [100 * point[1]["top1_agreement"] for point in points], marker="o", ms=3)
    for axis in (left, middle):
        axis.set_xscale("log")
        axis.minorticks_off()
        ticks = sorted({round(point[0], 1) for points in series.values() for point in points})
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=7)
        axis.set_xlabel(f"attended part of {longest} tokens, %")
    left.set_yscale("log")
    left.set_ylabel("KL from dense decoding, nats")
    left.legend(fontsize=6)
    middle.axhline(95, color="grey", lw=0.7)
    middle.set_ylabel("top-1 agreement, %")
    for cell in report["cells"]:
        if cell["factor"] in ("budget", "baseline") and abs(cell["budget"] - 0.067) < 1e-6:
            right.plot([100 * mass for mass in cell["recall"]], lw=1, label=cell["name"])
    right.set_xlabel("layer")
    right.set_ylabel("attention mass attended to, %")
    right.legend(fontsize=6)
    figure.tight_layout()
    figure.savefig(path)


def filters_tables(report):
    print("| found by | filter layers | loss +% | KL | top-1 % | held-out: loss +% | KL | top-1 % |")
    print("|---|---|---|---|---|---|---|---|")
    for result in report["results"]:
        line = []
        for texts in (result["search"], result.get("held_out")):
            if texts is None:
                line += ["", "", ""]
                continue
            line += [f"{100 * (texts['loss'] / texts['dense_loss'] - 1):+.2f}",
                     f"{texts['kl']:.4f}", f"{100 * texts['top1_agreement']:.1f}"]
        layers = ",".join(map(str, result["search"]["filter_layers"]))
        print(f"| {result['found_by']} | {layers} | " + " | ".join(line) + " |")
    similarity, count = report["similarity"], report["num_layers"]
    if similarity:
        print("\n| layer | mass held of the layers after it |\n|---|---|")
        for a in range(count - 1):
            later = similarity[a * count + a + 1:(a + 1) * count]
            print(f"| {a} | {sum(later) / len(later):.3f} |")


def filters_picture(report, path):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    count = report["num_layers"]
    rows = [report["similarity"][a * count:(a + 1) * count] for a in range(count)]
    figure, axis = plt.subplots(figsize=(5.5, 4.6), dpi=80)
    image = axis.imshow(rows, cmap="viridis", origin="lower")
    axis.set_xlabel("layer that attends")
    axis.set_ylabel("layer that selects")
    figure.colorbar(image, label=f"mass held at {100 * report['budget']:.1f} %")
    figure.tight_layout()
    figure.savefig(path)


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__.strip())
    with open(sys.argv[1], encoding="utf-8") as file:
        report = json.load(file)
    if report["benchmark"] == "quality":
        quality_tables(report)
        task_tables(report)
        picture = quality_picture
    else:
        filters_tables(report)
        picture = filters_picture
    if len(sys.argv) == 3:
        picture(report, sys.argv[2])


if __name__ == "__main__":
    main()

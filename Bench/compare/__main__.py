"""Martlet beside the programs people compare it with, alternately in one session.

    swift build -c release --product martlet
    python3 Bench/compare [--martlet .build/release/martlet] [--rounds 5] [--gib 4] [--json FILE] [--only iperf3,ucx]

What is not installed is left out and said. Every program moves the same number of bytes, over the loopback, between one
process that sends and one that receives; how each is tuned is printed beside its figure. Processor time is that of both
processes, from wait4(2). Medians of the rounds; ratios are to Martlet unverified, of medians.
"""

import argparse
import json
import pathlib
import platform
import statistics
import sys
import tempfile

from contenders import Contender, available

HERE = pathlib.Path(__file__).resolve().parents[2]


def machine() -> dict:
    model = "unknown"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    processors = sum(line.startswith("processor") for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines())
    return {"kernel": platform.release(), "processor": model, "processors": processors,
            "load": pathlib.Path("/proc/loadavg").read_text().split()[0]}


def main() -> int:
    parser = argparse.ArgumentParser(description="Martlet beside other programs, alternately.")
    parser.add_argument("--martlet", default=str(HERE / ".build/release/martlet"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--gib", type=float, default=4)
    parser.add_argument("--json", help="write all figures here")
    parser.add_argument("--only", help="parts of names, by commas: martlet,iperf3")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="martlet-compare-") as folder:
        everyone, missing = available(options.martlet, int(options.gib * (1 << 30)), pathlib.Path(folder))
        if options.only:
            wanted = options.only.split(",")
            everyone = [one for one in everyone if any(word in one.name for word in wanted)]
        figures: dict[str, list[dict]] = {one.name: [] for one in everyone}
        for number in range(options.rounds):
            for one in everyone:
                print(f"round {number + 1} of {options.rounds}: {one.name}", file=sys.stderr)
                try:
                    figures[one.name].append(one.run())
                except Exception as error:  # noqa: BLE001: one program's failure is not the session's
                    missing[one.name] = f"failed: {error}"
        report = {"machine": machine(), "bytes": int(options.gib * (1 << 30)), "rounds": options.rounds, "missing": missing,
                  "results": [summary(one, figures[one.name]) for one in everyone if figures[one.name]]}
    print_table(report)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(report, indent=2) + "\n")
    return 0


def summary(one: Contender, runs: list[dict]) -> dict:
    rates = [run["bytes_per_second"] for run in runs]
    costs = [run["processor_s_per_gib"] for run in runs if run.get("processor_s_per_gib") is not None]
    return {"name": one.name, "group": one.group, "tuning": one.tuning, "rates": rates,
            "gib_per_s": statistics.median(rates) / (1 << 30), "gbit_per_s": statistics.median(rates) * 8 / 1e9,
            "spread": (max(rates) - min(rates)) / statistics.median(rates),
            "processor_s_per_gib": statistics.median(costs) if costs else None}


def print_table(report: dict):
    print(f"{report['machine']['processor']}, {report['machine']['processors']} processors, Linux "
          f"{report['machine']['kernel']}, load {report['machine']['load']} at the end; {report['bytes'] / (1 << 30):g} GiB, "
          f"medians of {report['rounds']} alternating rounds\n")
    print("| program | GiB/s | Gb/s | spread | CPU s/GiB | to Martlet | tuning |")
    print("|---|---|---|---|---|---|---|")
    for group in dict.fromkeys(result["group"] for result in report["results"]):
        results = [result for result in report["results"] if result["group"] == group]
        own = next((result for result in results if result["name"].startswith("martlet")), None)
        for result in results:
            cost = "-" if result["processor_s_per_gib"] is None else f"{result['processor_s_per_gib']:.3f}"
            ratio = "-" if own is None else f"{result['gib_per_s'] / own['gib_per_s']:.2f}"
            print(f"| {result['name']} | {result['gib_per_s']:.2f} | {result['gbit_per_s']:.1f} | "
                  f"{result['spread'] * 100:.0f} % | {cost} | {ratio} | {result['tuning']} |")
    for name, why in report["missing"].items():
        print(f"\n{name}: left out ({why})")


if __name__ == "__main__":
    sys.exit(main())

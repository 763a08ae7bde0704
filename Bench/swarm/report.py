"""Results as lines, a table and a plot."""

import statistics

BUSY = 0.85
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 860, 420, 60, 40, 60
COLOURS = {"martlet": "#1b7f5c", "aria2": "#b8651b", "libtorrent": "#4a5fb0", "curl": "#888888"}


def line(result: dict) -> str:
    """One run."""
    head = f"{result['scenario']:<12} N={result['nodes']:<3} {result['contender']:<11}"
    if "error" in result:
        return f"{head} FAILED: {result['error']}"
    machine = result["machine"]
    text = (
        f"{head} {result['seconds']:7.2f} s  {result['ratio']:6.3f} x bound  origin {result['origin_wire_ratio']:.3f} x F "
        f"(wire) {result['origin_log']['ratio']:.3f} (log)  cpu {result['processor_seconds']:6.1f} s  "
        f"machine {machine['busy']:.0%} busy")
    if "late_origin" in result:
        late = result["late_origin"]
        text += f"  late one: {late['bytes']} B of the origin in {late['requests']} requests"
    return text + (f"  {limited(machine)}" if limited(machine) else "")


def limited(machine: dict) -> str:
    """Words for a run in which the processors, not the links, may have been the limit."""
    if machine["busy"] > BUSY or machine["saturated"] > 0.25:
        return f"PROCESSORS WERE THE LIMIT (all taken {machine['saturated']:.0%} of the time)"
    return ""


def groups(whole: dict) -> dict:
    """Good results by scenario, nodes and contender, in the order they came."""
    found = {}
    for result in whole["results"]:
        if "error" not in result:
            key = (result["scenario"], result["nodes"], result["contender"], result["seeds"])
            found.setdefault(key, []).append(result)
    return found


def table(whole: dict) -> str:
    """Medians."""
    lines = ["", "| scenario | nodes | contender | runs | makespan ÷ bound (least … most) | origin ÷ F, wire | log | CPU s "
             "| machine busy | limit |",
             "|---|---|---|---|---|---|---|---|---|---|"]
    for (scenario, nodes, contender, seeds), results in groups(whole).items():
        def median(pick):
            return statistics.median(pick(result) for result in results)
        ratios = [result["ratio"] for result in results]
        cpu = any(limited(result["machine"]) for result in results)
        # A torrent's bytes do not come from nginx.
        log = f"{median(lambda r: r['origin_log']['ratio']):.3f}" if contender in ("martlet", "curl") else "–"
        lines.append(
            f"| {scenario}{f', {seeds} seed' if seeds else ''} | {nodes} | {contender} | {len(results)} "
            f"| {statistics.median(ratios):.3f} ({min(ratios):.3f} … {max(ratios):.3f}) "
            f"| {median(lambda r: r['origin_wire_ratio']):.3f} | {log} | {median(lambda r: r['processor_seconds']):.1f} "
            f"| {median(lambda r: r['machine']['busy']):.0%} | {'processors' if cpu else 'links'} |")
        late = [result["late_origin"] for result in results if "late_origin" in result]
        if late:
            most, link = max(one["bytes"] for one in late), max(one["link_bytes"] for one in late)
            lines.append(f"| | | | | to the late one: {most} B at most (its link sent {link} B meanwhile) | | | | | |")
    failed = sum("error" in result for result in whole["results"])
    lines += ["", f"{whole['mebibytes']} MiB, {whole['mbits']:g} Mbit/s links, {whole['cores']} cores, "
              f"{whole['seconds']} s in all, {failed} runs failed"]
    lines += [f"{name}: {text}" for name, text in whole["tuning"].items()]
    return "\n".join(lines)


def plot(whole: dict) -> str:
    """Makespan ÷ bound of every run, as dots, with a bar for the median; an SVG."""
    shown = {key: results for key, results in groups(whole).items() if key[2] != "curl"}
    highest = max([1.5] + [result["ratio"] for results in shown.values() for result in results])
    step = (WIDTH - LEFT - 20) / max(1, len(shown))

    def y(ratio: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - (ratio - 0.9) / (highest - 0.9))

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
             'font-size="11">', f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
             f'<text x="{LEFT}" y="20" font-size="14">Makespan ÷ bound, {whole["mebibytes"]} MiB, '
             f'{whole["mbits"]:g} Mbit/s links (bars: medians; dots: runs)</text>']
    for ratio, colour in ((1.0, "black"), (1.1, "#bb3333"), (1.2, "#ddbbbb")):
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 20}" y1="{y(ratio):.1f}" y2="{y(ratio):.1f}" stroke="{colour}"/>'
                     f'<text x="{LEFT - 8}" y="{y(ratio) + 4:.1f}" text-anchor="end">{ratio:.1f}</text>')
    for index, ((scenario, nodes, contender, _), results) in enumerate(shown.items()):
        x = LEFT + step * (index + 0.5)
        middle = statistics.median(result["ratio"] for result in results)
        colour = COLOURS[contender]
        parts.append(f'<rect x="{x - step * 0.3:.1f}" y="{y(middle):.1f}" width="{step * 0.6:.1f}" '
                     f'height="{y(0.9) - y(middle):.1f}" fill="{colour}" opacity="0.6"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y(result["ratio"]):.1f}" r="2.5" fill="{colour}"/>' for result in results]
        for row, text in enumerate((contender, scenario, f"N = {nodes}")):
            parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16 + 13 * row}" text-anchor="middle" font-size="9">'
                         f'{text}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"

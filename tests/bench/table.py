"""Results of tests/bench/compare.py as a table in Markdown; pairs are PyTorch's number and fer-host's."""

COLUMNS = [
    "experiment",
    "batch",
    "PyTorch's best",
    "PyTorch, images/s",
    "fer-host, images/s",
    "fer-host / PyTorch",
    "peak memory, GiB",
    "start to first step, s",
    "others' CPU",
]

CARD_COLUMNS = [
    *COLUMNS[:6],
    "device memory, GiB",
    "host memory, GiB",
    "start to first step, s",
    "to tenth step, s",
    "to tenth step, nothing compiled, s",
    "others on the card, GiB",
]


def pair(theirs, ours, digits=2, unit=1):
    """Two numbers, either of which may not be known."""
    return " / ".join("?" if number is None else f"{number / unit:.{digits}f}" for number in (theirs, ours))


def both(result, field, unit=1):
    return pair(result["pytorch"][field], result["fer_host"][field], unit=unit)


def in_vain(runs):
    count = sum(run["waited_in_vain"] for run in runs)
    return f", {count} runs not quiet" if count else ""


def cells(result, columns):
    """A result as the cells of its table row."""
    if "error" in result:
        reason = result["error"].splitlines()[0].replace("|", "/")
        return [result["row"], str(result["batch"]), f"failed: {reason}"] + [""] * (len(columns) - 3)
    theirs, ours, ratios = result["pytorch"], result["fer_host"], result["ratios"]
    runs = theirs["runs"] + ours["runs"]
    speeds = [
        result["row"],
        str(result["batch"]),
        theirs["configuration"],
        f"{theirs['images_per_second']:.2f}",
        f"{ours['images_per_second']:.2f}",
        f"**{result['ratio']:.2f}** ({min(ratios):.2f} to {max(ratios):.2f})",
    ]
    memory, start = both(result, "peak_memory_bytes", 2**30), both(result, "start_seconds")
    if columns is COLUMNS:
        return [*speeds, memory, start, f"{max(run['other_cpu'] for run in runs):.0%}{in_vain(runs)}"]
    others = [run["others_device_memory_bytes"] for run in runs]
    return [
        *speeds,
        both(result, "device_memory_bytes", 2**30),
        memory,
        start,
        both(result, "tenth_step_seconds"),
        pair(theirs["cold"]["tenth_step_seconds"], ours["cold"]["tenth_step_seconds"]),
        ("?" if None in others else f"{max(others) / 2**30:.2f}") + in_vain(runs),
    ]


def table(results, left_out=()):
    """The table of results of one machine; rows that were left out for want of time stand below the others."""
    columns = CARD_COLUMNS if any("card" in result for result in results) else COLUMNS
    lines = [columns, ["---"] * len(columns), *(cells(result, columns) for result in results)]
    for row in left_out:
        lines.append([row.name, str(row.batch), "not measured: time was up"] + [""] * (len(columns) - 3))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

"""Measures `fer-host` beside PyTorch + timm at the same experiments: on the CPU of a quiet Linux machine, or on a card.

    python3 -m venv venv && . venv/bin/activate
    pip install torch==2.13.0 torchvision timm==1.0.31 numpy safetensors
    cargo build --release --workspace
    python tests/bench/compare.py --out results.jsonl
    python tests/bench/compare.py --out results.jsonl --rows 'swin_t/*/train/*,vit_s/full/infer/bf16/16' --compile
    python tests/bench/compare.py --out card.jsonl --engine cuda --minutes 50 --host PREBUILT/fer-host
    python tests/bench/compare.py --out card.jsonl --engine cuda --dry-run
    python tests/bench/compare.py --table results.jsonl
    python tests/bench/compare.py --check

A row is MODEL/PIPELINE/PHASE/PRECISION, and /BATCH if it is not --batch. `vanilla` is 48 -> bilinear 224 -> backbone -> linear
head, cross entropy; `full` is 384 -> STN -> learned resizer -> 224 -> backbone -> MLP head, F-PDLS; both train with Adam, from
random weights, with the same stochastic depth.

For every row PyTorch is first tried in a few configurations, with few steps each. Then processes of the best of them and of `fer-
host` take turns, so that a machine that slows down slows down both; a ratio is of two neighbours. Every process waits until the
machine is quiet; on a card, until nobody else uses that. A row's result is a line of JSON in --out, added as soon as it is known;
a table of all comes at the end.

On a card (--engine cuda, or cuda:1 for the second) PyTorch is tried as it is, with channels-last, with `torch.compile` in mode
max-autotune, and with both. A first process of either side finds no compiled kernels; its times are told apart. With --minutes,
rows are taken in their order until the time is up, and the others are listed as not measured; --continue takes those that --out
lacks. Rust is not needed there: --host names a program that was built elsewhere, with its plugins beside it.
"""

import argparse
import datetime
import itertools
import json
import os
import pathlib
import shlex
import signal
import statistics
import sys
import tempfile
import time

from experiments import CARD_PRECISIONS, CARD_ROWS, DEFAULT_ROWS, PRECISIONS, braces, rows
from processes import Card, Clock, Failed, OutOfTime, Processor, say
from sides import FerHost, PyTorch, speed
from table import table

# Comparison ---------------------------------------------------------------------------------------------------------------------


def median(runs, field):
    """Over the processes; None where one does not know."""
    values = [run[field] for run in runs]
    return None if None in values else statistics.median(values)


def side(runs, fields):
    """One side of a row: medians over its processes, and all that they said."""
    medians = {field: median(runs, field) for field in fields}
    return {"images_per_second": statistics.median(map(speed, runs)), **medians, "runs": runs}


FIELDS = ["peak_memory_bytes", "start_seconds"]
CARD_FIELDS = [*FIELDS, "tenth_step_seconds", "device_memory_bytes"]


def cold(run):
    """The times of a process that had nothing compiled before."""
    return {field: run[field] for field in ("start_seconds", "tenth_step_seconds")}


def compare(row, pytorch, fer_host, options):
    parameters = fer_host.parameters(row)
    # First, since it is soon known whether this can be computed at all.
    our_first = None if options.card is None else fer_host.measure(row, options.trial_steps)
    trials, failed = pytorch.trials(row)
    best = max(trials, key=lambda configuration: speed(trials[configuration]))
    if trials[best]["parameters"] != parameters:
        raise Failed(f"not the same model: {parameters:,} parameters, in PyTorch {trials[best]['parameters']:,}")
    theirs, ours, ratios = [], [], []
    for _ in range(options.rounds):
        try:
            their, our = pytorch.measure(row, best, options.steps), fer_host.measure(row, options.steps)
        except OutOfTime:
            # What has been measured in turns is a result, if one of fewer turns.
            if ratios:
                break
            raise
        theirs.append(their)
        ours.append(our)
        ratios.append(speed(our) / speed(their))
        say(f"  PyTorch {best} {speed(their):.2f}, fer-host {speed(our):.2f} images/s: {ratios[-1]:.2f}")
    fields = FIELDS if options.card is None else CARD_FIELDS
    tried = {configuration: speed(trial) for configuration, trial in trials.items()}
    result = {
        "parameters": parameters,
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "pytorch": {"configuration": best, "trials": tried, "failed": failed, **side(theirs, fields)},
        "fer_host": side(ours, fields),
    }
    if options.card is not None:
        result["pytorch"]["cold"], result["fer_host"]["cold"] = cold(trials[best]), cold(our_first)
    return result


def processor():
    with open("/proc/cpuinfo") as file:
        return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "unknown")


def machine_of(options):
    """What measures, and with it the time that there is."""
    clock = Clock(options.minutes, options.process_minutes)
    return Processor(clock) if options.card is None else Card(options.card, clock)


def compare_all(options):
    failures, results, left_out = 0, [], []
    machine = machine_of(options)
    with tempfile.TemporaryDirectory() as folder:
        fer_host = FerHost(options, pathlib.Path(folder), machine)
        fer_host.install()
        pytorch = PyTorch(options, pathlib.Path(folder), machine)
        about = {"processor": processor(), "threads": options.threads, "fer_host_version": fer_host.version}
        if options.card is not None:
            about |= fer_host.card()
        took = []
        for row in options.rows:
            left = machine.clock.left()
            # Nothing is begun that cannot be done: no row has been quicker than the quickest.
            if left is not None and left < min(took, default=0.0):
                left_out.append(row)
                continue
            say(f"{row.name}, batch {row.batch}")
            when, began = datetime.datetime.now().isoformat(timespec="seconds"), time.monotonic()
            try:
                result = compare(row, pytorch, fer_host, options)
                took.append(time.monotonic() - began)
            except OutOfTime:
                left_out.append(row)
                continue
            except Failed as failure:
                say(f"  {failure}")
                result = {"error": str(failure)}
                failures += 1
            results.append({"row": row.name, "batch": row.batch, "when": when, **about, **result})
            with open(options.out, "a") as out:
                out.write(json.dumps(results[-1]) + "\n")
    print(table(results, left_out))
    return failures == 0


def check(options):
    """Builds every row's experiment in `fer-host` alone."""
    good = True
    with tempfile.TemporaryDirectory() as folder:
        fer_host = FerHost(options, pathlib.Path(folder), Processor())
        fer_host.install()
        for row in {(row.model, row.pipeline): row for row in options.rows}.values():
            try:
                print(f"{row.model}/{row.pipeline}: {fer_host.parameters(row):,} parameters")
            except Failed as failure:
                good = False
                print(f"{row.model}/{row.pipeline}: {failure}")
    return good


def show(options):
    """Prints the commands of every row, and runs none; what a command finds in the environment stands before it."""
    with tempfile.TemporaryDirectory() as folder:
        machine = machine_of(options)
        pytorch, fer_host = (kind(options, pathlib.Path(folder), machine) for kind in (PyTorch, FerHost))
        for row in options.rows:
            print(f"# {row.name}, batch {row.batch}")
            commands = [
                (pytorch.environment(row, configuration), pytorch.command(row, configuration, options.steps))
                for configuration in pytorch.configurations
            ]
            for environment, command in [*commands, (fer_host.environment(row), fer_host.command(row, options.steps))]:
                settings = [f"{name}={value}" for name, value in environment.items()]
                print(shlex.join([*settings, *map(str, command)]).replace(folder, "FOLDER"))
    return True


# Command line -------------------------------------------------------------------------------------------------------------------


def card_of(engine):
    """The number of the card that an engine names; None where it computes on the processor."""
    name, _, number = engine.partition(":")
    if name != "cuda":
        return None
    if number and not number.isdigit() or engine.endswith(":"):
        sys.exit(f"{number!r} is no card's number: --engine cuda:0 is the first")
    return int(number or 0)


def measured(path):
    """The rows of a results file that were measured, by name and batch."""
    lines = path.read_text().splitlines() if path and path.is_file() else []
    return {(result["row"], result["batch"]) for result in map(json.loads, lines) if "error" not in result}


def arguments(given=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_argument_group("what to do")
    what.add_argument("--out", type=pathlib.Path, help="compare, and add the results to this file")
    what.add_argument("--table", type=pathlib.Path, help="print the table of such a file")
    what.add_argument("--check", action="store_true", help="build the experiments in fer-host, measure nothing")
    what.add_argument("--dry-run", action="store_true", help="print the commands, run nothing")
    parser.add_argument("--rows", help="comma list of rows, wildcards allowed; the comparison's own list when absent")
    parser.add_argument("--batch", type=int, help="images in a step (default 8, on a card 64)")
    parser.add_argument("--rounds", type=int, help="processes of either side (default 5, on a card 3)")
    parser.add_argument("--steps", type=int, default=5, help="steps that count in a process, on a card blocks (default 5)")
    parser.add_argument("--block", type=int, default=10, help="on a card: steps that are timed together (default 10)")
    parser.add_argument("--trial-steps", type=int, default=3, help="the same while looking for PyTorch's best (default 3)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="all CPUs when absent")
    parser.add_argument("--compile", action="store_true", help="on the CPU: try torch.compile too, a minute more a process")
    parser.add_argument("--configurations", help="comma list: only these of PyTorch's, as the trials name them")
    parser.add_argument("--host", type=pathlib.Path, default=pathlib.Path("target/release/fer-host"))
    parser.add_argument("--engine", default="cpu", help="fer-host's engine; cuda or cuda:N compares on a card (default cpu)")
    parser.add_argument("--minutes", type=float, help="begin no row after so long, and end what runs then")
    parser.add_argument("--process-minutes", type=float, help="the most that one process may take (on a card 10)")
    parser.add_argument("--continue", action="store_true", dest="go_on", help="leave out what --out has measured already")
    options = parser.parse_args(given)
    if sum(map(bool, [options.out, options.table, options.check])) != 1 and not options.dry_run:
        parser.error("one of --out, --table, --check is needed, or --dry-run")
    options.card = card_of(options.engine)
    on_card = options.card is not None
    options.batch = options.batch or (64 if on_card else 8)
    options.rounds = options.rounds or (3 if on_card else 5)
    options.process_minutes = options.process_minutes or (10 if on_card else None)
    options.configurations = options.configurations.split(",") if options.configurations else []
    own = itertools.chain(*map(braces, CARD_ROWS if on_card else DEFAULT_ROWS))
    patterns = options.rows.split(",") if options.rows else own
    options.rows = rows(patterns, options.batch, CARD_PRECISIONS if on_card else PRECISIONS)
    if options.go_on:
        known = measured(options.out)
        options.rows = [row for row in options.rows if (row.name, row.batch) not in known]
    return options


def main():
    options = arguments()
    # Ended by a signal or by Ctrl-C, it takes its processes and its folder with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if options.dry_run:
        return show(options)
    if options.table:
        print(table(list(map(json.loads, options.table.read_text().splitlines()))))
        return True
    return check(options) if options.check else compare_all(options)


if __name__ == "__main__":
    sys.exit(0 if main() else 1)

"""Measures `fer-host` beside PyTorch + timm at the same experiments, on the CPU of a quiet Linux machine.

    python3 -m venv venv && . venv/bin/activate
    pip install torch==2.13.0 torchvision timm==1.0.31 numpy safetensors
    cargo build --release --workspace
    python tests/bench/compare.py --out results.jsonl
    python tests/bench/compare.py --out results.jsonl --rows 'swin_t/*/train/*,vit_s/full/infer/bf16/16' --compile
    python tests/bench/compare.py --table results.jsonl
    python tests/bench/compare.py --check

A row is MODEL/PIPELINE/PHASE/PRECISION, and /BATCH if it is not --batch. `vanilla` is 48 -> bilinear 224 -> backbone -> linear
head, cross entropy; `full` is 384 -> STN -> learned resizer -> 224 -> backbone -> MLP head, F-PDLS; both train with Adam, from
random weights, with the same stochastic depth.

For every row PyTorch is first tried in a few configurations, with few steps each. Then processes of the best of them and of
`fer-host` take turns, so that a machine that slows down slows down both; a ratio is of two neighbours. Every process waits until
the machine is quiet. A row's result is a line of JSON in --out, added as soon as it is known; a table of all comes at the end.
"""

import argparse
import dataclasses
import datetime
import fnmatch
import itertools
import json
import os
import pathlib
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
TICKS = os.sysconf("SC_CLK_TCK")

# The rows -------------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Model:
    timm: str
    plugin: str
    # Of the last block, as timm has it by default; given to both sides.
    drop_path: float = 0.0


MODELS = {
    "swin_t": Model("swin_tiny_patch4_window7_224", 'plugin: "swin", variant: "tiny"', drop_path=0.1),
    "swin_s": Model("swin_small_patch4_window7_224", 'plugin: "swin", variant: "small"', drop_path=0.1),
    "swin_b": Model("swin_base_patch4_window7_224", 'plugin: "swin", variant: "base"', drop_path=0.1),
    "vit_s": Model("vit_small_patch16_224", 'plugin: "vit", variant: "small", patch_size: 16'),
    "vit_b": Model("vit_base_patch16_224", 'plugin: "vit", variant: "base", patch_size: 16'),
    "convit_s": Model("convit_small", 'plugin: "convit", variant: "small"'),
    "xcit_s": Model("xcit_small_12_p16_224", 'plugin: "xcit", variant: "small-12", patch_size: 16'),
}

PIPELINES = {
    "vanilla": {
        "side": 48,
        "resizers": '[(plugin: "bilinear", size: 224)]',
        "head": "Linear",
        "loss": '"cross-entropy"',
    },
    "full": {
        "side": 384,
        "resizers": '[(plugin: "stn"), (plugin: "ltr", scale: 0.584)]',
        "head": "Mlp(hidden: 512, dropout: 0.5)",
        "loss": '(plugin: "f-pdls", alpha: 0.8, gamma: 2.0)',
    },
}

CONFIG = """\
Experiment(
    name: "{name}",
    data: Builtin(train: 8, validation: 8, test: 8, size: 48),
    images: (size: {side}, channels: 3),
    model: (
        resizers: {resizers},
        backbone: ({plugin}, drop_path_rate: {drop_path}),
        head: {head},
    ),
    loss: {loss},
    optimiser: Adam(learning_rate: 1e-4),
    epochs: 1, batch: 8, seed: 1111,
)
"""

DEFAULT_ROWS = [
    "{swin_t,swin_s,vit_s,convit_s,xcit_s}/{vanilla,full}/train/f32",
    "{swin_t,vit_s}/{vanilla,full}/train/bf16",
    "{swin_t,swin_s,vit_s}/{vanilla,full}/infer/{f32,bf16}",
]


@dataclasses.dataclass(frozen=True)
class Row:
    model: str
    pipeline: str
    phase: str
    precision: str
    batch: int

    @property
    def name(self):
        return f"{self.model}/{self.pipeline}/{self.phase}/{self.precision}"


def braces(pattern):
    """`a/{b,c}` as `a/b` and `a/c`."""
    alternatives = [part.strip("{}").split(",") for part in pattern.split("/")]
    return ["/".join(parts) for parts in itertools.product(*alternatives)]


def rows(patterns, batch):
    """The rows that are meant, in the order given; a pattern may have wildcards and its own batch."""
    known = ["/".join(parts) for parts in itertools.product(MODELS, PIPELINES, ["train", "infer"], ["f32", "bf16"])]
    found = {}
    for pattern in patterns:
        parts = pattern.strip().split("/")
        own = int(parts.pop()) if len(parts) == 5 and parts[4].isdigit() else batch
        names = fnmatch.filter(known, "/".join(parts))
        if not names:
            sys.exit(f"no row is called {pattern}; there are\n  " + "\n  ".join(known))
        found |= {Row(*name.split("/"), own): None for name in names}
    return list(found)


# Processes ------------------------------------------------------------------------------------------------------------------------


class Failed(Exception):
    pass


def say(text):
    print(text, file=sys.stderr, flush=True)


def busy_seconds():
    """Seconds that all CPUs together have spent not idle since the machine started."""
    with open("/proc/stat") as file:
        user, nice, system, idle, iowait, *others = map(int, file.readline().split()[1:9])
    return (user + nice + system + sum(others)) / TICKS


def children_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def wait_for_quiet(most=0.15, window=0.4, patience=60.0):
    """Waits until others use less than `most` of one CPU; False where it gave up."""
    began = time.monotonic()
    while True:
        before, start = busy_seconds(), time.monotonic()
        time.sleep(window)
        others = (busy_seconds() - before) / (time.monotonic() - start)
        if others < most:
            return True
        if time.monotonic() - began > patience:
            say(f"  gave up waiting for a quiet machine: others use {others:.0%} of a CPU")
            return False


def output_of(command, environment=None):
    process = subprocess.run(
        list(map(str, command)), env={**os.environ, **(environment or {})}, capture_output=True, text=True
    )
    if process.returncode != 0:
        reason = "\n".join(process.stderr.strip().splitlines()[-8:])
        raise Failed(reason or f"{command[0]} ended with {process.returncode}")
    return process.stdout


def measure(command, environment, most=0.25, attempts=3):
    """What the process printed, and how quiet the machine was before and meanwhile.

    Where others used more than `most` of one CPU meanwhile it is run again: PyTorch's threads wait for the slowest of them.
    """
    for _ in range(attempts):
        quiet = wait_for_quiet()
        busy, own, began = busy_seconds(), children_seconds(), time.monotonic()
        result = json.loads(output_of(command, environment))
        seconds = time.monotonic() - began
        others = max(0.0, (busy_seconds() - busy) - (children_seconds() - own)) / seconds
        if others < most:
            break
        say(f"  others used {others:.0%} of a CPU meanwhile")
    return {**result, "waited_in_vain": not quiet, "other_cpu": round(others, 3)}


# What glibc's malloc is told to keep freed memory for the next step, rather than to give it back and fault it in anew.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_TOP_PAD_": str(2**26)}


class PyTorch:
    """PyTorch in all configurations that are to be tried."""

    def __init__(self, options, folder):
        self.options = options
        stock = {"TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor")}
        self.configurations = {"stock": (stock, [])}
        fixed, prefix = stock, ""
        if "AuthenticAMD" in pathlib.Path("/proc/cpuinfo").read_text():
            library = folder / "intel.so"
            output_of(["cc", "-shared", "-fPIC", "-O2", "-o", library, HERE / "intel.c"])
            fixed, prefix = stock | {"LD_PRELOAD": str(library)}, "mklfix+"
            self.configurations["mklfix"] = (fixed, [])
        self.configurations[f"{prefix}channels-last"] = (fixed, ["--channels-last"])
        self.configurations[f"{prefix}malloc"] = (fixed | KEEP_MEMORY, [])
        self.configurations[f"{prefix}malloc+channels-last"] = (fixed | KEEP_MEMORY, ["--channels-last"])
        if options.compile:
            self.configurations[f"{prefix}malloc+compile"] = (fixed | KEEP_MEMORY, ["--compile"])

    def measure(self, row, configuration, steps):
        environment, flags = self.configurations[configuration]
        model = MODELS[row.model]
        command = [sys.executable, HERE / "pytorch.py", "--model", model.timm, "--drop-path", model.drop_path]
        command += ["--pipeline", row.pipeline, "--phase", row.phase, "--precision", row.precision]
        command += ["--batch", row.batch, "--steps", steps, "--threads", self.options.threads, *flags]
        return measure(command, environment)

    def trials(self, row):
        """Every configuration with few steps; one that fails is reported and left out."""
        results = {}
        for configuration in self.configurations:
            try:
                results[configuration] = self.measure(row, configuration, self.options.trial_steps)
                say(f"  PyTorch {configuration}: {speed(results[configuration]):.2f} images/s")
            except Failed as failure:
                say(f"  PyTorch {configuration} failed: {failure}")
                reason = failure
        if not results:
            raise Failed(f"PyTorch failed in every configuration: {reason}")
        return results


class FerHost:
    """A copy of the program and of the plugins beside it: what is measured stays the same, whoever builds meanwhile."""

    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.program = folder / options.host.name
        if not options.host.is_file():
            sys.exit(f"there is no {options.host}: cargo build --release --workspace, or say --host PATH")
        for path in [options.host, *options.host.parent.glob("lib*.so")]:
            shutil.copy2(path, folder / path.name)
        self.version = output_of([self.program, "--version"]).strip()

    def config(self, row):
        """The row's experiment, as a file."""
        model, name = MODELS[row.model], f"{row.model}_{row.pipeline}"
        path = self.folder / f"{name}.ron"
        settings = {**PIPELINES[row.pipeline], "plugin": model.plugin, "drop_path": model.drop_path}
        path.write_text(CONFIG.format(name=name, **settings))
        return path

    def parameters(self, row):
        graph = json.loads(output_of([self.program, "graph", self.config(row), "--format", "json"]))
        return graph["total"]["parameters"]

    def measure(self, row):
        command = [self.program, "bench", self.config(row), "--json", "--engine", self.options.engine]
        command += ["--precision", row.precision, "--phase", row.phase]
        command += ["--batch", row.batch, "--steps", self.options.steps]
        result = measure(command, {"RAYON_NUM_THREADS": str(self.options.threads)})
        # The program counts up to the first step, pytorch.py to its end.
        return {**result, "start_seconds": result["start_seconds"] + result["first_step_seconds"]}


# Comparison -----------------------------------------------------------------------------------------------------------------------


def speed(run):
    return run["images_per_second"]["median"]


def median(runs, field):
    return statistics.median(run[field] for run in runs)


def side(runs):
    """One side of a row: medians over its processes, and all that they said."""
    return {
        "images_per_second": statistics.median(map(speed, runs)),
        "peak_memory_bytes": median(runs, "peak_memory_bytes"),
        "start_seconds": median(runs, "start_seconds"),
        "runs": runs,
    }


def compare(row, pytorch, fer_host, rounds):
    parameters = fer_host.parameters(row)
    trials = pytorch.trials(row)
    best = max(trials, key=lambda configuration: speed(trials[configuration]))
    if trials[best]["parameters"] != parameters:
        raise Failed(f"not the same model: {parameters:,} parameters, in PyTorch {trials[best]['parameters']:,}")
    theirs, ours, ratios = [], [], []
    for _ in range(rounds):
        theirs.append(pytorch.measure(row, best, pytorch.options.steps))
        ours.append(fer_host.measure(row))
        ratios.append(speed(ours[-1]) / speed(theirs[-1]))
        say(f"  PyTorch {best} {speed(theirs[-1]):.2f}, fer-host {speed(ours[-1]):.2f} images/s: {ratios[-1]:.2f}")
    return {
        "parameters": parameters,
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "pytorch": {"configuration": best, "trials": {c: speed(t) for c, t in trials.items()}, **side(theirs)},
        "fer_host": side(ours),
    }


def processor():
    with open("/proc/cpuinfo") as file:
        return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "unknown")


def compare_all(options):
    failures = 0
    results = []
    with tempfile.TemporaryDirectory() as folder:
        fer_host = FerHost(options, pathlib.Path(folder))
        pytorch = PyTorch(options, pathlib.Path(folder))
        about = {"processor": processor(), "threads": options.threads, "fer_host_version": fer_host.version}
        for row in options.rows:
            say(f"{row.name}, batch {row.batch}")
            when = datetime.datetime.now().isoformat(timespec="seconds")
            try:
                result = compare(row, pytorch, fer_host, options.rounds)
            except Failed as failure:
                say(f"  {failure}")
                result = {"error": str(failure)}
                failures += 1
            results.append({"row": row.name, "batch": row.batch, "when": when, **about, **result})
            with open(options.out, "a") as out:
                out.write(json.dumps(results[-1]) + "\n")
    print(table(results))
    return failures == 0


def check(options):
    """Builds every row's experiment in `fer-host` alone."""
    good = True
    with tempfile.TemporaryDirectory() as folder:
        fer_host = FerHost(options, pathlib.Path(folder))
        for row in {(row.model, row.pipeline): row for row in options.rows}.values():
            try:
                print(f"{row.model}/{row.pipeline}: {fer_host.parameters(row):,} parameters")
            except Failed as failure:
                good = False
                print(f"{row.model}/{row.pipeline}: {failure}")
    return good


# Table ----------------------------------------------------------------------------------------------------------------------------

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


def cells(result):
    """A result as the cells of its table row; pairs are PyTorch's number and fer-host's."""
    if "error" in result:
        reason = result["error"].splitlines()[0].replace("|", "/")
        return [result["row"], str(result["batch"]), f"failed: {reason}"] + [""] * (len(COLUMNS) - 3)
    theirs, ours, ratios = result["pytorch"], result["fer_host"], result["ratios"]
    runs = theirs["runs"] + ours["runs"]
    in_vain = sum(run["waited_in_vain"] for run in runs)
    return [
        result["row"],
        str(result["batch"]),
        theirs["configuration"],
        f"{theirs['images_per_second']:.2f}",
        f"{ours['images_per_second']:.2f}",
        f"**{result['ratio']:.2f}** ({min(ratios):.2f} to {max(ratios):.2f})",
        f"{theirs['peak_memory_bytes'] / 2**30:.2f} / {ours['peak_memory_bytes'] / 2**30:.2f}",
        f"{theirs['start_seconds']:.2f} / {ours['start_seconds']:.2f}",
        f"{max(run['other_cpu'] for run in runs):.0%}" + (f", {in_vain} runs not quiet" if in_vain else ""),
    ]


def table(results):
    lines = [COLUMNS, ["---"] * len(COLUMNS), *map(cells, results)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# Command line ---------------------------------------------------------------------------------------------------------------------


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=pathlib.Path, help="compare, and add the results to this file")
    what.add_argument("--table", type=pathlib.Path, help="print the table of such a file")
    what.add_argument("--check", action="store_true", help="build the experiments in fer-host, measure nothing")
    parser.add_argument("--rows", help="comma list of rows, wildcards allowed; the comparison's own list when absent")
    parser.add_argument("--batch", type=int, default=8, help="images in a step (default 8)")
    parser.add_argument("--rounds", type=int, default=5, help="processes of either side (default 5)")
    parser.add_argument("--steps", type=int, default=5, help="steps that count in a process (default 5)")
    parser.add_argument("--trial-steps", type=int, default=3, help="the same while looking for PyTorch's best (default 3)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="all CPUs when absent")
    parser.add_argument("--compile", action="store_true", help="try torch.compile too: a minute more for every process")
    parser.add_argument("--host", type=pathlib.Path, default=pathlib.Path("target/release/fer-host"))
    parser.add_argument("--engine", default="cpu", help="fer-host's engine (default cpu)")
    options = parser.parse_args()
    patterns = options.rows.split(",") if options.rows else itertools.chain(*map(braces, DEFAULT_ROWS))
    options.rows = rows(patterns, options.batch)
    return options


def main():
    options = arguments()
    # Ended by a signal or by Ctrl-C, it takes its processes and its folder with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if options.table:
        print(table(map(json.loads, options.table.read_text().splitlines())))
        return True
    return check(options) if options.check else compare_all(options)


if __name__ == "__main__":
    sys.exit(0 if main() else 1)

"""The two sides of the comparison: which processes they are, with which settings, and what they say."""

import json
import pathlib
import shutil
import sys

from experiments import MODELS
from processes import Failed, output_of, say

HERE = pathlib.Path(__file__).resolve().parent

# What glibc's malloc is told to keep freed memory for the next step, rather than to give it back and fault it in anew.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_TOP_PAD_": str(2**26)}

# Steps on a card before those that count. The tenth ends them, since both sides are asked when it is done.
WARM_UP = 10


def speed(run):
    return run["images_per_second"]["median"]


def card_settings(options):
    """As nvidia-smi counts cards, whatever counts them."""
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"} if options.card is not None else {}


class PyTorch:
    """PyTorch in all configurations that are to be tried."""

    def __init__(self, options, folder, machine):
        self.options, self.folder, self.machine = options, folder, machine
        stock = {"TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"), **card_settings(options)}
        make = self.on_processor if options.card is None else self.on_card
        self.configurations = make(stock, folder)
        if options.configurations:
            unknown = set(options.configurations) - set(self.configurations)
            if unknown:
                known = ", ".join(self.configurations)
                sys.exit(f"PyTorch has no configuration {', '.join(sorted(unknown))} here; there are {known}")
            self.configurations = {name: self.configurations[name] for name in options.configurations}

    def on_processor(self, stock, folder):
        found = {"stock": (stock, [])}
        fixed, prefix = stock, ""
        if "AuthenticAMD" in pathlib.Path("/proc/cpuinfo").read_text():
            library = folder / "intel.so"
            output_of(["cc", "-shared", "-fPIC", "-O2", "-o", library, HERE / "intel.c"])
            fixed, prefix = stock | {"LD_PRELOAD": str(library)}, "mklfix+"
            found["mklfix"] = (fixed, [])
        found[f"{prefix}channels-last"] = (fixed, ["--channels-last"])
        found[f"{prefix}malloc"] = (fixed | KEEP_MEMORY, [])
        found[f"{prefix}malloc+channels-last"] = (fixed | KEEP_MEMORY, ["--channels-last"])
        if self.options.compile:
            found[f"{prefix}malloc+compile"] = (fixed | KEEP_MEMORY, ["--compile"])
        return found

    def on_card(self, stock, _folder):
        flags = {"": [], "channels-last": ["--channels-last"]}
        eager = {name or "eager": (stock, given) for name, given in flags.items()}
        compiled = {f"compile{name and '+' + name}": (stock, ["--compile", *given]) for name, given in flags.items()}
        return eager | compiled

    def command(self, row, configuration, steps):
        _, flags = self.configurations[configuration]
        model, options = MODELS[row.model], self.options
        command = [sys.executable, HERE / "pytorch.py", "--model", model.timm, "--drop-path", model.drop_path]
        command += ["--pipeline", row.pipeline, "--phase", row.phase, "--precision", row.precision]
        command += ["--batch", row.batch, "--steps", steps, "--threads", options.threads, *flags]
        if options.card is not None:
            command += ["--device", f"cuda:{options.card}", "--warm-up", WARM_UP, "--block", options.block]
        return command

    def measure(self, row, configuration, steps):
        return self.machine.measure(self.command(row, configuration, steps), self.environment(row, configuration))

    def environment(self, row, configuration):
        """On a card every row and configuration compiles for itself once, so that its first process tells what that takes."""
        environment, _ = self.configurations[configuration]
        if self.options.card is None:
            return environment
        return environment | {"TORCHINDUCTOR_CACHE_DIR": str(self.folder / row.file / configuration)}

    def trials(self, row):
        """Every configuration with few steps, and why those that failed did."""
        results, failures = {}, {}
        for configuration in self.configurations:
            try:
                results[configuration] = self.measure(row, configuration, self.options.trial_steps)
                say(f"  PyTorch {configuration}: {speed(results[configuration]):.2f} images/s")
            except Failed as failure:
                say(f"  PyTorch {configuration} failed: {failure}")
                failures[configuration] = str(failure)
        if not results:
            raise Failed(f"PyTorch failed in every configuration: {list(failures.values())[-1]}")
        return results, failures


class FerHost:
    """A copy of the program and of the plugins beside it: what is measured stays the same, whoever builds meanwhile."""

    def __init__(self, options, folder, machine):
        self.options, self.folder, self.machine = options, folder, machine
        self.program = folder / options.host.name

    def install(self):
        """Copies the program, and asks it what it is."""
        host = self.options.host
        if not host.is_file():
            sys.exit(f"there is no {host}: cargo build --release --workspace, or say --host PATH")
        for path in [host, *host.parent.glob("lib*.so")]:
            shutil.copy2(path, self.folder / path.name)
        self.version = output_of([self.program, "--version"]).strip()

    def card(self):
        """The card, driver and libraries, as the program sees them; ends where it cannot use the card."""
        cuda = json.loads(output_of([self.program, "devices", "--json"], card_settings(self.options)))["cuda"]
        problem, cards = cuda["problem"], cuda["cards"]
        if problem:
            sys.exit(f"cuda is not usable: {problem['problem']}\nhelp: {problem['help']}")
        if self.options.card >= len(cards):
            sys.exit(f"there is no card {self.options.card}: {len(cards)} are here (fer-host devices)")
        card = cards[self.options.card]
        if card["problem"]:
            sys.exit(f"card {self.options.card} is not usable: {card['problem']['problem']}")
        libraries = {name: cuda[name].get("version") for name in ("nvrtc", "cublas_lt")}
        known = {name: card[name] for name in ("name", "capability", "memory_bytes")}
        return {"card": known, "driver": cuda["driver"], "libraries": libraries}

    def config(self, row):
        """The row's experiment, as a file."""
        path = self.folder / f"{row.model}_{row.pipeline}.ron"
        path.write_text(row.config())
        return path

    def parameters(self, row):
        graph = json.loads(output_of([self.program, "graph", self.config(row), "--format", "json"]))
        return graph["total"]["parameters"]

    def command(self, row, steps):
        options = self.options
        command = [self.program, "bench", self.config(row), "--json", "--engine", options.engine]
        command += ["--precision", row.precision, "--phase", row.phase]
        command += ["--batch", row.batch, "--steps", steps]
        if options.card is not None:
            command += ["--warm-up", WARM_UP, "--block", options.block]
        return command

    def environment(self, row):
        """On a card every row compiles its kernels for itself once, so that its first process tells what that takes."""
        environment = {"RAYON_NUM_THREADS": str(self.options.threads), **card_settings(self.options)}
        if self.options.card is not None:
            environment["FER_CACHE"] = str(self.folder / row.file / "kernels")
        return environment

    def measure(self, row, steps):
        result = self.machine.measure(self.command(row, steps), self.environment(row))
        # The program counts up to the first step, pytorch.py to its end.
        return {**result, "start_seconds": result["start_seconds"] + result["first_step_seconds"]}

"""Processes that are measured one at a time: on a quiet machine, within a time, with what others did meanwhile."""

import json
import os
import resource
import signal
import subprocess
import sys
import time

TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A process that did not do what it was asked."""


class OutOfTime(Exception):
    """The whole measurement's time is up."""


def say(text):
    print(text, file=sys.stderr, flush=True)


class Clock:
    """How much time there is for everything together, and for one process. None is any."""

    def __init__(self, minutes=None, process_minutes=None):
        self.end = None if minutes is None else time.monotonic() + 60 * minutes
        self.process = None if process_minutes is None else 60 * process_minutes

    def left(self):
        """Seconds until the end, which may be past."""
        return None if self.end is None else self.end - time.monotonic()

    def limit(self):
        """Seconds that the next process may take."""
        known = [seconds for seconds in (self.left(), self.process) if seconds is not None]
        return max(0.0, min(known)) if known else None

    def overrun(self, command):
        """What a process that took longer than its limit means."""
        left = self.left()
        if left is not None and left <= 0:
            return OutOfTime()
        return Failed(f"{command[0]} took longer than {self.process / 60:g} minutes (--process-minutes)")


def output_of(command, environment=None, clock=None):
    """What a process printed; it is ended with all that it started when its time is up or this program ends."""
    clock = clock or Clock()
    command = list(map(str, command))
    if clock.limit() == 0.0:
        raise clock.overrun(command)
    process = subprocess.Popen(
        command,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=clock.limit())
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise clock.overrun(command) from None
        raise
    if process.returncode != 0:
        reason = "\n".join(err.strip().splitlines()[-8:])
        raise Failed(reason or f"{command[0]} ended with {process.returncode}")
    return out


def answer_of(command, environment, clock):
    """What a process said in JSON; what PyTorch's compiler prints may stand before."""
    out = output_of(command, environment, clock)
    for text in (out, out.strip().rpartition("\n")[2]):
        try:
            return json.loads(text)
        except ValueError:
            pass
    raise Failed(f"{command[0]} gave no JSON but {out.strip()[-200:]!r}")


class Processor:
    """Measures where the processor computes: others are to leave it alone."""

    def __init__(self, clock=None):
        self.clock = clock or Clock()

    def measure(self, command, environment, most=0.25, attempts=3):
        """What the process printed, and how quiet the machine was before and meanwhile.

        Where others used more than `most` of one CPU meanwhile it is run again: PyTorch's threads wait for the slowest of them.
        """
        for _ in range(attempts):
            quiet = wait_for_quiet()
            busy, own, began = busy_seconds(), children_seconds(), time.monotonic()
            result = answer_of(command, environment, self.clock)
            seconds = time.monotonic() - began
            others = max(0.0, (busy_seconds() - busy) - (children_seconds() - own)) / seconds
            if others < most:
                break
            say(f"  others used {others:.0%} of a CPU meanwhile")
        return {**result, "waited_in_vain": not quiet, "other_cpu": round(others, 3)}


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


class Card:
    """Measures where a card computes: before each process it must be idle and nearly empty, by what nvidia-smi says.

    The processor only hands work over there, so what others do to it is not looked at.
    """

    def __init__(self, index, clock=None):
        self.clock = clock or Clock()
        visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        self.name = visible[index] if index < len(visible) else str(index)

    def measure(self, command, environment):
        """What the process printed, and what others had of the card before."""
        quiet, before = self.wait()
        result = answer_of(command, environment, self.clock)
        return {**result, "waited_in_vain": not quiet, "others_device_memory_bytes": before}

    def wait(self, most_busy=5, most_memory=2**30, patience=30.0):
        """Waits until nobody uses the card, and says whether that came about, and how much of its memory others hold."""
        began = time.monotonic()
        while True:
            now = self.ask()
            if now is None:
                return True, None
            busy, memory = now
            if busy < most_busy and memory < most_memory:
                return True, memory
            if time.monotonic() - began > patience:
                say(f"  gave up waiting for a quiet card: it is {busy} % busy, others hold {memory / 2**30:.1f} GiB")
                return False, memory
            time.sleep(0.5)

    def ask(self):
        """Percent of the last moments in which something ran, and bytes in use; None where nvidia-smi does not say."""
        command = ["nvidia-smi", "-i", self.name, "--format=csv,noheader,nounits"]
        try:
            answer = output_of([*command, "--query-gpu=utilization.gpu,memory.used"], clock=Clock(process_minutes=0.5))
            busy, memory = answer.strip().splitlines()[0].split(",")
            return int(busy), int(memory) * 2**20
        except (Failed, OSError, ValueError, IndexError):
            return None

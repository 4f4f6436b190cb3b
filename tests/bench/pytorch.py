"""Measures PyTorch + timm at one experiment, in this process, and prints one line of JSON.

    python tests/bench/pytorch.py --model swin_tiny_patch4_window7_224 --pipeline vanilla --phase train --batch 8
    python tests/bench/pytorch.py --model vit_small_patch16_224 --device cuda --precision bf16 --batch 64 --compile

The fields are those of `fer-host bench --json`, but that `start_seconds` counts from the start of the process to the end of the
first step. The images are there as floats, on a card in its memory; `fer-host` is given bytes, brings them in and normalises them
within its step.

On a card nothing waits for it inside what is timed: steps are timed in blocks between two synchronisations, and losses are read
after a block. A loop that looks at each step's loss, as `fer-host` does, waits once a step. Before the blocks --warm-up steps are
run one at a time, in which cuDNN chooses its algorithms (`cudnn.benchmark`), `torch.compile` compiles, and graphs are recorded.

`tenth_step_seconds` counts from the start of the process to the end of the tenth step; null where no time that is taken ends
there. `device_memory_bytes` is all that is in use on the card after the last step, its context and libraries' workspaces
included, and whatever other programs hold: the card must be idle otherwise.
"""

import argparse
import contextlib
import json
import os
import platform
import statistics
import time

import timm
import torch

from models import CLASSES, PIPELINES


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="timm's name of the backbone")
    parser.add_argument("--pipeline", choices=PIPELINES, default="vanilla")
    parser.add_argument("--phase", choices=["train", "infer"], default="train")
    parser.add_argument("--device", type=torch.device, default="cpu", help="cpu, cuda or cuda:N (default cpu)")
    precision = "bf16: autocast; tf32, on a card alone: factors of products and convolutions rounded"
    parser.add_argument("--precision", choices=["f32", "tf32", "bf16"], default="f32", help=precision)
    parser.add_argument("--batch", type=int, default=8, help="images in a step")
    parser.add_argument("--steps", type=int, default=5, help="steps that count, or blocks of them")
    parser.add_argument("--block", type=int, default=1, help="steps that are timed together (default 1)")
    parser.add_argument("--warm-up", type=int, default=2, help="steps before those that count (default 2)")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--drop-path", type=float, help="stochastic depth of the last block; timm's default when absent")
    parser.add_argument("--channels-last", action="store_true", help="images and filters as NHWC")
    parser.add_argument("--compile", action="store_true", help="torch.compile the model, on a card in mode max-autotune")
    options = parser.parse_args()
    if options.device.type not in ("cpu", "cuda"):
        parser.error(f"--device {options.device}: it must be cpu, cuda or cuda:N")
    if options.device.type == "cuda" and not torch.cuda.is_available():
        parser.error(f"--device {options.device}: PyTorch {torch.__version__} finds no card that it can use")
    if options.precision == "tf32" and options.device.type == "cpu":
        parser.error("--precision tf32: only a card computes in it; --device cuda, or f32 or bf16")
    return options


def seconds_since_start():
    """Seconds since this process began, by the system's clock."""
    with open("/proc/self/stat") as file:
        began = int(file.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began


def peak_memory():
    """The most memory that this process has held, in bytes."""
    with open("/proc/self/status") as file:
        peak = next(line for line in file if line.startswith("VmHWM:"))
    return 1024 * int(peak.split()[1])


def device_memory(device):
    """Bytes in use on the card, by whoever; None on the CPU."""
    if device.type == "cpu":
        return None
    free, total = torch.cuda.mem_get_info(device)
    return total - free


def prepare(device, precision):
    """How PyTorch computes on a card; and the context of forward passes."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True
        # What stays f32 under autocast may be rounded too; PyTorch's best is asked for.
        torch.backends.cuda.matmul.allow_tf32 = precision != "f32"
        torch.backends.cudnn.allow_tf32 = precision != "f32"
    bf16 = lambda: torch.autocast(device.type, dtype=torch.bfloat16)
    return bf16 if precision == "bf16" else contextlib.nullcontext


def training(model, run, images, labels, precision):
    """A step: forward, loss, backward, optimiser; it returns the loss, on a card as it stands there."""
    model.train()
    # Fused: the fastest Adam that PyTorch has.
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)

    def step():
        optimiser.zero_grad(set_to_none=True)
        with precision():
            logits = run(images)
        loss = model.loss(logits.float(), labels)
        loss.backward()
        optimiser.step()
        return loss.item() if images.device.type == "cpu" else loss.detach()

    return step


def inference(model, run, images, precision):
    """A step: forward alone."""
    model.eval()

    def step():
        with torch.inference_mode(), precision():
            run(images)

    return step


class Stopwatch:
    """Runs steps and takes their time."""

    def __init__(self, step, device):
        self.step, self.device = step, device
        self.losses, self.done, self.tenth = [], 0, None

    def synchronise(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def time(self, steps):
        """Seconds of so many steps together."""
        self.synchronise()
        began = time.perf_counter()
        losses = [self.step() for _ in range(steps)]
        self.synchronise()
        seconds = time.perf_counter() - began
        self.done += steps
        if self.done == 10:
            self.tenth = seconds_since_start()
        # A card's losses are read here, after the time was taken.
        self.losses += [float(loss) for loss in losses if loss is not None]
        return seconds


def versions(device):
    found = {"python": platform.python_version(), "torch": torch.__version__, "timm": timm.__version__}
    if device.type == "cuda":
        found |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    return found


def main():
    options = arguments()
    device = options.device
    torch.set_num_threads(options.threads)
    torch.manual_seed(1111)
    precision = prepare(device, options.precision)
    model = PIPELINES[options.pipeline](options.model, options.drop_path).to(device)
    images = torch.randn(options.batch, 3, model.side, model.side).to(device)
    labels = torch.randint(0, CLASSES, (options.batch,)).to(device)
    if options.channels_last:
        model = model.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    mode = {"mode": "max-autotune"} if device.type == "cuda" else {}
    run = torch.compile(model, **mode) if options.compile else model
    if options.phase == "train":
        step = training(model, run, images, labels, precision)
    else:
        step = inference(model, run, images, precision)

    watch = Stopwatch(step, device)
    first_step_seconds = watch.time(1)
    start_seconds = seconds_since_start()
    # The second step settles what the first one allocated.
    for _ in range(options.warm_up - 1):
        watch.time(1)
    images_in_block = options.block * options.batch
    speeds = [images_in_block / watch.time(options.block) for _ in range(max(options.steps, 1))]

    result = {
        **vars(options),
        "device": str(device),
        "images_per_second": {"median": statistics.median(speeds), "min": min(speeds), "max": max(speeds)},
        "first_step_seconds": first_step_seconds,
        "start_seconds": start_seconds,
        "tenth_step_seconds": watch.tenth,
        "peak_memory_bytes": peak_memory(),
        "device_memory_bytes": device_memory(device),
        "parameters": sum(p.numel() for p in model.parameters()),
        "losses": watch.losses,
        "versions": versions(device),
    }
    if device.type == "cuda":
        result["device_name"] = torch.cuda.get_device_name(device)
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()

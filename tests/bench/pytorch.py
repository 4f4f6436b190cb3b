"""Measures PyTorch + timm at one experiment, in this process, and prints one line of JSON.

    python tests/bench/pytorch.py --model swin_tiny_patch4_window7_224 --pipeline vanilla --phase train --batch 8

The fields are those of `fer-host bench --json`, but that `start_seconds` counts from the start of the process to the end of the
first step. The images are there as floats; `fer-host` normalises bytes within its step.
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
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32", help="bf16: autocast")
    parser.add_argument("--batch", type=int, default=8, help="images in a step")
    parser.add_argument("--steps", type=int, default=5, help="steps that count, after two that do not")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--drop-path", type=float, help="stochastic depth of the last block; timm's default when absent")
    parser.add_argument("--channels-last", action="store_true", help="images and filters as NHWC")
    parser.add_argument("--compile", action="store_true", help="torch.compile the model")
    return parser.parse_args()


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


def training(model, run, images, labels, precision):
    """A step: forward, loss, backward, optimiser; it returns the loss."""
    model.train()
    # Fused: the fastest Adam that PyTorch has on a CPU.
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)

    def step():
        optimiser.zero_grad(set_to_none=True)
        with precision():
            logits = run(images)
        loss = model.loss(logits.float(), labels)
        loss.backward()
        optimiser.step()
        return loss.item()

    return step


def inference(model, run, images, precision):
    """A step: forward alone."""
    model.eval()

    def step():
        with torch.inference_mode(), precision():
            run(images)

    return step


def main():
    options = arguments()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1111)
    model = PIPELINES[options.pipeline](options.model, options.drop_path)
    images = torch.randn(options.batch, 3, model.side, model.side)
    labels = torch.randint(0, CLASSES, (options.batch,))
    if options.channels_last:
        model = model.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    run = torch.compile(model) if options.compile else model
    bf16 = lambda: torch.autocast("cpu", dtype=torch.bfloat16)
    precision = bf16 if options.precision == "bf16" else contextlib.nullcontext
    if options.phase == "train":
        step = training(model, run, images, labels, precision)
    else:
        step = inference(model, run, images, precision)

    began = time.perf_counter()
    losses = [step()]
    first_step_seconds = time.perf_counter() - began
    start_seconds = seconds_since_start()
    # The second step settles what the first one allocated.
    losses.append(step())
    speeds = []
    for _ in range(max(options.steps, 1)):
        began = time.perf_counter()
        losses.append(step())
        speeds.append(options.batch / (time.perf_counter() - began))

    result = {
        **vars(options),
        "images_per_second": {"median": statistics.median(speeds), "min": min(speeds), "max": max(speeds)},
        "first_step_seconds": first_step_seconds,
        "start_seconds": start_seconds,
        "peak_memory_bytes": peak_memory(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "losses": losses if options.phase == "train" else [],
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "timm": timm.__version__},
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()

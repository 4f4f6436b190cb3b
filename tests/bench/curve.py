"""Trains one experiment in `fer-host` and in PyTorch, from the same weights on the same images in one order: are losses alike?

    python tests/bench/curve.py --out curve --model vit_s --pipeline full --precision bf16
    python tests/bench/curve.py --out curve --engine cuda --batch 64 --epochs 10 --data /path/to/ferplus

`fer-host export` hands over weights and images, `fer-host run` trains and logs each step's loss and learning rate. All that is
drawn at random while training is off on both sides: stochastic depth, dropout, augmentation. `vanilla` is 48 -> bilinear 224 ->
backbone -> linear head, cross entropy; `full` is 48 -> bilinear 384 -> STN -> learned resizer -> 224 -> backbone -> MLP head,
F-PDLS. The images are the built-in faces, or FERPlus. PyTorch computes where `fer-host` does: on a card with --engine cuda, else
on the CPU.

In the folder --out it leaves curve.csv (a line a step with both losses and their difference as a share of PyTorch's) and
summary.json, which it also prints, with how many test images either side gets right after the last epoch.

Rounding grows from step to step, as each starts from weights that the one before has left; where batch norms see few images,
tenfold each. So PyTorch also takes the first --first steps in f64, which is the truth, and `fer-host` must be about as near to it
as PyTorch is in the precision asked for: in each of these steps within three times the distance that PyTorch has had so far, or
within the tolerance where that is more. If it is not, this ends with 1. Later on the curves keep together, and part by chance.
"""

import argparse
import json
import pathlib
import re
import signal
import sys
import time

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from experiments import MODELS, PIPELINES
from losses import TOLERANCES, judge, write_curve
from models import CLASSES, Full, Vanilla
from processes import Failed, output_of, say
from pytorch import prepare

CONFIG = """\
Experiment(
    name: "{name}",
    data: {data},
    images: (size: 48, channels: 3),
    model: (
        resizers: {resizers},
        backbone: ({plugin}, drop_path_rate: 0.0),
        head: {head},
    ),
    loss: {loss},
    optimiser: Adam(learning_rate: {learning_rate}),
    epochs: {epochs}, batch: {batch}, seed: {seed},
)
"""

# What the full pipeline has before its own resizers, in place of a super-resolution that is trained beforehand.
ENLARGED = 384

# How `fer-host` calls what tests/bench/models.py calls otherwise.
NAMES = [
    (r"^backbone\.head\.(fc\.)?(weight|bias)$", r"head.\2"),
    (r"^resizers\.1\.features\.0\.", "resizers.2.conv1."),
    (r"^resizers\.1\.features\.2\.", "resizers.2.conv2."),
    (r"^resizers\.1\.features\.4\.", "resizers.2.bn1."),
    (r"^resizers\.1\.refinement\.0\.body\.0\.", "resizers.2.resblock.0.conv1."),
    (r"^resizers\.1\.refinement\.0\.body\.1\.", "resizers.2.resblock.0.bn1."),
    (r"^resizers\.1\.refinement\.0\.body\.3\.", "resizers.2.resblock.0.conv2."),
    (r"^resizers\.1\.refinement\.0\.body\.4\.", "resizers.2.resblock.0.bn2."),
    (r"^resizers\.1\.refinement\.1\.", "resizers.2.conv3."),
    (r"^resizers\.1\.refinement\.2\.", "resizers.2.bn2."),
    (r"^resizers\.1\.result\.", "resizers.2.conv4."),
    (r"^resizers\.0\.", "resizers.1."),
]


def config(options):
    """The experiment as RON."""
    settings = dict(PIPELINES[options.pipeline])
    if options.pipeline == "full":
        settings["resizers"] = f'[(plugin: "bilinear", size: {ENLARGED}), {settings["resizers"][1:]}'
        settings["head"] = "Mlp(hidden: 512, dropout: 0.0)"
    del settings["side"]
    counts = f"train: {options.faces}, validation: {options.faces // 4}, test: {options.faces // 4}, size: 48"
    data = f"FerPlus(root: {json.dumps(str(options.data))})" if options.data else f"Builtin({counts})"
    return CONFIG.format(
        name=f"{options.model}_{options.pipeline}",
        data=data,
        plugin=MODELS[options.model].plugin,
        learning_rate=options.learning_rate,
        epochs=options.epochs,
        batch=options.batch,
        seed=options.seed,
        **settings,
    )


# fer-host -----------------------------------------------------------------------------------------------------------------------


class Trained:
    """A finished run of `fer-host`: its steps as it logged them, and what its last weights get right."""

    def __init__(self, options, path):
        how = ["--engine", options.engine, "--precision", options.precision]
        began = time.monotonic()
        lines = output_of([options.host, "run", path, *how, "--out", options.out / "runs", "--json"]).splitlines()
        self.seconds = time.monotonic() - began
        folder = next(line["folder"] for line in map(json.loads, lines) if line["kind"] == "start")
        log = (pathlib.Path(folder) / "metrics.jsonl").read_text().splitlines()
        self.steps = [line for line in map(json.loads, log) if line["kind"] == "step"]
        measured = json.loads(output_of([options.host, "eval", folder, "--weights", "last", "--json"]))
        self.accuracy = measured["result"]["accuracy"]


def exported(options, path):
    """Weights and data as `fer-host` hands them over."""
    folder = options.out / "export"
    output_of([options.host, "export", path, "--out", folder])
    return load_file(folder / "initial.safetensors"), load_file(folder / "data.safetensors")


# PyTorch ------------------------------------------------------------------------------------------------------------------------


def renamed(name):
    """`fer-host`'s name of a parameter or running statistic of PyTorch's."""
    for pattern, replacement in NAMES:
        name, count = re.subn(pattern, replacement, name)
        if count:
            break
    return name


def load(model, weights):
    """Gives a model `fer-host`'s weights; every one of them has its place, and every parameter gets one."""
    own = {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point() and name != "prior"}
    given = {name: weights.get(renamed(name)) for name in own}
    missing = [name for name, tensor in given.items() if tensor is None or tensor.shape != own[name].shape]
    left = set(weights) - set(map(renamed, own))
    if missing or left:
        sys.exit(f"not the same model: PyTorch alone has {missing}, fer-host alone {sorted(left)}")
    model.load_state_dict(given, strict=False)


class Trainer:
    """The same experiment in PyTorch; `truth` in f64, whatever the precision."""

    def __init__(self, options, weights, data, truth=False):
        self.dtype = torch.float64 if truth else torch.float32
        self.device = torch.device(options.engine if options.engine.startswith("cuda") else "cpu")
        self.precision = prepare(self.device, "f32" if truth else options.precision)
        name = MODELS[options.model].timm
        full = options.pipeline == "full"
        self.model = Full(name, 0.0, dropout=0.0) if full else Vanilla(name, 0.0)
        load(self.model, weights)
        if full:
            self.model.prior.copy_(data["prior"])
        self.model.to(self.device, self.dtype)
        self.side = ENLARGED if full else None
        self.mean, self.deviation = (data[key].view(3, 1, 1).to(self.device, self.dtype) for key in ("mean", "deviation"))
        self.data = data
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=options.learning_rate, fused=True)

    def logits(self, images):
        images = (images.to(self.device).to(self.dtype) / 255 - self.mean) / self.deviation
        if self.side:
            images = F.interpolate(images, size=(self.side, self.side), mode="bilinear", align_corners=False)
        with self.precision():
            return self.model(images).to(self.dtype)

    def step(self, indices, learning_rate):
        """Trains on a batch; its loss before."""
        self.model.train()
        self.optimiser.param_groups[0]["lr"] = learning_rate
        self.optimiser.zero_grad(set_to_none=True)
        labels = self.data["train/labels"][indices].long().to(self.device)
        loss = self.model.loss(self.logits(self.data["train/images"][indices]), labels)
        loss.backward()
        self.optimiser.step()
        return loss.item()

    @torch.no_grad()
    def accuracy(self, batch):
        """The share of test images whose likeliest class is their label."""
        self.model.eval()
        images, labels = self.data["test/images"], self.data["test/labels"]
        answers = [self.logits(part).argmax(1).cpu() for part in images.split(batch)]
        return (torch.cat(answers) == labels).float().mean().item()


def check(data):
    """The models here take labels that count alike; ends where the data has others."""
    for split in ("train", "test"):
        labels, targets = data[f"{split}/labels"].long(), data[f"{split}/targets"]
        if not torch.equal(F.one_hot(labels, CLASSES).float(), targets) or (data[f"{split}/weights"] != 1).any():
            sys.exit(f"the {split} images have soft labels or class weights, which PyTorch's side here does not know")


# Both ---------------------------------------------------------------------------------------------------------------------------


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="a new folder for what is found")
    parser.add_argument("--host", type=pathlib.Path, default=pathlib.Path("target/release/fer-host"))
    parser.add_argument("--model", choices=MODELS, default="swin_t")
    parser.add_argument("--pipeline", choices=PIPELINES, default="vanilla")
    parser.add_argument("--engine", default="cpu", help="cpu, cuda or cuda:N, of both sides (default cpu)")
    parser.add_argument("--precision", choices=TOLERANCES, default="f32")
    parser.add_argument("--batch", type=int, default=8, help="images in a step (default 8)")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--faces", type=int, default=256, help="built-in faces to train on; a quarter to test (default 256)")
    parser.add_argument("--data", type=pathlib.Path, help="the root of FERPlus, instead of the built-in faces")
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=1111)
    parser.add_argument("--first", type=int, default=10, help="steps that are held to the tolerance (default 10)")
    known = ", ".join(f"{precision} {tolerance:g}" for precision, tolerance in TOLERANCES.items())
    parser.add_argument("--tolerance", type=float, help=f"of their distance from f64 (default {known})")
    options = parser.parse_args()
    if not re.fullmatch(r"cpu|cuda(:\d+)?", options.engine):
        parser.error(f"--engine {options.engine}: it must be cpu, cuda or cuda:N")
    if options.precision == "tf32" and options.engine == "cpu":
        parser.error("--precision tf32: only a card computes in it; --engine cuda, or f32 or bf16")
    if options.first < 1:
        parser.error(f"--first {options.first}: at least one step must be held to the tolerance")
    if options.out.exists() and any(options.out.iterdir()):
        parser.error(f"--out {options.out}: it is not empty; name a new folder")
    if not options.host.is_file():
        parser.error(f"there is no {options.host}: cargo build --release --workspace, or say --host PATH")
    options.host = options.host.resolve()
    options.data = options.data and options.data.resolve()
    options.tolerance = options.tolerance if options.tolerance is not None else TOLERANCES[options.precision]
    return options


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "config.ron"
    path.write_text(config(options))
    try:
        weights, data = exported(options, path)
        check(data)
        say(f"fer-host trains {path}")
        ours = Trained(options, path)
    except Failed as failure:
        sys.exit(f"fer-host: {failure}")
    batches, rates = data["order"].flatten(0, 1).long(), [step["learning_rate"] for step in ours.steps]
    trainer = Trainer(options, weights, data)
    say(f"PyTorch trains it: {len(batches)} steps of {options.batch}")
    began = time.monotonic()
    theirs = [trainer.step(indices, rate) for indices, rate in zip(batches, rates, strict=True)]
    seconds, accuracy = time.monotonic() - began, trainer.accuracy(options.batch)
    # Its memory goes before f64 takes twice as much.
    del trainer
    say(f"PyTorch takes the first {options.first} steps in f64")
    exact = Trainer(options, weights, data, truth=True)
    truth = [exact.step(indices, rate) for indices, rate in zip(batches[: options.first], rates)]
    curve = [(step["loss"], loss) for step, loss in zip(ours.steps, theirs)]
    write_curve(options.out / "curve.csv", curve, truth)
    summary = {
        "model": options.model,
        "pipeline": options.pipeline,
        "engine": options.engine,
        "precision": options.precision,
        "batch": options.batch,
        **judge(curve, truth, options.tolerance),
        "test_accuracy": {"fer_host": ours.accuracy, "pytorch": accuracy},
        # fer-host's with its start, plan, validation and test; PyTorch's of the steps alone: no comparison of speed.
        "seconds": {"fer_host_whole_run": ours.seconds, "pytorch_steps": seconds},
    }
    (options.out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    print(json.dumps(summary, indent=2))
    if not summary["within"]:
        say(f"fer-host's first losses are further from f64 than rounding explains: see {options.out / 'curve.csv'}")
    return summary["within"]


if __name__ == "__main__":
    sys.exit(0 if main() else 1)

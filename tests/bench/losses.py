"""Losses of two trainings, step by step: how far are they from each other and from the truth, and does rounding explain it?"""

import csv
import itertools

# How far a loss of the first steps may be from the truth whatever PyTorch does, as a share of it. Both sides sum f32 in orders
# of their own; the others round factors to 2^-11 (tf32) and 2^-8 (bf16) of themselves, at places of their own, and are given
# five such roundings. In bf16 a processor has been seen at four, 1.5e-2, before this number was settled.
TOLERANCES = {"f32": 1e-5, "tf32": 2.5e-3, "bf16": 2e-2}

# What is further from the truth than PyTorch by more than this factor is not rounding at other places any more.
FACTOR = 3


def apart(loss, other):
    """How far a loss is from another, as a share of that."""
    return abs(loss - other) / max(abs(other), 1e-12)


def judge(curve, truth, tolerance):
    """What the pairs of losses, fer-host's and PyTorch's, say beside the truth of the first steps."""
    ours, theirs = ([apart(pair[side], true) for pair, true in zip(curve, truth)] for side in (0, 1))
    allowed = [max(tolerance, FACTOR * distance) for distance in itertools.accumulate(theirs, max)]
    between = [apart(*pair) for pair in curve]
    return {
        "steps": len(curve),
        "first_steps": len(truth),
        "tolerance": tolerance,
        "within": all(distance <= limit for distance, limit in zip(ours, allowed)),
        "largest_difference": {"first_steps": max(between[: len(truth)]), "all_steps": max(between)},
        "largest_distance_from_f64": {"fer_host": max(ours), "pytorch": max(theirs)},
        "first_loss": {"fer_host": curve[0][0], "pytorch": curve[0][1], "pytorch_f64": truth[0]},
        "last_loss": {"fer_host": curve[-1][0], "pytorch": curve[-1][1]},
    }


def write_curve(path, curve, truth):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "fer_host", "pytorch", "difference", "pytorch_f64"])
        for step, (pair, true) in enumerate(itertools.zip_longest(curve, truth), 1):
            losses = [f"{loss:.9g}" for loss in pair]
            writer.writerow([step, *losses, f"{apart(*pair):.3e}", "" if true is None else f"{true:.9g}"])

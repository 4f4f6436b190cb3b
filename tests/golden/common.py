"""What every maker of golden data uses."""

import pathlib
import sys

import timm
import torch
from safetensors.torch import save_file

FOLDER = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "data"


def generator(seed):
    return torch.Generator().manual_seed(seed)


def save(name, tensors):
    metadata = {"made_by": "tests/golden/make.py", "torch": torch.__version__.split("+")[0], "timm": timm.__version__}
    save_file({k: v.detach().contiguous() for k, v in tensors.items()}, FOLDER / f"{name}.safetensors", metadata=metadata)


def images(side):
    return torch.randn(2, 3, side, side, generator=generator(42))


@torch.no_grad()
def perturb(model):
    """Noise on all that starts as a constant or next to nothing (norms, biases, tables, tokens, gates, running statistics):
    miswirings must show in the numbers."""
    g = generator(1234)
    noise = lambda t: torch.randn(t.shape, generator=g)
    for name, p in model.named_parameters():
        if "relative_position_bias_table" in name:
            p.add_(noise(p) * 0.2)
        elif name.endswith(("gating_param", "temperature")):
            p.add_(noise(p) * 0.4)
        elif name.endswith(("cls_token", "dist_token", "pos_embed")):
            p.add_(noise(p) * 0.1)
        elif "gamma" in name:
            p.add_(noise(p) * 0.2)
        elif "pos_proj" in name:
            p.add_(noise(p) * 0.1)
        elif name.startswith("head") and p.dim() == 2:
            p.add_(noise(p) * 0.1)  # logits that are not tiny
        elif p.dim() == 1:
            p.add_(noise(p) * (0.2 if name.endswith("weight") else 0.1))
    for name, b in model.named_buffers():
        if name.endswith("running_mean"):
            b.add_(noise(b) * 0.1)
        elif name.endswith("running_var"):
            b.mul_(torch.exp(noise(b) * 0.2))


def gradients(model, x, objective):
    """Output, objective, and the gradients of the objective by the input and by every parameter."""
    x = x.clone().requires_grad_(True)
    model.zero_grad()
    output = model(x)
    value = objective(output)
    value.backward()
    return output.detach(), value.detach(), {"input": x.grad, **{n: p.grad.clone() for n, p in model.named_parameters()}}

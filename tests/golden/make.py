"""Makes tests/golden/data: what PyTorch and timm compute, for the program's own numbers to be held against.

    python3 -m venv venv && . venv/bin/activate
    pip install torch==2.13.0 torchvision timm==1.0.31 numpy safetensors
    python tests/golden/make.py [folder]

Every `<name>.safetensors` holds weights under PyTorch's names, every `<name>.io.safetensors` inputs, results and gradients. All
randomness is seeded: the same versions give the same files, bit for bit on the same kind of machine.
"""

import pathlib
import sys

import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.models.swin_transformer import SwinTransformer
from torch import nn

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
    """Noise on all that starts as a constant (norms, biases, tables, running statistics): miswirings must show in the numbers."""
    g = generator(1234)
    noise = lambda t: torch.randn(t.shape, generator=g)
    for name, p in model.named_parameters():
        if "relative_position_bias_table" in name:
            p.add_(noise(p) * 0.2)
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


# Swin: timm's class, three stages ------------------------------------------------------------------------------------------------

# Whole gradients are kept of the first of each kind; of all others a norm and a signed sum.
KEPT = [
    "patch_embed.proj.weight",
    "layers.0.blocks.0.attn.qkv.weight",
    "layers.0.blocks.0.attn.relative_position_bias_table",
    "layers.2.blocks.1.attn.relative_position_bias_table",
    "layers.1.downsample.reduction.weight",
    "layers.0.blocks.0.norm1.weight",
    "layers.0.blocks.0.mlp.fc1.weight",
    "norm.weight",
    "head.fc.weight",
]


def small_swin():
    labels = torch.tensor([1, 5])
    make = lambda: SwinTransformer(
        num_classes=8, img_size=112, patch_size=4, window_size=7, embed_dim=16, depths=(2, 2, 2), num_heads=(1, 2, 4)
    )
    torch.manual_seed(0)
    model = make()
    perturb(model)
    model.eval()
    x = images(112)
    objective = lambda logits: F.cross_entropy(logits, labels)
    logits, loss, grads = gradients(model, x, objective)
    io = {"input": x, "labels": labels, "logits": logits, "loss": loss.reshape(1)}
    io |= {f"grad.{n}": grads[n] for n in ["input", *KEPT]}

    # The same weights in float64: the truth, up to 1e-15.
    double = make().double()
    double.load_state_dict({k: v.double() if v.is_floating_point() else v for k, v in model.state_dict().items()})
    double.eval()
    logits, loss, grads = gradients(double, x.double(), objective)
    io |= {"f64.logits": logits, "f64.loss": loss.reshape(1)}
    for name, g in grads.items():
        if name != "input":
            signs = torch.cos(torch.arange(g.numel(), dtype=torch.float64))
            io[f"gradstat.{name}"] = torch.stack([g.norm(), (g.reshape(-1) * signs).sum()])
    save("small_swin", model.state_dict())
    save("small_swin.io", io)


# The learned resizer (Talebi & Milanfar 2021), under the public implementation's names --------------------------------------------


class ResidualBlock(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(n, n, 3, padding=1), nn.BatchNorm2d(n)
        self.conv2, self.bn2 = nn.Conv2d(n, n, 3, padding=1), nn.BatchNorm2d(n)

    def forward(self, x):
        return x + self.bn2(self.conv2(F.leaky_relu(self.bn1(self.conv1(x)), 0.2)))


class LearnedResizer(nn.Module):
    """r = 1, n = 16; `recompute` samples at in / out steps instead of 1 / scale."""

    def __init__(self, n=16, scale=0.584):
        super().__init__()
        self.scale, self.recompute = scale, None
        self.conv1 = nn.Conv2d(3, n, 7, padding=3)
        self.conv2, self.bn1 = nn.Conv2d(n, n, 1), nn.BatchNorm2d(n)
        self.resblock = nn.Sequential(ResidualBlock(n))
        self.conv3, self.bn2 = nn.Conv2d(n, n, 3, padding=1), nn.BatchNorm2d(n)
        self.conv4 = nn.Conv2d(n, 3, 7, padding=3)

    def resize(self, x):
        return F.interpolate(
            x, scale_factor=self.scale, mode="bilinear", align_corners=False, recompute_scale_factor=self.recompute
        )

    def forward(self, x):
        features = self.bn1(F.leaky_relu(self.conv2(F.leaky_relu(self.conv1(x), 0.2)), 0.2))
        features = self.resize(features)
        y = self.bn2(self.conv3(self.resblock(features))) + features
        return self.conv4(y) + self.resize(x)


def ltr():
    torch.manual_seed(0)
    model = LearnedResizer()
    perturb(model)
    start = {k: v.clone() for k, v in model.state_dict().items()}
    x = images(96)
    cotangent = torch.randn(2, 3, 56, 56, generator=generator(5))
    io = {"input": x, "grad_output": cotangent}
    for mode in ["eval", "train"]:
        model.load_state_dict(start)
        model.train(mode == "train")
        output, _, grads = gradients(model, x, lambda y: (y * cotangent).sum())
        io |= {f"{mode}.output": output, **{f"{mode}.grad.{n}": g for n, g in grads.items()}}
    io |= {f"train.after.{k}": v.clone() for k, v in model.state_dict().items() if "running" in k}
    model.load_state_dict(start)
    model.eval()
    model.recompute = True
    with torch.no_grad():
        io["eval.recompute_scale.output"] = model(x)
    save("ltr", start)
    save("ltr.io", io)


# The spatial transformer, as PyTorch's tutorial names it --------------------------------------------------------------------------


class SpatialTransformer(nn.Module):
    def __init__(self, side):
        super().__init__()
        rest = ((side - 6) // 2 - 4) // 2
        self.localization = nn.Sequential(
            nn.Conv2d(3, 8, 7), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(8, 10, 5), nn.MaxPool2d(2), nn.ReLU()
        )
        self.fc_loc = nn.Sequential(nn.Linear(10 * rest * rest, 32), nn.ReLU(), nn.Linear(32, 6))

    def theta(self, x):
        return self.fc_loc(self.localization(x).flatten(1)).view(-1, 2, 3)

    def forward(self, x):
        grid = F.affine_grid(self.theta(x), x.shape, align_corners=True)
        return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=True)


def stn():
    torch.manual_seed(0)
    model = SpatialTransformer(96)
    g = generator(6)
    with torch.no_grad():
        # Not the identity it starts from: turned, stretched, moved, and partly outside.
        model.fc_loc[2].weight.copy_(torch.randn(6, 32, generator=g) * 0.05)
        model.fc_loc[2].bias.copy_(torch.tensor([1.12, 0.17, 0.06, -0.21, 0.93, -0.11]))
    x = images(96)
    cotangent = torch.randn(2, 3, 96, 96, generator=g)
    output, _, grads = gradients(model, x, lambda y: (y * cotangent).sum())
    with torch.no_grad():
        theta = model.theta(x)
        grid = F.affine_grid(theta, x.shape, align_corners=True)
    save("stn", model.state_dict())
    io = {"input": x, "grad_output": cotangent, "theta": theta, "grid": grid, "output": output}
    save("stn.io", io | {f"grad.{n}": v for n, v in grads.items()})


# The losses -----------------------------------------------------------------------------------------------------------------------


def smoothed(logits, labels, prior, alpha, gamma):
    """Mean of -(onehot alpha + prior[label] (1 - alpha)) . log p (1 - p)^gamma; gamma 0 is PDLS. Gradients flow through p."""
    log_p = F.log_softmax(logits, dim=1)
    target = F.one_hot(labels, logits.shape[1]) * alpha + prior[labels] * (1 - alpha)
    return (-target * log_p * (1 - log_p.exp()) ** gamma).sum(1).mean()


def losses():
    g = generator(9)
    logits = torch.randn(16, 8, generator=g) * 3
    labels = (torch.arange(16) % 8)[torch.randperm(16, generator=g)]
    prior = torch.rand(8, 8, generator=generator(7))
    prior = prior / prior.sum(1, keepdim=True)
    kinds = {
        "ce": lambda l: F.cross_entropy(l, labels),
        "pdls": lambda l: smoothed(l, labels, prior, 0.8, 0.0),
        "fpdls": lambda l: smoothed(l, labels, prior, 0.8, 2.0),
        "fpdls_g0": lambda l: smoothed(l, labels, prior, 0.8, 0.0),
        "fpdls_g1_a5": lambda l: smoothed(l, labels, prior, 0.5, 1.0),
    }
    io = {"logits": logits, "labels": labels, "dist": prior, "big.logits": logits * 15}
    for prefix in ["", "big."]:
        for name, loss in kinds.items():
            x = io[f"{prefix}logits"].clone().requires_grad_(True)
            value = loss(x)
            value.backward()
            io |= {f"{prefix}{name}.loss": value.reshape(1), f"{prefix}{name}.grad": x.grad}
    save("losses.io", io)


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    small_swin()
    ltr()
    stn()
    losses()

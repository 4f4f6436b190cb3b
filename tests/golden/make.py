"""Makes tests/golden/data: what PyTorch and timm compute, for the program's own numbers to be held against.

    python3 -m venv venv && . venv/bin/activate
    pip install torch==2.13.0 torchvision timm==1.0.31 numpy safetensors
    python tests/golden/make.py [folder]

Every `<name>.safetensors` holds weights under PyTorch's names, every `<name>.io.safetensors` inputs, results and gradients. All
randomness is seeded: the same versions give the same tensors, bit for bit on the same kind of machine.
"""

import torch
import torch.nn.functional as F
from torch import nn

import backbones
from common import FOLDER, generator, gradients, images, perturb, save

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
    backbones.make()
    ltr()
    stn()
    losses()

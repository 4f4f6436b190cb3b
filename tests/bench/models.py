"""The experiment in PyTorch: what tests/bench/pytorch.py measures beside `fer-host`, and tests/bench/curve.py trains beside it.

The definitions are those that tests/golden holds the program's numbers to, written here for speed: in place where PyTorch can.
"""

import timm
import torch
import torch.nn.functional as F
from torch import nn

CLASSES = 8


def backbone(name, classes, drop_path):
    """timm's model from random weights; `drop_path` None leaves timm's own default."""
    settings = {} if drop_path is None else {"drop_path_rate": drop_path}
    return timm.create_model(name, pretrained=False, num_classes=classes, **settings)


class SpatialTransformer(nn.Module):
    """Learned affine alignment (Jaderberg et al. 2015); it starts as the identity."""

    def __init__(self, side):
        super().__init__()
        rest = ((side - 6) // 2 - 4) // 2
        self.localization = nn.Sequential(
            nn.Conv2d(3, 8, 7),
            nn.MaxPool2d(2),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 10, 5),
            nn.MaxPool2d(2),
            nn.ReLU(inplace=True),
        )
        self.fc_loc = nn.Sequential(nn.Linear(10 * rest * rest, 32), nn.ReLU(inplace=True), nn.Linear(32, 6))
        nn.init.zeros_(self.fc_loc[2].weight)
        with torch.no_grad():
            self.fc_loc[2].bias.copy_(torch.eye(2, 3).flatten())

    def forward(self, images):
        theta = self.fc_loc(self.localization(images).flatten(1)).view(-1, 2, 3)
        grid = F.affine_grid(theta, images.shape, align_corners=True)
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=True)


class ResidualBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x):
        return x + self.body(x)


class LearnedResizer(nn.Module):
    """Talebi & Milanfar 2021, with one residual block (r) and 16 channels (n)."""

    def __init__(self, scale, channels=16, blocks=1):
        super().__init__()
        self.scale = scale
        self.features = nn.Sequential(
            nn.Conv2d(3, channels, 7, padding=3),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(channels, channels, 1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.BatchNorm2d(channels),
        )
        self.refinement = nn.Sequential(
            *(ResidualBlock(channels) for _ in range(blocks)),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
        )
        self.result = nn.Conv2d(channels, 3, 7, padding=3)

    def resize(self, x):
        return F.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=False)

    def forward(self, images):
        features = self.resize(self.features(images))
        return self.result(self.refinement(features) + features) + self.resize(images)


class Vanilla(nn.Module):
    """The baseline: 48 -> bilinear 224 -> backbone -> linear head, cross entropy."""

    side = 48

    def __init__(self, name, drop_path=None):
        super().__init__()
        self.backbone = backbone(name, CLASSES, drop_path)

    def forward(self, images):
        return self.backbone(F.interpolate(images, size=(224, 224), mode="bilinear", align_corners=False))

    def loss(self, logits, labels):
        return F.cross_entropy(logits, labels)


class Full(nn.Module):
    """The method: 384 -> STN -> learned resizer -> 224 -> backbone -> MLP head, F-PDLS.

    384 is where super-resolution of 48 x 48 pixels by 8 leads.
    """

    side = 384

    def __init__(self, name, drop_path=None, dropout=0.5):
        super().__init__()
        self.resizers = nn.Sequential(SpatialTransformer(self.side), LearnedResizer(scale=0.584))
        self.backbone = backbone(name, 0, drop_path)
        self.head = nn.Sequential(
            nn.Linear(self.backbone.num_features, 512),
            nn.BatchNorm1d(512),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(512, CLASSES),
        )
        # The speed does not depend on the values of the prior.
        self.register_buffer("prior", torch.full((CLASSES, CLASSES), 1 / CLASSES))

    def forward(self, images):
        return self.head(self.backbone(self.resizers(images)))

    def loss(self, logits, labels, alpha=0.8, gamma=2.0):
        """F-PDLS (Hwang et al. 2022): -sum_c target_c (1 - p_c)^gamma log p_c, the targets smoothed by the label's prior."""
        log_p = F.log_softmax(logits, dim=1)
        targets = alpha * F.one_hot(labels, CLASSES) + (1 - alpha) * self.prior[labels]
        return -(targets * (1 - log_p.exp()) ** gamma * log_p).sum(1).mean()


PIPELINES = {"vanilla": Vanilla, "full": Full}

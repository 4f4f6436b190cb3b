"""The backbones: timm's own classes, reduced; and how timm resizes, counts and groups."""

import csv
import json

import timm
import torch
import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed
from timm.layers.pos_embed_rel import resize_rel_pos_bias_table
from timm.models.convit import ConVit
from timm.models.deit import VisionTransformerDistilled
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from timm.models.xcit import Xcit
from timm.optim import param_groups_layer_decay

from common import FOLDER, generator, gradients, images, perturb, save

LABELS = torch.tensor([1, 5])


def objective(logits):
    return F.cross_entropy(logits, LABELS)


def tokens(**settings):
    return dict(img_size=64, patch_size=16, **settings)


def xcit(tokens_norm):
    return lambda: Xcit(num_classes=8, **tokens(embed_dim=32, depth=2, num_heads=4, eta=1.0, tokens_norm=tokens_norm))


# Name: side, model, and the parameters whose whole gradient is kept; of all others a norm and a signed sum.
SMALL = {
    "small_swin": (
        112,
        lambda: SwinTransformer(
            num_classes=8, img_size=112, patch_size=4, window_size=7, embed_dim=16, depths=(2, 2, 2), num_heads=(1, 2, 4)
        ),
        [
            "patch_embed.proj.weight",
            "layers.0.blocks.0.attn.qkv.weight",
            "layers.0.blocks.0.attn.relative_position_bias_table",
            "layers.2.blocks.1.attn.relative_position_bias_table",
            "layers.1.downsample.reduction.weight",
            "layers.0.blocks.0.norm1.weight",
            "layers.0.blocks.0.mlp.fc1.weight",
            "norm.weight",
            "head.fc.weight",
        ],
    ),
    "small_vit": (
        64,
        lambda: VisionTransformer(num_classes=8, **tokens(embed_dim=32, depth=2, num_heads=2)),
        ["patch_embed.proj.weight", "cls_token", "pos_embed", "blocks.0.attn.qkv.weight", "norm.weight", "head.weight"],
    ),
    "small_vit_avg": (
        64,
        lambda: VisionTransformer(num_classes=8, global_pool="avg", **tokens(embed_dim=16, depth=1, num_heads=2)),
        ["pos_embed", "blocks.0.mlp.fc2.weight", "fc_norm.weight", "head.weight"],
    ),
    "small_deit_distilled": (
        64,
        lambda: VisionTransformerDistilled(num_classes=8, **tokens(embed_dim=32, depth=2, num_heads=2)),
        ["cls_token", "dist_token", "pos_embed", "blocks.1.attn.proj.weight", "head.weight", "head_dist.weight"],
    ),
    "small_convit": (
        64,
        lambda: ConVit(
            num_classes=8,
            **tokens(embed_dim=8, depth=3, num_heads=4, local_up_to_layer=2, locality_strength=1.0, use_pos_embed=True),
        ),
        [
            "patch_embed.proj.weight",
            "cls_token",
            "pos_embed",
            "blocks.0.attn.qk.weight",
            "blocks.0.attn.v.weight",
            "blocks.0.attn.pos_proj.weight",
            "blocks.1.attn.gating_param",
            "blocks.2.attn.qkv.weight",
        ],
    ),
    "small_xcit": (
        64,
        xcit(False),
        [
            "patch_embed.proj.0.0.weight",
            "pos_embed.token_projection.weight",
            "cls_token",
            "blocks.0.gamma1",
            "blocks.0.attn.temperature",
            "blocks.1.local_mp.conv1.weight",
            "cls_attn_blocks.0.attn.q.weight",
        ],
    ),
    "small_xcit_tokens_norm": (64, xcit(True), ["cls_attn_blocks.1.norm2.weight", "blocks.0.attn.qkv.weight"]),
    "small_resnet": (
        48,
        lambda: ResNet(BasicBlock, (1, 2, 1, 1), channels=(4, 8, 8, 16), num_classes=8),
        ["conv1.weight", "layer2.0.downsample.0.weight", "layer2.1.bn2.weight", "fc.weight"],
    ),
    "small_resnet_bottleneck": (
        48,
        lambda: ResNet(Bottleneck, (1, 1, 1, 1), channels=(2, 4, 4, 8), num_classes=8),
        ["layer1.0.conv2.weight", "layer2.0.downsample.1.weight", "fc.weight"],
    ),
}


def small(name, side, make, kept):
    torch.manual_seed(0)
    model = make()
    perturb(model)
    model.eval()
    x = images(side)
    logits, loss, grads = gradients(model, x, objective)
    io = {"input": x, "labels": LABELS, "logits": logits, "loss": loss.reshape(1)}
    io |= {f"grad.{n}": grads[n] for n in ["input", *kept]}

    # The same weights in float64: the truth, up to 1e-15.
    torch.set_default_dtype(torch.float64)
    double = make().double()
    torch.set_default_dtype(torch.float32)
    double.load_state_dict({k: v.double() if v.is_floating_point() else v for k, v in model.state_dict().items()})
    double.eval()
    logits, loss, grads = gradients(double, x.double(), objective)
    io |= {"f64.logits": logits, "f64.loss": loss.reshape(1)}
    for key, g in grads.items():
        if key != "input":
            signs = torch.cos(torch.arange(g.numel(), dtype=torch.float64))
            io[f"gradstat.{key}"] = torch.stack([g.norm(), (g.reshape(-1) * signs).sum()])
    if hasattr(model, "set_distilled_training"):
        model.set_distilled_training(True)
        model.train()
        with torch.no_grad():
            io["logits_cls"], io["logits_dist"] = model(x)
    save(name, model.state_dict())
    save(f"{name}.io", io)
    return groups(model)


def groups(model):
    """`{parameter: [learning rate's factor, weight decay]}`, as timm fine-tunes with layer decay 0.75."""
    exempt = model.no_weight_decay() if hasattr(model, "no_weight_decay") else ()
    found = param_groups_layer_decay(model, weight_decay=0.05, no_weight_decay_list=exempt, layer_decay=0.75)
    names = {id(p): n for n, p in model.named_parameters()}
    return {names[id(p)]: [g["lr_scale"], g["weight_decay"]] for g in found for p in g["params"]}


def resampling():
    """Tables over positions at another size, as timm loads them."""
    g = generator(3)
    rounded = lambda *shape: (torch.randn(*shape, generator=g) * 1e6).round() / 1e6
    flat = lambda t: [float(v) for v in t.flatten()]
    cases = []
    for prefix, side, to, width in [(1, 3, (5, 5), 2), (2, 4, (2, 3), 1), (0, 5, (7, 4), 1), (1, 7, (3, 3), 1)]:
        table = rounded(1, prefix + side * side, width)
        expected = resample_abs_pos_embed(table, list(to), num_prefix_tokens=prefix)
        case = dict(kind="tokens", prefix=prefix, to=to, width=width, table=flat(table), expected=flat(expected))
        cases.append(case)
    for window, to, heads in [(2, (3, 3), 2), (4, (2, 3), 1), (3, (6, 6), 1)]:
        table = rounded((2 * window - 1) ** 2, heads)
        shape = ((2 * to[0] - 1) * (2 * to[1] - 1), heads)
        expected = resize_rel_pos_bias_table(table, to, shape)
        case = dict(kind="distances", prefix=0, to=to, width=heads, table=flat(table), expected=flat(expected))
        cases.append(case)
    (FOLDER / "resample.json").write_text(json.dumps(cases))


PUBLISHED = [
    *[f"vit_{size}_patch16_{side}" for side in (224, 384) for size in ("tiny", "small", "base", "large")],
    *["vit_small_patch32_224", "vit_base_patch32_224"],
    *[f"deit_{size}{kind}_patch16_224" for kind in ("", "_distilled") for size in ("tiny", "small", "base")],
    *["deit_base_patch16_384", "deit_base_distilled_patch16_384"],
    *[f"convit_{size}" for size in ("tiny", "small", "base")],
    *[
        f"xcit_{size}_p{patch}_224"
        for patch in (16, 8)
        for size in ("nano_12", "tiny_12", "tiny_24", "small_12", "small_24", "medium_24", "large_24")
    ],
    *[f"swin_{size}_patch4_window7_224" for size in ("tiny", "small", "base", "large")],
    *[f"swin_{size}_patch4_window12_384" for size in ("base", "large")],
    *["resnet18", "resnet34", "resnet50", "vgg16_bn"],
]


def published():
    """Numbers of parameters of the published models, and the weights that timm takes for each."""
    with open(FOLDER / "published.csv", "w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["name", "parameters_1000", "parameters_8", "weights", "mean", "std"])
        for name in PUBLISHED:
            with torch.device("meta"):
                counts = [sum(p.numel() for p in timm.create_model(name, num_classes=k).parameters()) for k in (1000, 8)]
            card = timm.models.get_pretrained_cfg(name)
            out.writerow([name, *counts, card.hf_hub_id, *(" ".join(map(str, v)) for v in (card.mean, card.std))])


def make():
    table = {name: small(name, *model) for name, model in SMALL.items()}
    (FOLDER / "groups.json").write_text(json.dumps(table, indent=1))
    resampling()
    published()

"""The experiments that are measured: models, pipelines, rows, and their configs for `fer-host`."""

import dataclasses
import fnmatch
import itertools
import sys


@dataclasses.dataclass(frozen=True)
class Model:
    timm: str
    plugin: str
    # Of the last block, as timm has it by default; given to both sides.
    drop_path: float = 0.0


MODELS = {
    "swin_t": Model("swin_tiny_patch4_window7_224", 'plugin: "swin", variant: "tiny"', drop_path=0.1),
    "swin_s": Model("swin_small_patch4_window7_224", 'plugin: "swin", variant: "small"', drop_path=0.1),
    "swin_b": Model("swin_base_patch4_window7_224", 'plugin: "swin", variant: "base"', drop_path=0.1),
    "vit_s": Model("vit_small_patch16_224", 'plugin: "vit", variant: "small", patch_size: 16'),
    "vit_b": Model("vit_base_patch16_224", 'plugin: "vit", variant: "base", patch_size: 16'),
    "convit_s": Model("convit_small", 'plugin: "convit", variant: "small"'),
    "xcit_s": Model("xcit_small_12_p16_224", 'plugin: "xcit", variant: "small-12", patch_size: 16'),
}

PIPELINES = {
    "vanilla": {
        "side": 48,
        "resizers": '[(plugin: "bilinear", size: 224)]',
        "head": "Linear",
        "loss": '"cross-entropy"',
    },
    "full": {
        "side": 384,
        "resizers": '[(plugin: "stn"), (plugin: "ltr", scale: 0.584)]',
        "head": "Mlp(hidden: 512, dropout: 0.5)",
        "loss": '(plugin: "f-pdls", alpha: 0.8, gamma: 2.0)',
    },
}

CONFIG = """\
Experiment(
    name: "{name}",
    data: Builtin(train: 8, validation: 8, test: 8, size: 48),
    images: (size: {side}, channels: 3),
    model: (
        resizers: {resizers},
        backbone: ({plugin}, drop_path_rate: {drop_path}),
        head: {head},
    ),
    loss: {loss},
    optimiser: Adam(learning_rate: 1e-4),
    epochs: 1, batch: 8, seed: 1111,
)
"""

DEFAULT_ROWS = [
    "{swin_t,swin_s,vit_s,convit_s,xcit_s}/{vanilla,full}/train/f32",
    "{swin_t,vit_s}/{vanilla,full}/train/bf16",
    "{swin_t,swin_s,vit_s}/{vanilla,full}/infer/{f32,bf16}",
]

# On a card, what matters most first: time there may be short.
CARD_ROWS = [
    "{swin_t,vit_s}/{full,vanilla}/train/bf16/64",
    "{swin_t,vit_s}/{full,vanilla}/train/bf16/256",
    "{swin_t,vit_s}/{full,vanilla}/train/tf32/64",
    "{swin_t,vit_s}/{full,vanilla}/infer/bf16/{64,256}",
    "{swin_s,swin_b,vit_b}/{full,vanilla}/train/bf16/64",
    "{swin_t,vit_s}/{full,vanilla}/train/f32/64",
    "{swin_s,swin_b,vit_b}/{full,vanilla}/train/bf16/256",
    "{swin_s,swin_b,vit_b}/{full,vanilla}/infer/bf16/{64,256}",
    "{swin_t,vit_s}/{full,vanilla}/train/{tf32,f32}/256",
]

# What both sides compute in on the processor, and on a card.
PRECISIONS = ["f32", "bf16"]
CARD_PRECISIONS = ["f32", "tf32", "bf16"]


@dataclasses.dataclass(frozen=True)
class Row:
    model: str
    pipeline: str
    phase: str
    precision: str
    batch: int

    @property
    def name(self):
        return f"{self.model}/{self.pipeline}/{self.phase}/{self.precision}"

    @property
    def file(self):
        """The row's name as a part of paths."""
        return f"{self.name}/{self.batch}".replace("/", "-")

    def config(self):
        """The row's experiment as RON."""
        model, settings = MODELS[self.model], PIPELINES[self.pipeline]
        name = f"{self.model}_{self.pipeline}"
        return CONFIG.format(name=name, plugin=model.plugin, drop_path=model.drop_path, **settings)


def braces(pattern):
    """`a/{b,c}` as `a/b` and `a/c`."""
    alternatives = [part.strip("{}").split(",") for part in pattern.split("/")]
    return ["/".join(parts) for parts in itertools.product(*alternatives)]


def rows(patterns, batch, precisions=PRECISIONS):
    """The rows that are meant, in the order given; a pattern may have wildcards and its own batch."""
    known = ["/".join(parts) for parts in itertools.product(MODELS, PIPELINES, ["train", "infer"], precisions)]
    found = {}
    for pattern in patterns:
        parts = pattern.strip().split("/")
        own = int(parts.pop()) if len(parts) == 5 and parts[4].isdigit() else batch
        names = fnmatch.filter(known, "/".join(parts))
        if not names:
            sys.exit(f"no row is called {pattern}; there are\n  " + "\n  ".join(known))
        found |= {Row(*name.split("/"), own): None for name in names}
    return list(found)

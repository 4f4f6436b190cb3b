//! Experiments that train in a fraction of a second.

/// The smallest: a bilinear resizer, a Swin of two blocks, 64 drawn faces.
pub const MICRO: &str = r#"Experiment(
    name: "micro",
    data: Builtin(train: 64, validation: 16, test: 24, size: 24),
    model: (
        resizers: [(plugin: "bilinear", size: 16)],
        backbone: (plugin: "swin", patch_size: 4, window_size: 2, embed_dim: 8, depths: [1, 1], num_heads: [1, 2]),
    ),
    loss: (plugin: "f-pdls", alpha: 0.8, gamma: 2.0),
    optimiser: AdamW(learning_rate: 1e-3),
    epochs: 2, batch: 16, seed: 1,
)
"#;

/// Everything that has a state or draws numbers, so that a resumed run has all of it to get right. 104 images are 13 batches of 8,
/// so that the last update of an epoch accumulates one batch alone, and checkpoints do not fall on the epoch's end.
pub const EVERYTHING: &str = r#"Experiment(
    name: "everything",
    data: Builtin(train: 104, validation: 24, test: 24, size: 24, imbalance: true),
    augment: [
        RandomHorizontalFlip(p: 0.5),
        RandomAffine(degrees: 10.0, translate: (0.1, 0.1), scale: (0.9, 1.1)),
        ColorJitter(brightness: 0.2, contrast: 0.2),
        RandomErasing(p: 0.3),
    ],
    sampling: Balanced,
    model: (
        resizers: [(plugin: "stn", hidden: 4), (plugin: "ltr", size: 16, channels: 4)],
        backbone: (
            plugin: "swin", patch_size: 4, window_size: 2, embed_dim: 8, depths: [1, 1], num_heads: [1, 2],
            drop_path_rate: 0.2, proj_drop_rate: 0.1,
        ),
        head: Mlp(hidden: 16, dropout: 0.3),
    ),
    loss: (plugin: "f-pdls", alpha: 0.8, gamma: 2.0),
    class_weights: Balanced,
    optimiser: AdamW(learning_rate: 2e-3, weight_decay: 0.05),
    schedule: Cosine(),
    warm_up: (epochs: 0.5),
    epochs: 3, batch: 8, accumulate: 2, clip: 1.0, ema: 0.9, seed: 7, workers: 2, checkpoint_every: 2,
)
"#;

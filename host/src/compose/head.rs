//! Heads: features `[n, d]` to logits `[n, classes]`.

use fer_config::Head;
use fer_graph::{Graph, Init};
use fer_sdk::{GraphBuilder, Result, nn};

/// The head as a fragment with input `features` and output `logits`.
///
/// `Linear` is `weight`, `bias`, started as timm starts classifiers. `Mlp` is the paper's: linear, batch norm, relu, dropout, linear,
/// with the names of a PyTorch `Sequential` (`0`, `1`, `4`).
pub fn head(head: &Head, features: [usize; 2], classes: usize, training: bool) -> Result<Graph> {
    let g = GraphBuilder::new("head", training);
    let x = g.input("features", fer_graph::TensorType::float(features))?;
    let logits = match *head {
        Head::Linear => nn::linear_with(&g, "", x, classes, Some(Init::Zeros), Init::trunc_normal(0.02))?,
        Head::Mlp { hidden, dropout } => {
            let x = nn::linear(&g, "0", x, hidden)?;
            let x = nn::batch_norm(&g, "1", x, nn::BatchNorm::default())?;
            let x = g.dropout(g.relu(x)?, dropout)?;
            nn::linear(&g, "4", x, classes)?
        }
    };
    g.output("logits", logits);
    Ok(g.finish())
}

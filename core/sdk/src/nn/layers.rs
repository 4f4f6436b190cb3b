//! linear, conv2d, layer_norm, batch_norm.

use fer_graph::{Init, Value, ops::Window};

use crate::{GraphBuilder, Result};

/// `torch.nn.Linear` with PyTorch's default initialisation.
pub fn linear(g: &GraphBuilder, name: &str, x: Value, out: usize) -> Result<Value> {
    let fan_in = last(g, x);
    linear_with(g, name, x, out, Some(Init::torch_default(fan_in)), Init::torch_default(fan_in))
}

/// A linear layer over the last axis: `name.weight` `[out, in]`, and `name.bias` `[out]` unless `bias` is `None`.
pub fn linear_with(
    g: &GraphBuilder,
    name: &str,
    x: Value,
    out: usize,
    bias: Option<Init>,
    weight: Init,
) -> Result<Value> {
    let fan_in = last(g, x);
    let _scope = g.scope(name);
    let weight = g.parameter("weight", &[out, fan_in], weight)?;
    let bias = bias.map(|init| g.parameter("bias", &[out], init)).transpose()?;
    Ok(g.linear(x, weight, bias)?)
}

fn last(g: &GraphBuilder, x: Value) -> usize {
    g.shape(x).last().copied().unwrap_or(1)
}

/// The settings of [`conv2d`]; `..Default::default()` gives PyTorch's.
#[derive(Clone, Debug)]
pub struct Conv2d {
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
    pub groups: usize,
    pub bias: bool,
    /// How the weight starts; `None`: PyTorch's default.
    pub init: Option<Init>,
    /// How the bias starts; `None`: PyTorch's default.
    pub bias_init: Option<Init>,
}

impl Default for Conv2d {
    fn default() -> Self {
        Conv2d { kernel: 1, stride: 1, padding: 0, groups: 1, bias: true, init: None, bias_init: None }
    }
}

/// `torch.nn.Conv2d` of `[n, c, h, w]`: `name.weight` `[out, c / groups, k, k]`, `name.bias` `[out]`.
pub fn conv2d(g: &GraphBuilder, name: &str, x: Value, out: usize, conv: &Conv2d) -> Result<Value> {
    let [_, channels, ..] = g.dims::<4>(x)?;
    let Conv2d { kernel, stride, padding, groups, bias, .. } = *conv;
    let fan_in = channels / groups.max(1) * kernel * kernel;
    let init = conv.init.clone().unwrap_or_else(|| Init::torch_default(fan_in));
    let _scope = g.scope(name);
    let weight = g.parameter("weight", &[out, channels / groups.max(1), kernel, kernel], init)?;
    let window = Window { stride: [stride; 2], padding: [padding; 2], dilation: [1; 2], groups };
    let y = g.convolution(x, weight, window)?;
    if !bias {
        return Ok(y);
    }
    let init = conv.bias_init.clone().unwrap_or_else(|| Init::torch_default(fan_in));
    let bias = g.parameter("bias", &[out], init)?;
    Ok(g.add(y, g.reshape(bias, &[1, out, 1, 1])?)?)
}

/// `torch.nn.LayerNorm` over the last axis: `name.weight`, `name.bias`.
pub fn layer_norm(g: &GraphBuilder, name: &str, x: Value, epsilon: f64) -> Result<Value> {
    let width = last(g, x);
    let _scope = g.scope(name);
    let weight = g.parameter("weight", &[width], Init::Ones)?;
    let bias = g.parameter("bias", &[width], Init::Zeros)?;
    Ok(g.layer_norm(x, weight, bias, epsilon)?)
}

/// The settings of [`batch_norm`]; the defaults are PyTorch's.
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm {
    pub epsilon: f64,
    /// Weight of the batch in the running statistics.
    pub momentum: f64,
}

impl Default for BatchNorm {
    fn default() -> Self {
        BatchNorm { epsilon: 1e-5, momentum: 0.1 }
    }
}

/// `torch.nn.BatchNorm1d` / `BatchNorm2d`, channels on axis 1: `name.weight`, `name.bias`, and the states `name.running_mean`,
/// `name.running_var`. Training uses the batch's statistics and updates the running ones; evaluation uses those.
pub fn batch_norm(g: &GraphBuilder, name: &str, x: Value, norm: BatchNorm) -> Result<Value> {
    let channels = g.shape(x).get(1).copied().unwrap_or(1);
    let _scope = g.scope(name);
    let weight = g.parameter("weight", &[channels], Init::Ones)?;
    let bias = g.parameter("bias", &[channels], Init::Zeros)?;
    let mean = g.state("running_mean", &[channels], Init::Zeros)?;
    let variance = g.state("running_var", &[channels], Init::Ones)?;
    let operands = [x, weight, bias, mean, variance];
    if !g.training() {
        return Ok(g.batch_norm_inference(operands, norm.epsilon)?);
    }
    let [y, new_mean, new_variance] = g.batch_norm_training(operands, norm.epsilon, norm.momentum)?;
    g.update(mean, new_mean)?;
    g.update(variance, new_variance)?;
    Ok(y)
}

//! The three kinds of component.

use fer_graph::Value;

use crate::{GraphBuilder, Law, Layout, Result, options::Options};

/// Images to features.
pub trait Backbone: Options {
    /// Lower case letters, digits and `-`.
    const ID: &'static str;
    /// One line for `plugin list`.
    const SUMMARY: &'static str;
    /// Markdown for `plugin show`: paper, shapes, notes.
    const DOC: &'static str = "";
    /// How other programs' checkpoints spell the parameters.
    const LAYOUTS: &'static [Layout] = &[];
    /// What it claims of itself.
    const LAWS: &'static [Law] = &[];

    /// `images` is float `[n, c, h, w]`; gives pooled features `[n, d]`, to which the host adds the head.
    ///
    /// Further features for heads of their own are outputs named `features_<name>` (a distillation token's: `features_dist`);
    /// the host adds `head_<name>` to each, and the logits are the mean of all heads'.
    fn build(&self, g: &GraphBuilder, images: Value) -> Result<Value>;
}

/// Images to images of another size.
pub trait Resizer: Options {
    /// Lower case letters, digits and `-`.
    const ID: &'static str;
    /// One line for `plugin list`.
    const SUMMARY: &'static str;
    /// Markdown for `plugin show`: paper, shapes, notes.
    const DOC: &'static str = "";
    /// What it claims of itself.
    const LAWS: &'static [Law] = &[];

    /// `images` is float `[n, c, h, w]`; gives float `[n, c', h', w']`.
    fn build(&self, g: &GraphBuilder, images: Value) -> Result<Value>;
}

/// What a loss is computed from.
#[derive(Clone, Copy, Debug)]
pub struct LossInputs {
    /// `[n, classes]`, before softmax.
    pub logits: Value,
    /// `[n, classes]`: the truth as a distribution; one-hot for hard labels.
    pub targets: Value,
    /// `[classes, classes]`: row k is the mean vote share over training images whose label is k.
    pub prior: Value,
    /// `[n]`: sample weight times class weight; mean 1 over the training set.
    pub weights: Value,
    pub classes: usize,
}

impl LossInputs {
    /// `targets . prior`, `[n, classes]`: the prior row of each sample's label; of soft labels their mixture.
    pub fn prior_of_target(&self, g: &GraphBuilder) -> Result<Value> {
        Ok(g.matmul(self.targets, self.prior)?)
    }
}

/// Logits and truth to one number.
pub trait Loss: Options {
    /// Lower case letters, digits and `-`.
    const ID: &'static str;
    /// One line for `plugin list`.
    const SUMMARY: &'static str;
    /// Markdown for `plugin show`: paper, equation, notes.
    const DOC: &'static str = "";
    /// What it claims of itself.
    const LAWS: &'static [Law] = &[];

    /// Gives a float scalar, usually [`GraphBuilder::weighted_mean`] of per-sample losses.
    fn build(&self, g: &GraphBuilder, batch: &LossInputs) -> Result<Value>;
}

//! batch_norm_training and its adjoint: statistics by parts of channels, joined, then applied.

use fer_graph::{Node, Value};

use crate::{
    Element,
    kernels::Family,
    lower::{Lowering, call::Kernel},
    plan::BufferId,
};

/// How channels are cut into parts, a block for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cut {
    channels: usize,
    parts: usize,
    /// Groups of `wide` neighbours: of a plane, of a part, of a channel.
    wide: usize,
    groups: usize,
    share: usize,
    total: usize,
}

impl Cut {
    /// Threads of a block.
    const BLOCK: usize = 256;

    fn new(shape: &[usize], rounds: usize, most: usize) -> Cut {
        let plane: usize = shape[2..].iter().product();
        let wide = if plane.is_multiple_of(4) { 4 } else { 1 };
        let (channels, groups) = (shape[1], plane / wide);
        let total = shape[0] * groups;
        let parts = total.div_ceil(Cut::BLOCK * ahead(wide) * rounds).min(most.div_ceil(channels));
        let share = total.div_ceil(parts).next_multiple_of(Cut::BLOCK);
        Cut { channels, parts: total.div_ceil(share), wide, groups, share, total }
    }

    /// Parts that are large enough to be worth a result, and enough of them to keep a card busy.
    fn to_sum(shape: &[usize]) -> Cut {
        Cut::new(shape, 1, 2048)
    }

    /// Parts that write what they read.
    fn to_apply(shape: &[usize]) -> Cut {
        Cut::new(shape, 2, usize::MAX)
    }

    fn all(self) -> usize {
        self.channels * self.parts
    }
}

/// Groups that a thread reads before it uses them: `AHEAD` in the kernels' source.
fn ahead(wide: usize) -> usize {
    if wide == 1 { 8 } else { 4 }
}

impl Kernel {
    /// `Channels`, as kernels take it.
    fn cut(self, cut: Cut) -> Kernel {
        self.int(cut.channels).int(cut.parts).int(cut.groups).int(cut.share).int(cut.total)
    }
}

impl Lowering<'_> {
    fn channel_kernel(&mut self, name: &str, buffers: &[BufferId], cut: Cut) -> Kernel {
        let wide = cut.wide.to_string();
        let mut arguments: Vec<&str> = buffers.iter().map(|&b| self.c(b)).collect();
        arguments.push(&wide);
        self.kernel(Family::Normalise, name, &arguments)
    }

    /// The mean and `1 / sqrt(variance + epsilon)` of each channel, side by side. With `running`, which are the old mean and variance and
    /// the new, and the momentum, those are moved.
    fn take_moments(&mut self, value: Value, epsilon: f64, running: Option<([BufferId; 4], f64)>) -> BufferId {
        let cut = Cut::to_sum(self.graph.shape(value));
        let x = self.dense(value);
        let parts = self.scratch(3 * cut.all(), Element::F32);
        let moments = self.scratch(2 * cut.channels, Element::F32);
        let kernel = self
            .channel_kernel("BATCH_NORM_MOMENTS", &[x], cut)
            .grid([cut.all(), 1, 1], Cut::BLOCK)
            .read(x)
            .write(parts)
            .cut(cut);
        self.launch(kernel);
        let [old_mean, old_variance, new_mean, new_variance] = match running {
            Some((buffers, _)) => buffers.map(Some),
            None => [None; 4],
        };
        let kernel = self
            .channel_kernel("BATCH_NORM_JOIN_MOMENTS", &[], cut)
            .grid([cut.channels, 1, 1], 32)
            .read(parts)
            .write(moments)
            .read_if(old_mean)
            .read_if(old_variance)
            .write_if(new_mean)
            .write_if(new_variance)
            .int(cut.parts)
            .int(cut.share)
            .int(cut.total)
            .float(epsilon as f32)
            .float(running.map_or(0.0, |(_, momentum)| momentum as f32));
        self.launch(kernel);
        self.moments.insert((value, epsilon.to_bits()), moments);
        moments
    }

    /// The result, and the running statistics moved towards the batch's.
    pub(in crate::lower) fn batch_norm(&mut self, node: &Node) {
        let shape = self.shape(node.operands[0]);
        let x = self.dense(node.operands[0]);
        let [weight, bias, old_mean, old_variance] = [1, 2, 3, 4].map(|i| self.parameter(node.operands[i]));
        let [new_mean, new_variance] = [1, 2].map(|i| self.output_as(node.results[i], Element::F32));
        let running = ([old_mean, old_variance, new_mean, new_variance], node.attributes.float("momentum"));
        let moments = self.take_moments(node.operands[0], node.attributes.float("epsilon"), Some(running));
        let mut y = self.output(node.results[0]);
        let rectified = self.only_rectified(node);
        if let Some((value, _)) = rectified {
            self.clusters.absorb(self.graph, value);
            y = self.output(value);
            // What is positive stays so, and nothing else becomes it: the adjoint may look at the result instead.
            self.set(node.results[0], y);
        }
        let cut = Cut::to_apply(&shape);
        let kernel = self
            .channel_kernel("BATCH_NORM_APPLY", &[x, y], cut)
            .grid([cut.all(), 1, 1], Cut::BLOCK)
            .read(x)
            .read(moments)
            .read(weight)
            .read(bias)
            .write(y)
            .cut(cut)
            .float(rectified.map_or(1.0, |(_, slope)| slope));
        let kernel = self.over(kernel, x, y);
        self.launch(kernel);
    }

    fn parameter(&mut self, value: Value) -> BufferId {
        self.dense_as(value, Element::F32)
    }

    /// With a cotangent of the first result alone, for the first three operands at most, which `supports` has seen to. A rectifier behind
    /// the norm, and one before it, are gone back through on the way.
    pub(in crate::lower) fn batch_norm_vjp(&mut self, node: &Node) {
        let shape = self.shape(node.operands[0]);
        let (cotangent, slope) = self.behind_rectifier(node.operands[5]);
        let [x, g] = [node.operands[0], cotangent].map(|v| self.dense(v));
        let [weight, bias] = [1, 2].map(|i| self.parameter(node.operands[i]));
        let epsilon = node.attributes.float("epsilon");
        let moments = match self.moments.get(&(node.operands[0], epsilon.to_bits())) {
            Some(&known) => known,
            None => self.take_moments(node.operands[0], epsilon, None),
        };
        let [mut dx, of_weight, of_bias] = self.wanted(node);
        let mut before = 1.0;
        if dx.is_some()
            && let Some(first) = node.attributes.sizes("wrt").iter().position(|&operand| operand == 0)
            && let Some((result, slope)) =
                self.absorbing().and_then(|a| a.only_rectified_back(node.operands[0], node.results[first]))
        {
            self.clusters.absorb(self.graph, result);
            dx = Some(self.output(result));
            before = slope as f32;
        }
        let cut = Cut::to_sum(&shape);
        let parts = self.scratch(2 * cut.all(), Element::F32);
        let losses = self.scratch(2 * cut.channels, Element::F32);
        let kernel = self
            .channel_kernel("BATCH_NORM_SUMS", &[x, g], cut)
            .grid([cut.all(), 1, 1], Cut::BLOCK)
            .read(x)
            .read(g)
            .read(moments)
            .read(weight)
            .read(bias)
            .write(parts)
            .cut(cut)
            .float(slope);
        self.launch(kernel);
        let kernel = self
            .channel_kernel("BATCH_NORM_JOIN_SUMS", &[], cut)
            .grid([cut.channels, 1, 1], 32)
            .read(parts)
            .read(moments)
            .write(losses)
            .write_if(of_weight)
            .write_if(of_bias)
            .int(cut.parts)
            .int(cut.total);
        self.launch(kernel);
        let Some(dx) = dx else { return };
        let cut = Cut::to_apply(&shape);
        let kernel = self
            .channel_kernel("BATCH_NORM_BACKWARD", &[x, g, dx], cut)
            .grid([cut.all(), 1, 1], Cut::BLOCK)
            .read(x)
            .read(g)
            .read(moments)
            .read(losses)
            .read(weight)
            .read(bias)
            .write(dx)
            .cut(cut)
            .float(slope)
            .float(before);
        let kernel = [x, g].into_iter().fold(kernel, |kernel, from| self.over(kernel, from, dx));
        self.launch(kernel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_a_channel() {
        let shapes: [&[usize]; 7] = [
            &[64, 16, 384, 384],
            &[32, 64, 112, 112],
            &[64, 2048, 7, 7],
            &[256, 512],
            &[2, 1, 1, 3],
            &[3, 70_000, 2],
            &[1, 3, 4, 4],
        ];
        for shape in shapes {
            for cut in [Cut::to_sum(shape), Cut::to_apply(shape)] {
                let numbers: usize = shape.iter().product();
                assert_eq!(cut.channels * cut.total * cut.wide, numbers, "{shape:?}");
                assert!((cut.parts - 1) * cut.share < cut.total && cut.total <= cut.parts * cut.share, "{shape:?}");
            }
        }
        // Few channels of large planes still occupy a card; many of small ones are a block each.
        assert_eq!(Cut::to_sum(&[64, 16, 384, 384]).all(), 2048);
        assert_eq!(Cut::to_sum(&[32, 2048, 7, 7]).parts, 1);
    }
}

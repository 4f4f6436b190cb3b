//! The kernels' sources, and which instances of them a plan needs.

use std::{collections::BTreeMap, fmt::Write, sync::Arc};

use crate::device::Unit;

/// A family of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    Attention,
    Convolution,
    Image,
    Index,
    Move,
    Normalise,
    Optimiser,
    Reduce,
    /// Written for the plan: elementwise programs.
    Elementwise,
}

impl Family {
    pub const ALL: [Family; 9] = [
        Family::Attention,
        Family::Convolution,
        Family::Image,
        Family::Index,
        Family::Move,
        Family::Normalise,
        Family::Optimiser,
        Family::Reduce,
        Family::Elementwise,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Family::Attention => "attention",
            Family::Convolution => "convolution",
            Family::Image => "image",
            Family::Index => "index",
            Family::Move => "move",
            Family::Normalise => "normalise",
            Family::Optimiser => "optimiser",
            Family::Reduce => "reduce",
            Family::Elementwise => "elementwise",
        }
    }

    fn source(self) -> &'static str {
        match self {
            Family::Attention => concat!(
                include_str!("../kernels/tensor.cuh"),
                include_str!("../kernels/attention.cuh"),
                include_str!("../kernels/attention_tiles.cuh"),
                include_str!("../kernels/attention_forward.cuh"),
                include_str!("../kernels/attention_backward.cuh"),
                include_str!("../kernels/attention_exact.cuh"),
                include_str!("../kernels/attention_sums.cuh"),
            ),
            Family::Convolution => concat!(
                include_str!("../kernels/tensor.cuh"),
                include_str!("../kernels/convolution.cuh"),
                include_str!("../kernels/convolution_exact.cuh"),
                include_str!("../kernels/convolution_tensor.cuh"),
                include_str!("../kernels/convolution_tensor_grad.cuh"),
                include_str!("../kernels/convolution_depthwise.cuh"),
                include_str!("../kernels/convolution_direct.cuh"),
            ),
            Family::Image => concat!(
                include_str!("../kernels/image.cuh"),
                include_str!("../kernels/image_pool.cuh"),
                include_str!("../kernels/image_sample.cuh"),
            ),
            Family::Index => include_str!("../kernels/index.cuh"),
            Family::Move => include_str!("../kernels/move.cuh"),
            Family::Normalise => concat!(
                include_str!("../kernels/groups.cuh"),
                include_str!("../kernels/normalise.cuh"),
                include_str!("../kernels/layer_norm.cuh"),
                include_str!("../kernels/softmax.cuh"),
                include_str!("../kernels/l2_normalize.cuh"),
                include_str!("../kernels/batch_norm.cuh"),
            ),
            Family::Optimiser => include_str!("../kernels/optimiser.cuh"),
            Family::Reduce => concat!(include_str!("../kernels/groups.cuh"), include_str!("../kernels/reduce.cuh")),
            Family::Elementwise => include_str!("../kernels/elementwise.cuh"),
        }
    }

    /// The most kernels in a unit. Units are compiled side by side, so the longest decides how long a first start takes; each begins with
    /// the family's source, which takes NVRTC some hundredths of a second.
    fn most(self) -> usize {
        match self {
            Family::Convolution => 3,
            Family::Normalise => 8,
            _ => 32,
        }
    }
}

/// What every unit begins with.
const COMMON: &str = include_str!("../kernels/common.cuh");

/// The kernels that a plan launches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Instances {
    /// By family and name, each with the text that makes it.
    ours: BTreeMap<(Family, Arc<str>), String>,
    /// By name: those of plugins, whose sources share nothing with others.
    alone: BTreeMap<Arc<str>, Unit>,
}

impl Instances {
    /// `MACRO(name, arguments)`, the name being made of both: the same kernel asked for twice is one.
    pub(crate) fn of(&mut self, family: Family, kernel: &str, arguments: &[&str]) -> Arc<str> {
        let mut name = kernel.to_lowercase();
        for argument in arguments {
            let plain: String = argument.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
            let _ = write!(name, "_{plain}");
        }
        let name: Arc<str> = name.into();
        let mut text = format!("{kernel}({name}");
        for argument in arguments {
            let _ = write!(text, ", {argument}");
        }
        text.push_str(")\n");
        self.ours.insert((family, name.clone()), text);
        name
    }

    /// A kernel that was written for the plan.
    pub(crate) fn written(&mut self, family: Family, name: Arc<str>, text: String) {
        self.ours.insert((family, name), text);
    }

    /// A kernel that is a unit of its own.
    pub(crate) fn alone(&mut self, name: Arc<str>, unit: Unit) {
        self.alone.insert(name, unit);
    }

    /// Everything to compile.
    pub(crate) fn units(&self) -> Vec<Unit> {
        let mut units = vec![];
        for family in Family::ALL {
            let all: Vec<&String> = self.ours.iter().filter(|((f, _), _)| *f == family).map(|(_, text)| text).collect();
            for (i, part) in all.chunks(family.most()).enumerate() {
                let mut source = format!("{COMMON}\n{}\n", family.source());
                part.iter().for_each(|text| source.push_str(text));
                let name = if i == 0 { family.name().to_owned() } else { format!("{}_{i}", family.name()) };
                units.push(Unit { name: name.into(), source: source.into() });
            }
        }
        units.extend(self.alone.values().cloned());
        units
    }
}

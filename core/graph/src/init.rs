//! How parameters and states start.

/// The distribution of a parameter's first values. Drawn by name from the run's seed, so that the order in which
/// components are built does not matter.
#[derive(Clone, Debug, PartialEq)]
pub enum Init {
    Zeros,
    Ones,
    Constant(f64),
    Normal {
        mean: f64,
        std: f64,
    },
    /// Normal, redrawn until within `low..=high`.
    TruncNormal {
        mean: f64,
        std: f64,
        low: f64,
        high: f64,
    },
    Uniform {
        low: f64,
        high: f64,
    },
    /// Ones where the last two indices are equal, zeros elsewhere (PyTorch's `eye_`); of at least two axes.
    Eye,
    /// Given values, row-major.
    Values(std::sync::Arc<[f64]>),
}

impl Init {
    /// timm's `trunc_normal_(std=...)`: mean 0, cut at +-2.
    pub fn trunc_normal(std: f64) -> Init {
        Init::TruncNormal { mean: 0.0, std, low: -2.0, high: 2.0 }
    }

    /// PyTorch's default for `Linear` and `Conv2d`, weight and bias alike: uniform in +-1/sqrt(fan_in)
    /// (`kaiming_uniform_` with a = sqrt 5).
    pub fn torch_default(fan_in: usize) -> Init {
        let bound = 1.0 / (fan_in.max(1) as f64).sqrt();
        Init::Uniform { low: -bound, high: bound }
    }

    /// Glorot & Bengio 2010: uniform in +-sqrt(6 / (fan_in + fan_out)).
    pub fn xavier_uniform(fan_in: usize, fan_out: usize) -> Init {
        let bound = (6.0 / (fan_in + fan_out).max(1) as f64).sqrt();
        Init::Uniform { low: -bound, high: bound }
    }

    /// He et al. 2015 for rectifiers of the given negative slope.
    pub fn kaiming_normal(fan: usize, negative_slope: f64) -> Init {
        Init::Normal { mean: 0.0, std: (2.0 / ((1.0 + negative_slope * negative_slope) * fan.max(1) as f64)).sqrt() }
    }

    /// The scheme's name across the plugin boundary and in graph text.
    pub fn name(&self) -> &'static str {
        match self {
            Init::Zeros => "zeros",
            Init::Ones => "ones",
            Init::Constant(_) => "constant",
            Init::Normal { .. } => "normal",
            Init::TruncNormal { .. } => "trunc_normal",
            Init::Uniform { .. } => "uniform",
            Init::Eye => "eye",
            Init::Values(_) => "values",
        }
    }

    /// The scheme's numbers, in order.
    pub fn numbers(&self) -> Vec<f64> {
        match self {
            Init::Zeros | Init::Ones | Init::Eye => vec![],
            Init::Constant(v) => vec![*v],
            Init::Normal { mean, std } => vec![*mean, *std],
            Init::TruncNormal { mean, std, low, high } => vec![*mean, *std, *low, *high],
            Init::Uniform { low, high } => vec![*low, *high],
            Init::Values(v) => v.to_vec(),
        }
    }

    /// The inverse of [`Init::name`] and [`Init::numbers`].
    ///
    /// # Errors
    /// A message naming the scheme when it is unknown, has the wrong count of numbers, or numbers that make no sense.
    pub fn from_parts(name: &str, numbers: &[f64]) -> Result<Init, String> {
        let init = match (name, numbers) {
            ("zeros", []) => Init::Zeros,
            ("ones", []) => Init::Ones,
            ("constant", &[v]) => Init::Constant(v),
            ("normal", &[mean, std]) => Init::Normal { mean, std },
            ("trunc_normal", &[mean, std, low, high]) => Init::TruncNormal { mean, std, low, high },
            ("uniform", &[low, high]) => Init::Uniform { low, high },
            ("eye", []) => Init::Eye,
            ("values", v) => Init::Values(v.into()),
            ("zeros" | "ones" | "eye" | "constant" | "normal" | "trunc_normal" | "uniform", n) => {
                return Err(format!("initialisation {name:?} does not take {} numbers", n.len()));
            }
            _ => {
                return Err(format!(
                    "no initialisation is called {name:?}; there are zeros, ones, constant, normal, trunc_normal, uniform, eye, values"
                ));
            }
        };
        let sane = match &init {
            Init::Normal { mean, std } => mean.is_finite() && *std >= 0.0 && std.is_finite(),
            // At least a tenth of the mass must be inside, or drawing takes for ever.
            Init::TruncNormal { mean, std, low, high } => {
                std.is_finite() && *std >= 0.0 && low < high && *low <= mean - std && *high >= mean + std
            }
            Init::Uniform { low, high } => low.is_finite() && high.is_finite() && low <= high,
            _ => init.numbers().iter().all(|v| v.is_finite()),
        };
        if sane { Ok(init) } else { Err(format!("initialisation {name:?} cannot use {numbers:?}")) }
    }
}

//! The claims that [`Descriptor::properties`](crate::Descriptor) may make of a component: what its contract and
//! `fer-host plugin check` then hold it to. A flag is `true`; the others are texts, and may be given several times.

/// Loss, flag: never below zero, for distributions as truth and weights above zero.
pub const NON_NEGATIVE: &str = "non_negative";

/// Loss, flag: sees logits through softmax alone; a number added to all logits of a sample changes nothing.
pub const SHIFT_INVARIANT: &str = "shift_invariant";

/// Loss, flag: no class is special; permuting them in logits, targets and prior together changes nothing.
pub const CLASS_SYMMETRIC: &str = "class_symmetric";

/// Loss, flag: with its default options least where softmax gives the targets, and their entropy there.
pub const LEAST_AT_TRUTH: &str = "least_at_truth";

/// Resizer, flag: an image that is one number everywhere stays so.
pub const KEEPS_CONSTANTS: &str = "keeps_constants";

/// Resizer, flag: before training, nothing happens to the images.
pub const STARTS_AS_IDENTITY: &str = "starts_as_identity";

/// Resizer, flag: before training, the images are resized bilinearly.
pub const STARTS_AS_BILINEAR: &str = "starts_as_bilinear";

/// Resizer, text: the size of what it gives. `same`; `square of OPTION`, a square of that side; `times OPTION`, the rounded-down
/// product. Of several, the first whose option is given holds. Channels stay.
pub const OUTPUT_SIZE: &str = "output_size";

/// Backbone and resizer, flag: every convolution starts as PyTorch's do, uniform within `1 / sqrt(fan in)`, or at zero.
pub const TORCH_CONVOLUTIONS: &str = "torch_convolutions";

/// Backbone and resizer, text: `PATTERN DEVIATION`. Parameters whose name matches (`*` stands for anything) start around zero with
/// that standard deviation.
pub const INITIAL_DEVIATION: &str = "initial_deviation";

/// Backbone and resizer, text: `NxCxHxW` or `NxCxHxW with NAME: VALUE, NAME: VALUE`. It takes images of that shape with those
/// options: a small problem, which checks build and run, and vary.
pub const TAKES: &str = "takes";

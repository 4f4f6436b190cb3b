//! Resizers: laws that a resizer's own tests may claim, and the size that its options promise.

use fer_engine::Tensor;
use fer_graph::{Builder, Init, Role, TensorType};

use crate::{Case, Model, Outcome, Property, Subject, Trouble, close, ensure};

/// Interpolation: every result is a mean of pixels.
pub const KEEPS_CONSTANTS: Property<'static> =
    Property { name: "a constant image stays constant", cases: 6, wide: false, check: &keeps_constants };

/// Before training, nothing happens to the images.
pub const STARTS_AS_IDENTITY: Property<'static> =
    Property { name: "starts as the identity", cases: 6, wide: false, check: &starts_as_identity };

/// Before training, the images are resized bilinearly.
pub const STARTS_AS_BILINEAR: Property<'static> =
    Property { name: "starts as bilinear interpolation", cases: 6, wide: false, check: &starts_as_bilinear };

/// Every convolution starts as PyTorch's do: uniform within 1 / sqrt(fan in), unless it starts at zero.
pub const CONVOLUTIONS_START_AS_TORCH_S: Property<'static> =
    Property { name: "convolutions start as PyTorch's", cases: 6, wide: false, check: &torch_start };

/// The numbers are the same but for the weights of interpolation, which a few operations round.
const TOLERANCE: f64 = 1e-12;

/// The side of the result that a case's options promise for sides of `[height, width]`; `None` where the promise is a refusal.
///
/// # Errors
/// When the result has another size.
pub fn size_is(subject: &Subject, case: &Case, promised: impl Fn(&Case, [usize; 2]) -> Option<[usize; 2]>) -> Outcome {
    let &[n, c, h, w] = case.shape("images") else {
        return Err(Trouble::Idle("there are no images [n, c, h, w]".into()));
    };
    let found = subject.graph(case);
    match (found, promised(case, [h, w])) {
        (Ok(graph), Some([height, width])) => {
            let shape = graph.output("images").map(|v| graph.shape(v).to_vec());
            let expected = vec![n, c, height, width];
            ensure(shape.as_ref() == Some(&expected), || format!("promised is {expected:?}, given is {shape:?}"))
        }
        (Ok(_), None) => Err(Trouble::Broken("a size was given where none is promised".into())),
        (Err(Trouble::Skipped(said)), Some(_)) => Err(Trouble::Broken(format!("refuses: {said}"))),
        (Err(Trouble::Skipped(_)), None) => Ok(()),
        (Err(broken), _) => Err(broken),
    }
}

fn keeps_constants(subject: &Subject, case: &Case) -> Outcome {
    let mut model = Model::initial(subject, case)?;
    let shape = case.shape("images").to_vec();
    let value = 0.1 + (case.seed % 97) as f64 / 10.0;
    let count = shape.iter().product();
    model.values.insert("images".into(), Tensor::f64(shape, vec![value; count]));
    let resized = model.run()?;
    close(&resized, &vec![value; resized.len()], TOLERANCE)
        .or_else(|d| ensure(false, || format!("an image of {value} everywhere: {d}")))
}

fn starts_as_identity(subject: &Subject, case: &Case) -> Outcome {
    let model = Model::initial(subject, case)?;
    let images = model.values["images"].to_f64();
    ensure(model.ty().shape == case.shape("images"), || format!("gives {} of {:?}", model.ty(), case.shape("images")))?;
    close(&model.run()?, &images, TOLERANCE).or_else(|d| ensure(false, || format!("untrained, it changes images: {d}")))
}

fn starts_as_bilinear(subject: &Subject, case: &Case) -> Outcome {
    let model = Model::initial(subject, case)?;
    let resized = model.run()?;
    let b = Builder::new("bilinear");
    let images = b.input("images", TensorType::float(case.shape("images")))?;
    let [_, _, h, w] = *model.ty().shape else { return ensure(false, || format!("gives {}", model.ty())) };
    b.output("images", b.resize(images, [h, w])?);
    let expected = Model { graph: b.finish(), ..model }.run()?;
    // Exactly: what is added to the interpolation is zero.
    ensure(resized == expected, || match close(&resized, &expected, 0.0) {
        Err(d) => format!("untrained, it is not bilinear: {d}"),
        Ok(()) => "untrained, it is not bilinear".into(),
    })
}

fn torch_start(subject: &Subject, case: &Case) -> Outcome {
    let model = Model::initial(subject, case)?;
    let mut convolutions = 0;
    for argument in model.graph.by_role(Role::Parameter).filter(|a| a.init != Some(Init::Zeros)) {
        let &[_, channels, height, width] = model.graph.shape(argument.value) else { continue };
        convolutions += 1;
        let bound = 1.0 / ((channels * height * width) as f64).sqrt();
        let values = model.values[&argument.name].to_f64();
        let name = &argument.name;
        // Drawn values are rounded to f32.
        let largest = values.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        ensure(largest <= bound * (1.0 + 1e-7), || format!("{name:?} starts at {largest}, beyond {bound}"))?;
        // A mean square of n uniform numbers is bound^2 / 3 with a relative deviation of sqrt(0.8 / n); five of them are allowed.
        let n = values.len() as f64;
        let square = values.iter().map(|v| v * v).sum::<f64>() / n;
        let off = square * 3.0 / (bound * bound) - 1.0;
        ensure(off.abs() <= 5.0 * (0.8 / n).sqrt(), || {
            format!("the squares of {name:?} are off by {off:+.3} of themselves")
        })?;
    }
    if convolutions == 0 { Err(Trouble::Idle("it has no convolution that starts at random".into())) } else { Ok(()) }
}

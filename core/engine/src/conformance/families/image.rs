//! resize and grid_sample.

use fer_graph::{Attributes, GraphError};
use proptest::prelude::*;

use super::{emit, seed};
use crate::conformance::{Draft, Draw, Family, Problem, Tolerance};

type Images = ([usize; 4], [usize; 2], u64);

fn images() -> impl Strategy<Value = Images> {
    let shape = (1usize..3, 1usize..3, 1usize..6, 1usize..6).prop_map(|(n, c, h, w)| [n, c, h, w]);
    (shape, (1usize..8, 1usize..8).prop_map(|(h, w)| [h, w]), seed())
}

pub fn families() -> Vec<Family> {
    vec![
        Family::new("resize", (images(), 0usize..3).prop_map(resize), vec![]),
        Family::new("grid_sample", (images(), any::<bool>()).prop_map(grid_sample), vec![outside()]),
    ]
}

fn resize(((shape, size, seed), mode): (Images, usize)) -> Result<Problem, GraphError> {
    let mut d = Draft::new(seed);
    let x = d.input("x", &shape, Draw::Any)?;
    let attributes = Attributes::new().with("size", size.as_slice());
    let attributes = match mode {
        0 => attributes.with("coordinate_mode", "half_pixel"),
        1 => attributes.with("coordinate_mode", "align_corners"),
        // A factor that does not quite give the size, as PyTorch's scale_factor.
        _ => {
            let scales = [0, 1].map(|a| (size[a] as f64 + 0.25) / shape[2 + a] as f64).to_vec();
            attributes.with("scales", scales).with("coordinate_mode", "half_pixel")
        }
    };
    let y = emit(&d.b, "resize", &[x], attributes)?;
    Ok(d.finish("resize", &[y], Tolerance::SUMMED))
}

/// Points stay a tenth of a pixel away from where the weights have a kink; some lie outside the image.
fn grid_sample(((shape, size, seed), align_corners): (Images, bool)) -> Result<Problem, GraphError> {
    let mut d = Draft::new(seed);
    let x = d.input("x", &shape, Draw::Any)?;
    let points = shape[0] * size[0] * size[1];
    let mut grid = Vec::with_capacity(points * 2);
    for _ in 0..points {
        for extent in [shape[3], shape[2]] {
            let pixel = d.random().below(extent + 3) as f64 - 2.0 + 0.2 + 0.6 * d.random().unit();
            grid.push(match (align_corners, extent) {
                (true, 1) => 2.0 * d.random().unit() - 1.0,
                (true, _) => 2.0 * pixel / (extent - 1) as f64 - 1.0,
                (false, _) => (2.0 * pixel + 1.0) / extent as f64 - 1.0,
            });
        }
    }
    // With corners aligned an axis of one pixel puts every point on that pixel, which is a kink.
    let kinked = align_corners && (shape[2] == 1 || shape[3] == 1);
    let shape = [shape[0], size[0], size[1], 2];
    let grid = if kinked { d.fixed("grid", &shape, grid)? } else { d.differentiated("grid", &shape, grid)? };
    let y = d.b.grid_sample(x, grid, align_corners)?;
    Ok(d.finish("grid_sample", &[y], Tolerance::SUMMED))
}

/// Far outside there is nothing, and a pixel's centre is the pixel.
fn outside() -> Result<Problem, GraphError> {
    let mut d = Draft::new(1);
    let x = d.input("x", &[1, 2, 3, 3], Draw::Any)?;
    let grid = d.fixed("grid", &[1, 1, 4, 2], vec![-1.0, -1.0, 1.0, 1.0, 5.0, 0.0, -1e6, 1e6])?;
    let y = d.b.grid_sample(x, grid, true)?;
    Ok(d.finish("grid_sample", &[y], Tolerance::SUMMED))
}

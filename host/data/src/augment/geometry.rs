//! Moving and covering pixels: one inverse affine map with bilinear sampling and zero fill, and erasing.

use crate::decode::Pixels;
use crate::rng::Draws;

/// A forward affine change about the image's centre.
pub struct Map {
    /// Degrees.
    pub angle: f32,
    /// Pixels to the right and down.
    pub shift: [f32; 2],
    pub scale: f32,
    /// Degrees along x.
    pub shear: f32,
}

impl Map {
    pub const IDENTITY: Self = Self { angle: 0.0, shift: [0.0; 2], scale: 1.0, shear: 0.0 };

    /// Rows of the inverse 2x3 map from an output to an input position, both relative to the centre: torchvision's
    /// `_get_inverse_affine_matrix` with shear along x only.
    fn inverse(&self) -> [[f32; 3]; 2] {
        let (sin, cos) = self.angle.to_radians().sin_cos();
        let tan = self.shear.to_radians().tan();
        let (a, b, c, d) = (cos, -cos * tan - sin, sin, -sin * tan + cos);
        let [[p, q], [r, s]] = [[d, -b], [-c, a]].map(|row| row.map(|v| v / self.scale));
        let [x, y] = self.shift;
        [[p, q, -p * x - q * y], [r, s, -r * x - s * y]]
    }
}

/// The changed image; outside of the old one is black.
pub fn warp(image: &[u8], pixels: Pixels, map: &Map) -> Vec<u8> {
    let n = pixels.size;
    let centre = (n as f32 - 1.0) / 2.0;
    let [[a, b, c], [d, e, f]] = map.inverse();
    let mut out = vec![0; image.len()];
    for row in 0..n {
        let y = row as f32 - centre;
        for column in 0..n {
            let x = column as f32 - centre;
            let (u, v) = (a * x + b * y + c + centre, d * x + e * y + f + centre);
            if !(u > -1.0 && v > -1.0 && u < n as f32 && v < n as f32) {
                continue;
            }
            let (left, top) = (u.floor(), v.floor());
            let (fu, fv) = (u - left, v - top);
            let corners = [
                (left, top, (1.0 - fu) * (1.0 - fv)),
                (left + 1.0, top, fu * (1.0 - fv)),
                (left, top + 1.0, (1.0 - fu) * fv),
                (left + 1.0, top + 1.0, fu * fv),
            ];
            for channel in 0..pixels.channels {
                let plane = &image[channel * n * n..(channel + 1) * n * n];
                let mut sum = 0.0;
                for (cx, cy, weight) in corners {
                    if cx >= 0.0 && cy >= 0.0 && cx < n as f32 && cy < n as f32 {
                        sum += weight * f32::from(plane[cy as usize * n + cx as usize]);
                    }
                }
                out[channel * n * n + row * n + column] = (sum + 0.5) as u8;
            }
        }
    }
    out
}

/// Blackens a rectangle: `scale` is its share of the area, `ratio` its height over width (drawn log-uniformly). As in
/// torchvision ten tries are made to fit one, then the image stays as it is.
pub fn erase(image: &mut [u8], pixels: Pixels, scale: (f64, f64), ratio: (f64, f64), draws: &mut Draws) {
    let n = pixels.size;
    for _ in 0..10 {
        let area = (n * n) as f32 * draws.range(scale.0 as f32, scale.1 as f32);
        let aspect = draws.range(ratio.0.ln() as f32, ratio.1.ln() as f32).exp();
        let height = (area * aspect).sqrt().round() as usize;
        let width = (area / aspect).sqrt().round() as usize;
        if height >= n || width >= n {
            continue;
        }
        let (top, left) = (draws.below(n - height + 1), draws.below(n - width + 1));
        for plane in image.chunks_exact_mut(n * n) {
            for row in plane.chunks_exact_mut(n).skip(top).take(height) {
                row[left..left + width].fill(0);
            }
        }
        return;
    }
}

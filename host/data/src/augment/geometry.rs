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
    match pixels.channels {
        1 => warp_all::<1>(image, pixels.size, map),
        3 => warp_all::<3>(image, pixels.size, map),
        // Each channel by itself, whatever their number.
        _ => image
            .chunks_exact(pixels.size * pixels.size)
            .flat_map(|plane| warp_all::<1>(plane, pixels.size, map))
            .collect(),
    }
}

fn warp_all<const CHANNELS: usize>(image: &[u8], n: usize, map: &Map) -> Vec<u8> {
    let (area, last) = (n * n, n as i32 - 1);
    let centre = (n as f32 - 1.0) / 2.0;
    let [[a, b, c], [d, e, f]] = map.inverse();
    // A pixel's channels side by side, in a border of black: a processor takes the four corners of all channels at once.
    let wide = n + 2;
    let mut framed = vec![[0u8; 4]; wide * wide];
    for (channel, plane) in image.chunks_exact(area).enumerate() {
        for (row, line) in plane.chunks_exact(n).enumerate() {
            let to = &mut framed[(row + 1) * wide + 1..][..n];
            to.iter_mut().zip(line).for_each(|(to, value)| to[channel] = *value);
        }
    }
    let mut out = vec![0; image.len()];
    for row in 0..n {
        let y = row as f32 - centre;
        for column in 0..n {
            let x = column as f32 - centre;
            let (u, v) = (a * x + b * y + c + centre, d * x + e * y + f + centre);
            if !(u > -1.0 && v > -1.0 && u < n as f32 && v < n as f32) {
                continue;
            }
            let (left, top) = (floor(u).min(last), floor(v).min(last));
            let (fu, fv) = (u - left as f32, v - top as f32);
            let weights = [(1.0 - fu) * (1.0 - fv), fu * (1.0 - fv), (1.0 - fu) * fv, fu * fv];
            let from = (top + 1) as usize * wide + (left + 1) as usize;
            let corners = [framed[from], framed[from + 1], framed[from + wide], framed[from + wide + 1]];
            let mut sums = [0.0f32; 4];
            for (corner, weight) in corners.into_iter().zip(weights) {
                sums.iter_mut().zip(corner).for_each(|(sum, value)| *sum += weight * f32::from(value));
            }
            for channel in 0..CHANNELS {
                out[channel * area + row * n + column] = (sums[channel] + 0.5) as u8;
            }
        }
    }
    out
}

/// The greatest whole number that is no greater, of one that an `i32` holds. Where a processor of 2003 must do, `f32::floor` is a call.
fn floor(x: f32) -> i32 {
    let whole = x as i32;
    whole - i32::from(whole as f32 > x)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As it is defined: every corner by itself.
    fn defined(image: &[u8], pixels: Pixels, map: &Map) -> Vec<u8> {
        let n = pixels.size;
        let centre = (n as f32 - 1.0) / 2.0;
        let [[a, b, c], [d, e, f]] = map.inverse();
        let mut out = vec![0; image.len()];
        for (i, out) in out.iter_mut().enumerate() {
            let (channel, row, column) = (i / (n * n), i / n % n, i % n);
            let (x, y) = (column as f32 - centre, row as f32 - centre);
            let (u, v) = (a * x + b * y + c + centre, d * x + e * y + f + centre);
            let (fu, fv) = (u - u.floor(), v - v.floor());
            let corners = [
                (0.0, 0.0, (1.0 - fu) * (1.0 - fv)),
                (1.0, 0.0, fu * (1.0 - fv)),
                (0.0, 1.0, (1.0 - fu) * fv),
                (1.0, 1.0, fu * fv),
            ];
            let mut sum = 0.0;
            for (right, down, weight) in corners {
                let (cx, cy) = (u.floor() + right, v.floor() + down);
                if cx >= 0.0 && cy >= 0.0 && cx < n as f32 && cy < n as f32 {
                    sum += weight * f32::from(image[channel * n * n + cy as usize * n + cx as usize]);
                }
            }
            *out = (sum + 0.5) as u8;
        }
        out
    }

    proptest! {
        #[test]
        fn a_warp_is_what_it_is_defined_to_be(
            size in 1usize..24,
            channels in prop::sample::select(vec![1usize, 2, 3]),
            angle in prop_oneof![Just(0.0f32), Just(90.0), -180.0f32..180.0],
            shift in prop::array::uniform2(prop_oneof![Just(0.0f32), Just(-1.0), -30.0f32..30.0]),
            scale in prop_oneof![Just(1.0f32), 0.3f32..3.0],
            shear in -40.0f32..40.0,
            seed in any::<u64>(),
        ) {
            let pixels = Pixels { channels, size };
            let mut state = seed | 1;
            let image: Vec<u8> = (0..pixels.len()).map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 56) as u8
            }).collect();
            let map = Map { angle, shift, scale, shear };
            prop_assert_eq!(warp(&image, pixels, &map), defined(&image, pixels, &map));
        }
    }
}

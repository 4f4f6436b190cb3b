//! Painting one point of a face: layers from the background to the wrinkles, each an implicit shape with a soft edge.
//!
//! Points are in face units with x to the right, y down and the origin in the middle of the face.

use super::expression::Expression;
use super::person::{Person, Scene};

/// A face ready to be painted at any point.
pub struct Painter<'a> {
    expression: &'a Expression,
    person: &'a Person,
    scene: &'a Scene,
    /// Sine and cosine of the scene's roll.
    roll: [f32; 2],
    /// Width of a soft edge in face units.
    edge: f32,
}

fn mix(from: f32, to: f32, share: f32) -> f32 {
    from + (to - from) * share
}

fn smooth(low: f32, high: f32, v: f32) -> f32 {
    let t = ((v - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// A soft line from `a` to `b`, bent by `bend` to its left in the middle: 1 on the line, 0 away from it.
fn crease(x: f32, y: f32, a: [f32; 2], b: [f32; 2], bend: f32, width: f32) -> f32 {
    let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
    let length = (dx * dx + dy * dy).sqrt().max(1e-4);
    let along = ((x - a[0]) * dx + (y - a[1]) * dy) / (length * length);
    if !(-0.2..=1.2).contains(&along) {
        return 0.0;
    }
    let across = ((y - a[1]) * dx - (x - a[0]) * dy) / length - bend * 4.0 * along * (1.0 - along);
    let near = 1.0 - (across / width).powi(2);
    if near <= 0.0 { 0.0 } else { near * smooth(-0.2, 0.1, along) * smooth(1.2, 0.9, along) }
}

impl<'a> Painter<'a> {
    /// `step` is the distance of two sample points in face units; edges are at least a little softer than it.
    pub fn new(expression: &'a Expression, person: &'a Person, scene: &'a Scene, step: f32) -> Self {
        let (sin, cos) = scene.roll.sin_cos();
        Self { expression, person, scene, roll: [sin, cos], edge: (1.4 * step).max(0.012) }
    }

    /// 1 inside (negative distance), 0 outside, soft over one edge width.
    fn cover(&self, distance: f32) -> f32 {
        (0.5 - distance / self.edge).clamp(0.0, 1.0)
    }

    /// Tone 0..=1 at image point (`u`, `v`), both within -1..=1.
    pub fn tone(&self, u: f32, v: f32) -> f32 {
        let s = self.scene;
        let backdrop = mix(s.background[0], s.background[1], 0.5 + 0.35 * u + 0.15 * v);
        // Inverse of the camera: shift, roll, scale.
        let (cu, cv) = (u - s.shift[0], v - s.shift[1]);
        let [sin, cos] = self.roll;
        let hx = (cos * cu + sin * cv) / s.scale;
        let y = (cos * cv - sin * cu) / s.scale;
        // A turned head slides its features to one side, most in the middle where the head is nearest.
        let depth = (1.0 - hx * hx).max(0.0);
        let x = hx - 0.22 * s.yaw * depth;
        let fy = y - s.nod;

        let outline = self.outline(hx, y);
        let hair = self.hair_cover(hx, y, outline);
        // Layers that are wholly covered are not painted: this halves the time.
        if hair >= 1.0 {
            return self.hair_tone(hx, y) * s.gain;
        }
        let head = self.cover(outline);
        let mut tone = if head < 1.0 { self.behind(backdrop, hx, y) } else { 0.0 };
        if head > 0.0 {
            tone = mix(tone, self.face(x, fy, hx, y), head);
        }
        if hair > 0.0 {
            tone = mix(tone, self.hair_tone(hx, y), hair);
        }
        tone * s.gain
    }

    /// Signed distance to the outline of the head, approximately.
    fn outline(&self, x: f32, y: f32) -> f32 {
        let p = self.person;
        let below = ((y - 0.1) / 0.9).max(0.0);
        let width = p.head_width * (1.0 - 0.55 * p.jaw * below * below);
        let r = ((x / width).powi(2) + (y / p.head_height).powi(2)).sqrt();
        (r - 1.0) * width.min(p.head_height)
    }

    /// What is seen beside the head: backdrop, neck and ears.
    fn behind(&self, backdrop: f32, x: f32, y: f32) -> f32 {
        let p = self.person;
        let neck = self.cover((x.abs() - 0.42 * p.head_width / 0.74).max(0.55 - y));
        let ear_x = (x.abs() - p.head_width) / 0.08;
        let ear_y = (y + 0.08) / 0.2;
        let ear = self.cover(((ear_x * ear_x + ear_y * ear_y).sqrt() - 1.0) * 0.08);
        let tone = mix(backdrop, p.skin * 0.55, neck);
        mix(tone, p.skin * 0.72, ear)
    }

    fn hair_cover(&self, x: f32, y: f32, outline: f32) -> f32 {
        let p = self.person;
        let line = -p.hairline + 0.35 * (x / p.head_width).powi(2) + p.parting * x;
        let cap = (y - line).max(outline - 0.09);
        // Side hair: a band around the head down to `hair_sides`.
        let band = (outline.abs() - 0.09).max(y - p.hair_sides);
        self.cover(cap.min(band))
    }

    fn hair_tone(&self, x: f32, y: f32) -> f32 {
        let shine = 0.10 * (1.0 - ((y + 0.85) * 3.0).powi(2)).max(0.0);
        self.person.hair + shine + 0.03 * (38.0 * x + 9.0 * y).sin()
    }

    /// The skin with everything on it. (`x`, `y`) follow the features, (`hx`, `hy`) the skull.
    fn face(&self, x: f32, y: f32, hx: f32, hy: f32) -> f32 {
        let (p, s, e) = (self.person, self.scene, self.expression);
        let nx = hx / p.head_width;
        let ny = hy / p.head_height;
        let nz = (1.0 - (nx * nx + ny * ny).min(0.96)).sqrt();
        let light = s.ambient + 0.42 * nz + 0.38 * (nx * s.light[0] + ny * s.light[1]);
        let mut tone = p.skin * light;

        if p.beard > 0.0 {
            let lower = smooth(0.22, 0.5, y + 0.25 * x.abs()) * smooth(0.0, 0.25, 0.9 - nz + 0.3);
            tone *= 1.0 - p.beard * lower;
        }
        let lines = self.wrinkles(x, y);
        tone *= 1.0 - lines.min(0.75);
        tone *= self.nose(x, y);
        let eye_line = -p.eye_height;
        if y > eye_line - 0.62 && y < eye_line + 0.28 {
            // Each half of the face is painted as the right half, mirrored.
            tone = self.eye(tone, x.abs(), y);
            tone = self.brow(tone, x.abs(), y, usize::from(x > 0.0));
        }
        let reach = 0.22 + e.open;
        if y > p.mouth_height - reach - 0.1 && y < p.mouth_height + reach + 0.25 {
            tone = self.mouth(tone, x, y);
        }
        tone
    }

    /// Darkening by folds of the skin.
    fn wrinkles(&self, x: f32, y: f32) -> f32 {
        let (p, e) = (self.person, self.expression);
        let side = usize::from(x > 0.0);
        let mx = x.abs();
        let eye = -p.eye_height;
        let mut dark = 0.0;
        if e.frown > 0.02 {
            let top = [0.055, eye - 0.26];
            dark += 0.5 * e.frown * crease(mx, y, top, [0.05, eye - 0.04], 0.0, 0.035);
        }
        if e.forehead > 0.02 {
            for k in 0..2 {
                let h = eye - 0.36 - 0.11 * k as f32;
                dark += 0.28 * e.forehead * crease(mx, y, [0.0, h], [0.34, h + 0.02], 0.0, 0.022);
            }
        }
        if e.nose_wrinkle > 0.02 {
            for k in 0..2 {
                let h = eye + 0.03 + 0.085 * k as f32;
                dark += 0.5 * e.nose_wrinkle * crease(mx, y, [0.0, h], [0.12, h + 0.05], 0.0, 0.028);
            }
        }
        let fold = e.folds[side];
        if fold > 0.02 {
            let start = [p.nose_width + 0.05, eye + p.nose_length - 0.06];
            let corner = p.mouth_width * e.mouth_width + 0.09;
            let end = [corner, p.mouth_height - e.corners[side] + 0.03];
            dark += 0.42 * fold * crease(mx, y, start, end, -0.045, 0.036);
        }
        if e.pout > 0.02 {
            let h = p.mouth_height + 0.17;
            dark += 0.3 * e.pout * crease(mx, y, [0.0, h], [0.16, h + 0.03], 0.0, 0.04);
        }
        if e.lower_lid > 0.02 {
            // The cheek pushed up: a crease under the eye.
            let h = eye + 0.125;
            let (from, to) = ([p.eye_distance - 0.13, h], [p.eye_distance + 0.16, h - 0.02]);
            dark += 0.3 * e.lower_lid * crease(mx, y, from, to, 0.02, 0.026);
        }
        dark
    }

    /// Factor by which the nose changes the skin: a lit ridge, shaded flanks, nostrils.
    fn nose(&self, x: f32, y: f32) -> f32 {
        let (p, e) = (self.person, self.expression);
        let top = -p.eye_height;
        let tip = top + p.nose_length - 0.05 * e.nose_wrinkle;
        if y < top - 0.05 || y > tip + 0.12 || x.abs() > p.nose_width + 0.1 {
            return 1.0;
        }
        let down = ((y - top) / p.nose_length).clamp(0.0, 1.0);
        let width = mix(0.05, p.nose_width, down * down);
        let side = (1.0 - ((x.abs() - width) / 0.05).powi(2)).max(0.0) * smooth(-0.05, 0.3, down);
        let ridge = (1.0 - (x / 0.05).powi(2)).max(0.0) * smooth(0.0, 0.4, down);
        let shadow_side = if x * self.scene.light[0] < 0.0 { 0.22 } else { 0.12 };
        let under = (1.0 - ((y - tip - 0.035) / 0.04).powi(2)).max(0.0)
            * smooth(p.nose_width + 0.02, p.nose_width - 0.05, x.abs());
        let nx = (x.abs() - 0.5 * p.nose_width) / (0.4 * p.nose_width);
        let ny = (y - tip) / 0.032;
        let nostril = self.cover(((nx * nx + ny * ny).sqrt() - 1.0) * 0.035);
        (1.0 + 0.10 * ridge) * (1.0 - shadow_side * side) * (1.0 - 0.2 * under) * (1.0 - 0.6 * nostril)
    }

    fn eye(&self, skin: f32, mx: f32, y: f32) -> f32 {
        let (p, e) = (self.person, self.expression);
        let (cx, cy) = (p.eye_distance, -p.eye_height);
        let t = (mx - cx) / p.eye_width;
        if !(-1.5..=1.5).contains(&t) || (y - cy).abs() > 0.26 {
            return skin;
        }
        let arch = (1.0 - t * t).max(0.0);
        let upper = 1.25 * p.eye_opening * e.eye_open * (1.0 - 0.35 * e.lid_droop * t.max(-0.5));
        let lower = 0.85 * p.eye_opening * (1.0 - 0.75 * e.lower_lid.clamp(0.0, 1.0));
        let tilt = 0.012 * t * (1.0 - 2.2 * e.lid_droop);
        let top = cy - upper * arch.sqrt() * (0.35 + 0.65 * arch) - tilt;
        let bottom = cy + lower * arch - tilt;
        // Socket: a soft shade around the eye.
        let socket = (1.0 - (t * t) / 2.0 - ((y - cy) / 0.17).powi(2)).max(0.0);
        let mut tone = skin * (1.0 - 0.16 * socket);
        let beyond = (t.abs() - 1.0).max(0.0) * p.eye_width;
        let inside = self.cover((top - y).max(y - bottom).max(beyond));
        if inside > 0.0 {
            let (ix, iy) = (mx - cx, y - (cy - 0.012));
            let r = (ix * ix + iy * iy).sqrt();
            let white = 0.55 + 0.4 * p.skin;
            let iris = self.cover(r - 0.075);
            let pupil = self.cover(r - 0.034);
            let ball = mix(mix(white, p.iris_tone, iris), 0.03, pupil);
            tone = mix(tone, ball, inside);
        }
        // Lashes and the upper lid's edge; a fainter lower edge; the fold of the lid above.
        let lash = self.cover((y - top).abs().max(beyond) - 0.018);
        tone *= 1.0 - 0.72 * lash;
        let lower_edge = self.cover((y - bottom).abs().max(beyond) - 0.008);
        tone *= 1.0 - 0.3 * lower_edge;
        let fold = self.cover((y - top + 0.045).abs().max(beyond) - 0.008);
        tone *= 1.0 - 0.22 * fold;
        if p.glasses {
            let r = ((mx - cx) / 0.21).powi(4) + ((y - cy - 0.01) / 0.17).powi(4);
            tone *= 1.0 - 0.7 * self.cover((r.sqrt().sqrt() - 1.0).abs() * 0.19 - 0.012);
        }
        tone
    }

    fn brow(&self, skin: f32, mx: f32, y: f32, side: usize) -> f32 {
        let (p, e) = (self.person, self.expression);
        let inner = p.eye_distance - 0.175 - 0.035 * e.frown;
        let outer = p.eye_distance + 0.20;
        let along = (mx - inner) / (outer - inner);
        if !(-0.15..=1.15).contains(&along) {
            return skin;
        }
        let t = along.clamp(0.0, 1.0);
        let rest = -p.eye_height - p.brow_gap;
        let raise = mix(e.brow_inner[side], e.brow_outer[side], t);
        let arch = 0.045 * 4.0 * t * (1.0 - t) * (0.6 + 0.4 * t) - 0.035 * t;
        let centre = rest - raise - arch;
        let weight = p.brow_weight * mix(1.0, 0.5, t * t);
        let beyond = (along - t).abs() * (outer - inner);
        let hair = self.cover((y - centre).abs() - weight + beyond);
        mix(skin, (p.hair * 0.8).min(skin * 0.55), 0.88 * hair)
    }

    fn mouth(&self, skin: f32, x: f32, y: f32) -> f32 {
        let (p, e) = (self.person, self.expression);
        let half = p.mouth_width * e.mouth_width;
        let t = x / half;
        if !(-1.35..=1.35).contains(&t) {
            return skin;
        }
        let side = usize::from(x > 0.0);
        let bow = t.abs().min(1.0);
        let arch = 1.0 - bow * bow;
        // Corners move, the middle stays; a smile's line is a parabola, a one-sided one bends on its side only.
        let line = p.mouth_height - e.corners[side] * bow * bow + 0.25 * (e.corners[0] + e.corners[1]) * 0.5;
        let gap = if e.open > 0.0 { arch.powf(mix(0.75, 0.25, e.square)) * e.open } else { 0.0 };
        let top = line - 0.35 * gap - e.upper_lip * arch;
        let bottom = line + 0.65 * gap;
        let lip = p.lip_weight * (1.0 - 0.75 * e.press.clamp(0.0, 1.0)) * arch.sqrt();
        // Cupid's bow: the upper lip dips in the middle.
        let dip = 0.014 * (1.0 - (t / 0.25).powi(2)).max(0.0);
        let upper_edge = top - 0.85 * lip + dip;
        let lower_edge = bottom + lip * (1.15 + 0.4 * e.pout);
        let beyond = (t.abs() - 1.0).max(0.0) * half;

        let mut tone = skin;
        // Shadow below the lower lip.
        let shadow = (1.0 - ((y - lower_edge - 0.045) / 0.05).powi(2)).max(0.0) * arch;
        tone *= 1.0 - 0.15 * shadow;
        let lips = self.cover((upper_edge - y).max(y - lower_edge).max(beyond));
        let shine = if y > bottom { 1.12 } else { 0.92 };
        tone = mix(tone, p.skin * p.lip_tone * shine, lips);
        if e.open > 0.0 {
            let inside = self.cover((top - y).max(y - bottom).max(beyond));
            let depth = (y - top) / (bottom - top).max(1e-3);
            let teeth = smooth(e.teeth + 0.08, e.teeth - 0.08, depth) * f32::from(e.teeth > 0.05);
            tone = mix(tone, mix(0.07, 0.9, teeth), inside);
        }
        // The line between the lips, dark also at the corners.
        let seam = self.cover((y - top).abs().max(beyond) - 0.013 - 0.008 * e.press);
        tone *= 1.0 - 0.62 * seam;
        let corner = (t.abs() - 0.97) * half;
        let pit = corner * corner + (y - line).powi(2);
        tone * (1.0 - 0.35 * (1.0 - pit / 0.0022).max(0.0))
    }
}

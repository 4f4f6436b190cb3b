//! The eight expressions as positions of brows, lids, nose and mouth, after the action units of FACS
//! (Ekman & Friesen 1978), and their natural variation.
//!
//! Lengths are in face units: the face is about two units high. Positive moves a feature up.

use crate::rng::Draws;

/// What the muscles do. The neutral face is `Expression::neutral()`.
#[derive(Clone, Debug)]
pub struct Expression {
    /// Raise of the inner and outer ends of the left and right brow (AU 1, 2, 4).
    pub brow_inner: [f32; 2],
    pub brow_outer: [f32; 2],
    /// Brows drawn together and the upright folds between them (AU 4), 0..=1.
    pub frown: f32,
    /// Wrinkles across the forehead, 0..=1.
    pub forehead: f32,
    /// Height of the eye opening; 1 is relaxed (AU 5, 43).
    pub eye_open: f32,
    /// Lower lid pushed up by the cheek (AU 6, 7), 0..=1.
    pub lower_lid: f32,
    /// Drop of the outer end of the upper lid, 0..=1.
    pub lid_droop: f32,
    /// Folds over the bridge of the nose (AU 9), 0..=1.
    pub nose_wrinkle: f32,
    /// Fold from nose to mouth corner, left and right, 0..=1.
    pub folds: [f32; 2],
    /// Raise of the left and right mouth corner (AU 12, 15).
    pub corners: [f32; 2],
    /// Mouth width; 1 is relaxed (AU 18, 20).
    pub mouth_width: f32,
    /// Height of the gap between the lips (AU 25 to 27).
    pub open: f32,
    /// How square the gap is: 0 an ellipse, 1 a box.
    pub square: f32,
    /// Raise of the middle of the upper lip (AU 10).
    pub upper_lip: f32,
    /// Lips rolled in (AU 23, 24), 0..=1.
    pub press: f32,
    /// Lower lip pushed up and out (AU 17), 0..=1.
    pub pout: f32,
    /// Share of the gap in which teeth show, 0..=1.
    pub teeth: f32,
}

impl Expression {
    pub fn neutral() -> Self {
        Self {
            brow_inner: [0.0; 2],
            brow_outer: [0.0; 2],
            frown: 0.0,
            forehead: 0.0,
            eye_open: 1.0,
            lower_lid: 0.0,
            lid_droop: 0.0,
            nose_wrinkle: 0.0,
            folds: [0.0; 2],
            corners: [0.0; 2],
            mouth_width: 1.0,
            open: 0.0,
            square: 0.0,
            upper_lip: 0.0,
            press: 0.0,
            pout: 0.0,
            teeth: 0.0,
        }
    }

    /// The typical face of a class, in the order of FERPlus. `variant` in 0..1 chooses between the ways in which
    /// people show it (a closed or an open smile), `side` which half of the face leads.
    fn typical(class: usize, variant: f32, side: usize) -> Self {
        let mut e = Self::neutral();
        match class {
            1 => {
                e.corners = [0.15; 2];
                e.mouth_width = 1.25;
                e.open = if variant < 0.3 { 0.02 } else { 0.06 + 0.12 * variant };
                e.upper_lip = 0.02;
                e.teeth = 0.9;
                e.eye_open = 0.72;
                e.lower_lid = 0.8;
                e.folds = [0.9; 2];
            }
            2 => {
                e.brow_inner = [0.13; 2];
                e.brow_outer = [0.13; 2];
                e.forehead = 0.8;
                e.eye_open = 1.6;
                e.mouth_width = 0.66;
                e.open = 0.22 + 0.14 * variant;
                e.square = 0.45;
                e.teeth = 0.12;
            }
            3 => {
                e.brow_inner = [0.11; 2];
                e.brow_outer = [-0.06; 2];
                e.frown = 0.25;
                e.eye_open = 0.7;
                e.lid_droop = 0.9;
                e.corners = [-0.13; 2];
                e.mouth_width = 0.88;
                e.pout = 0.9;
            }
            4 => {
                e.brow_inner = [-0.13; 2];
                e.brow_outer = [0.04; 2];
                e.frown = 1.0;
                e.eye_open = 0.85;
                e.lower_lid = 0.35;
                e.corners = [-0.05; 2];
                if variant < 0.55 {
                    e.press = 1.0;
                    e.mouth_width = 0.95;
                } else {
                    e.open = 0.15;
                    e.square = 1.0;
                    e.teeth = 0.95;
                    e.upper_lip = 0.03;
                    e.mouth_width = 1.02;
                }
            }
            5 => {
                e.brow_inner = [-0.07; 2];
                e.brow_outer = [-0.06; 2];
                e.frown = 0.35;
                e.eye_open = 0.5;
                e.lower_lid = 0.8;
                e.nose_wrinkle = 1.0;
                e.folds = [1.0; 2];
                e.upper_lip = 0.12;
                e.corners = [-0.05; 2];
                e.open = 0.05 + 0.06 * variant;
                e.teeth = 0.5;
                e.pout = 0.4;
                e.upper_lip_lead(side);
            }
            6 => {
                e.brow_inner = [0.14; 2];
                e.brow_outer = [0.03; 2];
                e.frown = 0.55;
                e.forehead = 0.5;
                e.eye_open = 1.5;
                e.mouth_width = 1.25;
                e.open = 0.12 + 0.06 * variant;
                e.square = 0.5;
                e.corners = [-0.07; 2];
                e.teeth = 0.55;
            }
            7 => {
                e.corners[side] = 0.16;
                e.corners[1 - side] = -0.02;
                e.folds[side] = 1.0;
                e.press = 0.55;
                e.eye_open = 0.75;
                e.brow_outer[side] = 0.07;
                e.brow_inner[1 - side] = -0.03;
                e.brow_outer[1 - side] = -0.03;
                e.mouth_width = 1.02;
            }
            _ => {}
        }
        e
    }

    /// Disgust is seldom even: one corner follows the lip.
    fn upper_lip_lead(&mut self, side: usize) {
        self.corners[side] += 0.03;
    }

    /// A person's version of a class: intensity and details vary, the more the greater `difficulty` is.
    pub fn draw(class: usize, difficulty: f32, draws: &mut Draws) -> Self {
        let typical = Self::typical(class, draws.unit(), draws.below(2));
        let intensity = 1.0 + difficulty * draws.range(-0.3, 0.15);
        let mut e = typical.scaled(intensity);
        let mut vary = |value: &mut f32, spread: f32| *value += difficulty * spread * draws.normal();
        for i in 0..2 {
            vary(&mut e.brow_inner[i], 0.012);
            vary(&mut e.brow_outer[i], 0.012);
            vary(&mut e.corners[i], 0.012);
            vary(&mut e.folds[i], 0.08);
        }
        vary(&mut e.eye_open, 0.08);
        vary(&mut e.mouth_width, 0.05);
        vary(&mut e.frown, 0.08);
        vary(&mut e.lower_lid, 0.08);
        if e.open > 0.0 {
            vary(&mut e.open, 0.02);
        }
        e.open = e.open.max(0.0);
        e.eye_open = e.eye_open.max(0.15);
        e.mouth_width = e.mouth_width.clamp(0.5, 1.5);
        e
    }

    /// Moves from neutral (0) through the typical face (1) and beyond.
    fn scaled(&self, by: f32) -> Self {
        let around_one = |v: f32| 1.0 + (v - 1.0) * by;
        Self {
            brow_inner: self.brow_inner.map(|v| v * by),
            brow_outer: self.brow_outer.map(|v| v * by),
            frown: self.frown * by,
            forehead: self.forehead * by,
            eye_open: around_one(self.eye_open),
            lower_lid: self.lower_lid * by,
            lid_droop: self.lid_droop * by,
            nose_wrinkle: self.nose_wrinkle * by,
            folds: self.folds.map(|v| v * by),
            corners: self.corners.map(|v| v * by),
            mouth_width: around_one(self.mouth_width),
            open: self.open * by,
            square: self.square,
            upper_lip: self.upper_lip * by,
            press: self.press * by,
            pout: self.pout * by,
            teeth: self.teeth,
        }
    }
}

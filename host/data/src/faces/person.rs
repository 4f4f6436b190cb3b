//! Who is shown and how: the shape of a head, its hair and tone, and the camera and light in front of it.

use crate::rng::Draws;

/// Everything about a face that is not its expression. Lengths in face units, tones 0 (black) to 1 (white).
#[derive(Clone, Debug)]
pub struct Person {
    pub head_width: f32,
    pub head_height: f32,
    /// How much the jaw narrows, 0..=1.
    pub jaw: f32,
    pub eye_distance: f32,
    pub eye_height: f32,
    pub eye_width: f32,
    pub eye_opening: f32,
    pub iris_tone: f32,
    pub brow_gap: f32,
    pub brow_weight: f32,
    pub nose_length: f32,
    pub nose_width: f32,
    pub mouth_height: f32,
    pub mouth_width: f32,
    pub lip_weight: f32,
    pub lip_tone: f32,
    pub skin: f32,
    pub hair: f32,
    /// Height of the hairline above the face's middle.
    pub hairline: f32,
    /// Slant of the fringe.
    pub parting: f32,
    /// How far the hair comes down at the sides, in face units from the middle; negative is short.
    pub hair_sides: f32,
    /// Darkness of a beard, mostly 0.
    pub beard: f32,
    pub glasses: bool,
}

impl Person {
    pub fn draw(difficulty: f32, draws: &mut Draws) -> Self {
        let mut around = |middle: f32, spread: f32| middle + spread * difficulty * draws.range(-1.0, 1.0);
        let mut person = Self {
            head_width: around(0.74, 0.07),
            head_height: around(0.98, 0.06),
            jaw: around(0.42, 0.22),
            eye_distance: around(0.32, 0.03),
            eye_height: around(0.20, 0.028),
            eye_width: around(0.155, 0.018),
            eye_opening: around(0.068, 0.010),
            iris_tone: around(0.20, 0.14),
            brow_gap: around(0.185, 0.022),
            brow_weight: around(0.042, 0.014),
            nose_length: around(0.36, 0.05),
            nose_width: around(0.13, 0.03),
            mouth_height: around(0.46, 0.028),
            mouth_width: around(0.30, 0.03),
            lip_weight: around(0.055, 0.018),
            lip_tone: around(0.72, 0.12),
            skin: around(0.70, 0.17),
            hair: 0.15,
            hairline: around(0.62, 0.14),
            parting: around(0.0, 0.22),
            hair_sides: -0.2,
            beard: 0.0,
            glasses: false,
        };
        person.hair = (person.skin - draws.range(0.15, 0.6)).clamp(0.04, 0.6);
        person.hair_sides = draws.range(-0.6, 1.2);
        if draws.chance(0.12 * difficulty) {
            person.beard = draws.range(0.15, 0.45);
        }
        person.glasses = draws.chance(0.08 * difficulty);
        person
    }
}

/// Camera, light and disturbance.
#[derive(Clone, Debug)]
pub struct Scene {
    pub shift: [f32; 2],
    /// Roll in radians.
    pub roll: f32,
    pub scale: f32,
    /// Turn of the head, -1..=1 for about 30 degrees.
    pub yaw: f32,
    pub nod: f32,
    /// Direction of the light in the image plane and its strength.
    pub light: [f32; 2],
    pub ambient: f32,
    pub background: [f32; 2],
    pub gain: f32,
    pub blur: f32,
    pub noise: f32,
    /// A patch in front of the face: centre, half sizes and tone.
    pub occluder: Option<[f32; 5]>,
}

impl Scene {
    pub fn draw(difficulty: f32, draws: &mut Draws) -> Self {
        let d = difficulty;
        let mut spread = |s: f32| d * s * draws.normal().clamp(-2.2, 2.2);
        let mut scene = Self {
            shift: [spread(0.028), spread(0.028)],
            roll: spread(0.06),
            scale: 1.08 + spread(0.03),
            yaw: spread(0.24),
            nod: spread(0.02),
            light: [spread(0.30), -0.15 + spread(0.2)],
            ambient: 0.62,
            background: [0.5, 0.5],
            gain: 1.0 + spread(0.10),
            blur: 0.0,
            noise: 0.0,
            occluder: None,
        };
        scene.background = [draws.range(0.1, 0.9), draws.range(0.1, 0.9)];
        scene.blur = d * draws.range(0.0, 0.5);
        scene.noise = d * draws.range(0.005, 0.03);
        if draws.chance(0.12 * d) {
            // Hands and scarves come from the edge, seldom over the middle of the face.
            let angle = draws.range(0.0, std::f32::consts::TAU);
            let away = draws.range(0.7, 1.0);
            scene.occluder = Some([
                away * angle.cos(),
                away * angle.sin(),
                draws.range(0.15, 0.4),
                draws.range(0.15, 0.4),
                draws.range(0.1, 0.9),
            ]);
        }
        scene
    }
}

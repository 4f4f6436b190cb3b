//! Built-in faces: a seeded renderer of expressive grey faces with simulated annotators.
//!
//! They exist so that every experiment runs without any download, and so that tests have a data set that can be
//! learnt in seconds. They are drawings: a number obtained on them says nothing about people.

mod annotators;
mod expression;
mod finish;
mod paint;
mod person;
mod sheet;

pub use annotators::annotate;
pub use sheet::contact_sheet;

use expression::Expression;
use paint::Painter;
use person::{Person, Scene};

use crate::rng::{Draws, Purpose};

/// All that determines one built-in face.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FaceRecipe {
    /// Index in the order of FERPlus.
    pub class: usize,
    /// Decides person, pose, light and noise.
    pub seed: u64,
    /// Side in pixels.
    pub size: usize,
    /// 0 clean, 1 the default disturbance.
    pub difficulty: f32,
}

impl FaceRecipe {
    /// Draws the face: `size * size` grey bytes, row by row.
    pub fn render(&self) -> Vec<u8> {
        let mut draws = Draws::new(self.seed, Purpose::Face, 0, 0, 0);
        let person = Person::draw(self.difficulty, &mut draws);
        let scene = Scene::draw(self.difficulty, &mut draws);
        let expression = Expression::draw(self.class, self.difficulty, &mut draws);
        // Two samples a pixel in each direction keep lids and lips visible at 24 pixels; large images need no more
        // than their own soft edges.
        let over = if self.size <= 96 { 2 } else { 1 };
        let side = self.size * over;
        let step = 2.0 / side as f32;
        let painter = Painter::new(&expression, &person, &scene, step);
        let mut tones = vec![0.0f32; self.size * self.size];
        let share = 1.0 / (over * over) as f32;
        for row in 0..side {
            let v = (row as f32 + 0.5) * step - 1.0;
            for column in 0..side {
                let u = (column as f32 + 0.5) * step - 1.0;
                tones[(row / over) * self.size + column / over] += share * painter.tone(u, v);
            }
        }
        finish::finish(tones, self.size, &scene, self.seed)
    }
}

#[cfg(test)]
mod tests;

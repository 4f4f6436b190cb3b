//! Measures how fast the built-in faces are drawn: `cargo run --release -p fer-data --example faces_speed`.

use std::hint::black_box;
use std::time::Instant;

use fer_data::faces::FaceRecipe;

const FACES: u64 = 1000;

fn main() {
    for size in [24, 48] {
        let start = Instant::now();
        for seed in 0..FACES {
            let class = (seed % 8) as usize;
            black_box(FaceRecipe { class, seed, size, difficulty: 1.0 }.render());
        }
        println!("{size} px: {:.0} images/s on one thread", FACES as f64 / start.elapsed().as_secs_f64());
    }
}

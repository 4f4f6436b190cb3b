use super::*;
use crate::spec::BuiltinSpec;

/// Writes a contact sheet for looking at.
#[test]
#[ignore = "writes a picture for the eye"]
fn sheet() {
    for (size, difficulty) in [(48, 1.0), (24, 1.0), (96, 1.0), (96, 0.0)] {
        let spec = BuiltinSpec { size, difficulty, ..Default::default() };
        let sheet = contact_sheet(&spec, 12).unwrap();
        sheet.save(std::env::temp_dir().join(format!("sheet{size}_{difficulty}.png"))).unwrap();
    }
    let start = std::time::Instant::now();
    for seed in 0..500 {
        FaceRecipe { class: seed as usize % 8, seed, size: 48, difficulty: 1.0 }.render();
    }
    eprintln!("{:.0} images/s", 500.0 / start.elapsed().as_secs_f64());
}

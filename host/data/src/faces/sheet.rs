//! A picture of the built-in faces, to see what a model is asked to learn.

use image::GrayImage;

use super::FaceRecipe;
use crate::builtin;
use crate::classes::FERPLUS;
use crate::error::Result;
use crate::spec::BuiltinSpec;

/// One row a class in the order of FERPlus, `per_class` faces a row, two pixels between them; the faces are those that
/// a training split of `spec` would begin with.
pub fn contact_sheet(spec: &BuiltinSpec, per_class: usize) -> Result<GrayImage> {
    builtin::check(spec)?;
    let cell = spec.size + 2;
    let (width, height) = (cell * per_class.max(1), cell * FERPLUS.len());
    let mut sheet = GrayImage::from_pixel(width as u32, height as u32, image::Luma([255]));
    for class in 0..FERPLUS.len() {
        for i in 0..per_class {
            let recipe: FaceRecipe = builtin::recipe(spec, class, i as u64);
            for (p, tone) in recipe.render().into_iter().enumerate() {
                let x = i * cell + 1 + p % spec.size;
                let y = class * cell + 1 + p / spec.size;
                sheet.put_pixel(x as u32, y as u32, image::Luma([tone]));
            }
        }
    }
    Ok(sheet)
}

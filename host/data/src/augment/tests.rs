use super::*;
use proptest::prelude::*;

fn on(sample: usize) -> Occasion {
    Occasion { seed: 9, epoch: 3, sample, repeat: 0 }
}

fn ramp(pixels: Pixels) -> Vec<u8> {
    (0..pixels.len()).map(|i| (i * 7 % 251) as u8).collect()
}

fn everything() -> Vec<Augmentation> {
    vec![
        Augmentation::RandomHorizontalFlip { p: 0.5 },
        Augmentation::RandomRotation { degrees: 45.0 },
        Augmentation::RandomAffine { degrees: 15.0, translate: (0.1, 0.1), scale: (0.8, 1.2), shear: 5.0 },
        Augmentation::ColorJitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 },
        Augmentation::RandomErasing { p: 0.5, scale: (0.02, 0.33), ratio: (0.3, 3.3) },
    ]
}

fn warped(angle: f32, shift: [f32; 2], image: &[u8], size: usize) -> Vec<u8> {
    let map = geometry::Map { angle, shift, ..geometry::Map::IDENTITY };
    geometry::warp(image, Pixels { channels: 1, size }, &map)
}

#[test]
fn a_quarter_turn_and_a_shift_are_exact() {
    let image: Vec<u8> = (1..=9).collect();
    // Positive angles turn clockwise on the screen, as torchvision's affine.
    assert_eq!(warped(90.0, [0.0; 2], &image, 3), [7, 4, 1, 8, 5, 2, 9, 6, 3]);
    assert_eq!(warped(0.0, [1.0, 0.0], &image, 3), [0, 1, 2, 0, 4, 5, 0, 7, 8]);
    assert_eq!(warped(0.0, [0.0, -1.0], &image, 3), [4, 5, 6, 7, 8, 9, 0, 0, 0]);
    assert_eq!(warped(0.0, [0.5, 0.0], &[0, 100, 200, 0, 0, 0, 0, 0, 0], 3)[..3], [0, 50, 150]);
}

#[test]
fn a_flip_reverses_rows_and_zero_amounts_change_nothing() {
    let pixels = Pixels { channels: 3, size: 4 };
    let image = ramp(pixels);
    let mut flipped = image.clone();
    augment(&mut flipped, pixels, &[Augmentation::RandomHorizontalFlip { p: 1.0 }], on(0));
    assert_eq!(flipped[..4], [image[3], image[2], image[1], image[0]]);
    let still = [
        Augmentation::RandomHorizontalFlip { p: 0.0 },
        Augmentation::RandomRotation { degrees: 0.0 },
        Augmentation::ColorJitter { brightness: 0.0, contrast: 0.0, saturation: 0.0, hue: 0.0 },
        Augmentation::RandomErasing { p: 0.0, scale: (0.1, 0.2), ratio: (1.0, 1.0) },
    ];
    let mut same = image.clone();
    augment(&mut same, pixels, &still, on(0));
    assert_eq!(same, image);
}

#[test]
fn jitter_keeps_grey_grey_and_a_whole_turn_of_hue_is_nothing() {
    let pixels = Pixels { channels: 3, size: 6 };
    let mut grey = ramp(Pixels { channels: 1, size: 6 }).repeat(3);
    let strong = Augmentation::ColorJitter { brightness: 0.9, contrast: 0.9, saturation: 0.9, hue: 0.5 };
    augment(&mut grey, pixels, &[strong], on(4));
    for i in 0..36 {
        // Luma weights sum to 0.9999, so truncation may cost one step between channels of equal tone.
        assert!(grey[i].abs_diff(grey[36 + i]) <= 1 && grey[i].abs_diff(grey[72 + i]) <= 1);
    }
}

#[test]
fn erasing_covers_the_asked_share_in_every_channel() {
    let pixels = Pixels { channels: 3, size: 40 };
    let mut image = vec![255; pixels.len()];
    let erasing = Augmentation::RandomErasing { p: 1.0, scale: (0.1, 0.1), ratio: (1.0, 1.0) };
    augment(&mut image, pixels, &[erasing], on(1));
    let black = |c: usize| image[c * 1600..(c + 1) * 1600].iter().filter(|v| **v == 0).count();
    assert_eq!([black(0), black(1), black(2)], [169; 3]);
}

#[test]
fn senseless_ranges_are_named() {
    let message = |a| check(&[a]).unwrap_err().to_string();
    assert!(message(Augmentation::RandomHorizontalFlip { p: 1.5 }).contains("Flip.p"));
    assert!(message(Augmentation::RandomRotation { degrees: f64::NAN }).contains("degrees"));
    let upside_down = Augmentation::RandomErasing { p: 0.5, scale: (0.5, 0.1), ratio: (0.3, 3.3) };
    assert!(message(upside_down).contains("(0.5, 0.1)"));
    assert!(check(&everything()).is_ok());
}

proptest! {
    #[test]
    fn the_same_occasion_gives_the_same_image(
        seed in any::<u64>(), epoch in 0usize..500, sample in 0usize..40_000, grey in any::<bool>(),
    ) {
        let pixels = Pixels { channels: if grey { 1 } else { 3 }, size: 13 };
        let occasion = Occasion { seed, epoch, sample, repeat: 0 };
        let run = |on: Occasion| {
            let mut image = ramp(pixels);
            augment(&mut image, pixels, &everything(), on);
            image
        };
        prop_assert_eq!(run(occasion), run(occasion));
        prop_assert_eq!(run(occasion).len(), pixels.len());
        prop_assert_ne!(run(occasion), run(Occasion { epoch: epoch + 1, ..occasion }));
        prop_assert_ne!(run(occasion), run(Occasion { repeat: 1, ..occasion }));
    }

    /// Turning back what was turned returns the middle of a smooth image.
    #[test]
    fn rotation_is_undone_by_its_opposite(angle in -180f32..180.0) {
        let n = 21;
        let image: Vec<u8> = (0..n * n).map(|i| (5 * (i % n) + 4 * (i / n)) as u8).collect();
        let back = warped(-angle, [0.0; 2], &warped(angle, [0.0; 2], &image, n), n);
        for row in 7..14 {
            for column in 7..14 {
                let (a, b) = (image[row * n + column], back[row * n + column]);
                prop_assert!(a.abs_diff(b) <= 2, "{a} became {b}");
            }
        }
    }
}

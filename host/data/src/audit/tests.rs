use super::*;
use crate::spec::BuiltinSpec;
use image::{GrayImage, Luma};
use std::cell::Cell;
use std::fs;
use std::path::Path;

/// Three classes with four images each in train, one in validation and test; train/happy/0 is repeated in test as sad.
fn tree(root: &Path) -> DataSpec {
    for (split, n, base) in [("train", 4u8, 0), ("val", 1, 100), ("test", 1, 150)] {
        for (c, class) in ["angry", "happy", "sad"].into_iter().enumerate() {
            let folder = root.join(split).join(class);
            fs::create_dir_all(&folder).unwrap();
            for i in 0..n {
                let copied = split == "test" && class == "sad";
                let tone = if copied { 10 } else { base + 10 * c as u8 + i };
                GrayImage::from_pixel(6, 6, Luma([tone])).save(folder.join(format!("{i}.png"))).unwrap();
            }
        }
    }
    DataSpec::ImageFolder { root: root.into(), validation: 0.1, test: 0.1, otherwise: None }
}

#[test]
fn duplicates_broken_files_and_counts_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let spec = tree(dir.path());
    fs::write(dir.path().join("train/sad/3.png"), "no image").unwrap();
    let calls = Cell::new(0);
    let audit = audit(&spec, 1, &|done, total| {
        assert!(done <= total);
        calls.set(calls.get() + 1);
    })
    .unwrap();
    assert_eq!(calls.get(), 1);
    assert_eq!(audit.splits[0].classes, [4, 4, 4]);
    assert_eq!(audit.unreadable.count, 1);
    assert!(audit.unreadable.first[0].contains("3.png"));
    assert_eq!((audit.duplicates.across.count, audit.duplicates.contradicting.count), (1, 1));
    assert!(!audit.is_sound());
    let text = audit.to_string();
    for part in ["happy", "happiness", "6x6 L8", "happy and sad", &audit.fingerprint] {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
    let json = serde_json::to_value(&audit).unwrap();
    assert_eq!(json["splits"][0]["split"], "train");
    assert_eq!(json["label_map"][1]["ferplus"], "happiness");
}

#[test]
fn built_in_faces_are_sound_and_all_different() {
    let spec = BuiltinSpec { train: 64, validation: 16, test: 16, size: 24, ..Default::default() };
    let audit = audit(&DataSpec::Builtin(spec), 1, &|_, _| {}).unwrap();
    assert!(audit.is_sound());
    assert_eq!(audit.duplicates.within.count + audit.duplicates.across.count, 0);
    assert_eq!(audit.image_kinds["24x24 L8"], 96);
}

#[test]
fn sizes_that_differ_from_the_published_are_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut text = "emotion,pixels,Usage\n".to_owned();
    for usage in ["Training", "PublicTest", "PrivateTest"] {
        for label in 0..7 {
            text += &format!("{label},{},{usage}\n", vec![label.to_string(); 2304].join(" "));
        }
    }
    fs::write(dir.path().join("fer2013.csv"), text).unwrap();
    let spec = DataSpec::Fer2013 { root: dir.path().into(), otherwise: None };
    let audit = audit(&spec, 1, &|_, _| {}).unwrap();
    let published = audit.published.as_ref().unwrap();
    assert!(!published.matches && published.found == [7, 7, 7]);
    let text = audit.to_string();
    assert!(text.contains("NOT as published") && text.contains("28709"), "{text}");
    assert_eq!(audit.duplicates.across.count, 14);
}

//! Every reader on a small tree: what it reads, and what it says about a broken one.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use fer_data::dataset::{ImageSource, Split};
use fer_data::spec::{DataSpec, LabelMode, VoteSource};
use fer_data::{Dataset, Pixels, decode};
use image::{GrayImage, Luma};
use tempfile::TempDir;

fn write(path: &Path, text: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn picture(path: &Path, tone: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    GrayImage::from_pixel(8, 8, Luma([tone])).save(path).unwrap();
}

fn open(spec: &DataSpec) -> Dataset {
    fer_data::open(spec, 3).unwrap_or_else(|e| panic!("{e}"))
}

#[track_caller]
fn fails(spec: &DataSpec, parts: &[&str]) {
    let message = fer_data::open(spec, 3).expect_err("should fail").to_string();
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

const SPLITS: [(&str, &str); 3] =
    [("FER2013Train", "Training"), ("FER2013Valid", "PublicTest"), ("FER2013Test", "PrivateTest")];

fn clear(class: usize) -> String {
    let mut votes = ["0"; 10];
    votes[class] = "10";
    votes.join(",")
}

/// Eight clear faces a split, then a mixed one (5:5); names go on counting through the splits. `fer2013new.csv` has an
/// unnamed row first, so names and rows differ by one, and `fer2013.csv` has the row's number as its tone.
fn ferplus(pictures: bool, table: bool) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut new = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF\n\
         Training,,0,0,0,0,0,0,0,0,0,10\n"
        .to_owned();
    let mut pixels = format!("emotion,pixels,Usage\n0,{},Training\n", ["0"; 2304].join(" "));
    let mut number = 0;
    for (folder, usage) in SPLITS {
        let mut list = String::new();
        for class in 0..9 {
            let votes = if class == 8 { "5,5,0,0,0,0,0,0,0,0".into() } else { clear(class) };
            let name = format!("fer{number:07}.png");
            writeln!(list, "{name},\"(0, 0, 48, 48)\",{votes}").unwrap();
            writeln!(new, "{usage},{name},{votes}").unwrap();
            let tone = (number + 1).to_string();
            writeln!(pixels, "0,{},{usage}", vec![tone; 2304].join(" ")).unwrap();
            if pictures {
                picture(&dir.path().join("data").join(folder).join(&name), number as u8 + 1);
            }
            number += 1;
        }
        write(&dir.path().join("data").join(folder).join("label.csv"), list);
    }
    write(&dir.path().join("fer2013new.csv"), new);
    if table {
        write(&dir.path().join("fer2013.csv"), pixels);
    }
    dir
}

fn ferplus_spec(dir: &TempDir, votes: VoteSource, labels: LabelMode) -> DataSpec {
    DataSpec::FerPlus { root: dir.path().into(), votes, labels, otherwise: None }
}

#[test]
fn ferplus_is_the_same_from_every_source() {
    let (folders, table) = (ferplus(true, false), ferplus(false, true));
    for votes in [VoteSource::ImageLists, VoteSource::NewCsv] {
        for dir in [&folders, &table] {
            let set = open(&ferplus_spec(dir, votes, LabelMode::Majority));
            assert_eq!((set.train.len(), set.validation.len(), set.test.len()), (8, 8, 8));
            assert_eq!(set.dropped["no agreement among the votes"], 3);
            for split in Split::ALL {
                for sample in set.split(split) {
                    let number: u8 = sample.id[3..10].parse().unwrap();
                    let pixels = decode::decode(sample, Pixels { channels: 1, size: 8 }).unwrap();
                    assert_eq!(pixels[0], number + 1, "{} got another's face", sample.id);
                    assert_eq!(sample.votes.unwrap()[sample.label], 10);
                }
            }
        }
    }
}

#[test]
fn ferplus_soft_labels_are_for_training_only() {
    let dir = ferplus(true, false);
    for mode in [LabelMode::Probability, LabelMode::MultiTarget] {
        let set = open(&ferplus_spec(&dir, VoteSource::ImageLists, mode));
        assert_eq!((set.train.len(), set.validation.len(), set.test.len()), (9, 8, 8));
        assert_eq!(set.train[8].target.as_ref().unwrap()[..3], [0.5, 0.5, 0.0]);
        assert!(set.test.iter().all(|s| s.target.is_none()));
    }
}

#[test]
fn ferplus_audits_count_every_label_mode_on_all_three_lists() {
    let dir = ferplus(true, false);
    for votes in [VoteSource::ImageLists, VoteSource::NewCsv] {
        // The mode that is asked for changes nothing: the table is of all three.
        let audit = fer_data::audit(&ferplus_spec(&dir, votes, LabelMode::Probability), 3, &|_, _| {}).unwrap();
        let kept: Vec<_> = audit.label_modes.iter().map(|m| (m.labels, m.kept)).collect();
        let [hard, soft] = [[8; 3], [9; 3]];
        let modes = [LabelMode::Majority, LabelMode::Probability, LabelMode::MultiTarget];
        assert_eq!(kept, [(modes[0], hard), (modes[1], soft), (modes[2], soft)]);
        assert!(!audit.is_sound());
        let text = audit.to_string();
        assert!(text.contains("differs from") && text.contains("none published"), "{text}");
        assert_eq!(serde_json::to_value(&audit).unwrap()["label_modes"][0]["labels"], "Majority");
    }
}

#[test]
fn ferplus_keeps_a_face_that_is_named_twice_under_two_ids() {
    let dir = ferplus(true, false);
    let path = dir.path().join("fer2013new.csv");
    let again = fs::read_to_string(&path).unwrap() + "Training,fer0000000.png,10,0,0,0,0,0,0,0,0,0\n";
    write(&path, again);
    let set = open(&ferplus_spec(&dir, VoteSource::NewCsv, LabelMode::Majority));
    assert_eq!(set.train.len(), 9);
    assert_eq!(set.train[1].id, "fer0000000.png#2");
    assert_eq!(set.train[1].image.path(), set.train[0].image.path());
}

#[test]
fn ferplus_says_what_is_broken() {
    let dir = ferplus(true, false);
    let spec = ferplus_spec(&dir, VoteSource::ImageLists, LabelMode::Majority);
    let list = dir.path().join("data/FER2013Train/label.csv");
    let good = fs::read_to_string(&list).unwrap();
    write(&list, good.replacen("10", "11", 1));
    fails(&spec, &["label.csv:1", "found 11", "neutral"]);
    write(&list, good.replacen(",0\n", "\n", 1));
    fails(&spec, &["label.csv:1", "11 fields", "12"]);
    // Without its one contemptuous face the class is empty.
    let without: Vec<&str> = good.lines().filter(|l| !l.starts_with("fer0000007")).collect();
    write(&list, without.join("\n"));
    fails(&spec, &["`contempt`", "no training sample"]);
    write(&list, &good);
    fs::remove_file(dir.path().join("data/FER2013Train/fer0000002.png")).unwrap();
    fs::remove_file(dir.path().join("data/FER2013Test/fer0000019.png")).unwrap();
    fails(&spec, &["fer0000002.png", "and 1 more"]);
    fs::remove_file(&list).unwrap();
    fails(&spec, &["label.csv", "is missing", "NewCsv"]);
}

#[test]
fn ferplus_refuses_tables_that_are_not_in_one_order() {
    let dir = ferplus(false, true);
    let spec = ferplus_spec(&dir, VoteSource::NewCsv, LabelMode::Majority);
    let path = dir.path().join("fer2013.csv");
    let good = fs::read_to_string(&path).unwrap();
    write(&path, good.replacen("PublicTest", "Training", 1));
    fails(&spec, &["fer2013.csv:12", "not in one order"]);
    let last = good.trim_end().rfind('\n').unwrap();
    write(&path, &good[..last]);
    fails(&spec, &["27 rows", "28 rows"]);
    fs::remove_file(&path).unwrap();
    fails(&spec, &["holds no faces", "fer2013.csv"]);
}

#[test]
fn fer2013_reads_kaggles_other_header_and_names_bad_rows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("icml_face_data.csv");
    let rows = |broken: &str| {
        let mut text = "emotion, Usage, pixels\n".to_owned();
        for (_, usage) in SPLITS {
            for label in 0..7 {
                writeln!(text, "{label},{usage},{}", vec![label.to_string(); 2304].join(" ")).unwrap();
            }
        }
        text + broken
    };
    let spec = DataSpec::Fer2013 { root: dir.path().into(), otherwise: None };
    write(&path, rows(""));
    let set = open(&spec);
    assert_eq!((set.train.len(), set.validation.len(), set.test.len()), (7, 7, 7));
    assert_eq!(set.classes[set.train[3].label], "happy");
    assert!(matches!(set.test[0].image, ImageSource::Inline { row: 14, .. }));
    write(&path, rows("9,Training,1 2 3\n"));
    fails(&spec, &["icml_face_data.csv:23", "emotion 9"]);
    write(&path, rows("1,Training,1 2 300\n"));
    fails(&spec, &[":23", "`300`", "0..=255"]);
    write(&path, rows("1,Training,1 2 3\n"));
    fails(&spec, &[":23", "3 pixels", "2304"]);
    write(&path, rows("1,Somewhere,1 2 3\n"));
    fails(&spec, &[":23", "Somewhere", "PrivateTest"]);
}

#[test]
fn rafdb_labels_count_from_one_and_validation_is_stratified() {
    let dir = tempfile::tempdir().unwrap();
    let mut list = String::new();
    for i in 0..70 {
        let (kind, number) = if i < 56 { ("train", i + 1) } else { ("test", i - 55) };
        writeln!(list, "{kind}_{number:05}.jpg {}", i % 7 + 1).unwrap();
        // A PNG under a .jpg name: the content decides.
        let png = dir.path().join("x.png");
        picture(&png, 1);
        let aligned = dir.path().join(format!("Image/aligned/{kind}_{number:05}_aligned.jpg"));
        fs::create_dir_all(aligned.parent().unwrap()).unwrap();
        fs::rename(png, aligned).unwrap();
    }
    let path = dir.path().join("EmoLabel/list_patition_label.txt");
    write(&path, &list);
    let spec = DataSpec::RafDb { root: dir.path().into(), validation: 0.125, otherwise: None };
    let set = open(&spec);
    assert_eq!(set.counts(), [vec![7; 7], vec![1; 7], vec![2; 7]]);
    let first = set.train.iter().chain(&set.validation).find(|s| s.id == "train_00001.jpg");
    assert_eq!(set.classes[first.unwrap().label], "surprise");
    assert_eq!(set.fingerprint(), open(&spec).fingerprint());
    assert_ne!(set.fingerprint(), fer_data::open(&spec, 4).unwrap().fingerprint());
    assert!(decode::decode(&set.train[0], Pixels { channels: 1, size: 8 }).is_ok());
    write(&path, list + "train_00057.jpg 8\n");
    fails(&spec, &["list_patition_label.txt:71", "train_00057.jpg 8", "1..=7"]);
}

fn npy_text(value: &str) -> Vec<u8> {
    let mut header = format!("{{'descr': '<U{}', 'fortran_order': False, 'shape': (), }}", value.len());
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    value.chars().for_each(|c| bytes.extend((c as u32).to_le_bytes()));
    bytes
}

fn affectnet_spec(dir: &TempDir, classes: usize) -> DataSpec {
    DataSpec::AffectNet { root: dir.path().into(), classes, validation: 0.25, otherwise: None }
}

#[test]
fn affectnet_reads_annotation_files() {
    let dir = tempfile::tempdir().unwrap();
    for (folder, n) in [("train_set", 36), ("val_set", 9)] {
        for i in 0..n {
            let base = dir.path().join(folder);
            picture(&base.join(format!("images/{i}.png")), i as u8);
            write(&base.join(format!("annotations/{i}_exp.npy")), npy_text(&(i % 9).to_string()));
        }
    }
    let set = open(&affectnet_spec(&dir, 8));
    assert_eq!(set.counts(), [vec![3; 8], vec![1; 8], vec![1; 8]]);
    assert_eq!(set.dropped["expression: none"], 5);
    let zero = set.test.iter().find(|s| s.id == "val_set/images/1.png").unwrap();
    assert_eq!(set.classes[zero.label], "happy");
    let seven = open(&affectnet_spec(&dir, 7));
    assert_eq!((seven.classes.len(), seven.train.len()), (7, 21));
    write(&dir.path().join("train_set/annotations/4_exp.npy"), npy_text("12"));
    fails(&affectnet_spec(&dir, 8), &["4_exp.npy", "expression 12", "0..=10"]);
    fs::remove_file(dir.path().join("train_set/annotations/4_exp.npy")).unwrap();
    fails(&affectnet_spec(&dir, 8), &["4_exp.npy"]);
    fails(&affectnet_spec(&dir, 6), &["`classes` is 6"]);
}

#[test]
fn affectnet_reads_lists_with_face_boxes() {
    let dir = tempfile::tempdir().unwrap();
    let header =
        "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal\n";
    let rows = |n: usize, folder: &str| {
        let mut text = String::new();
        for i in 0..n {
            let name = format!("{folder}/{i}.png");
            picture(&dir.path().join("Manually_Annotated_Images").join(&name), i as u8);
            writeln!(text, "{name},2,3,4,4,1;2;3,{},0.1,0.2", i % 11).unwrap();
        }
        text
    };
    write(&dir.path().join("training.csv"), header.to_owned() + &rows(44, "1"));
    write(&dir.path().join("validation.csv"), rows(11, "2"));
    let set = open(&affectnet_spec(&dir, 8));
    assert_eq!(set.counts(), [vec![3; 8], vec![1; 8], vec![1; 8]]);
    assert_eq!(set.dropped.values().sum::<usize>(), 15);
    assert!(matches!(set.train[0].image, ImageSource::File { crop: Some([2, 3, 4, 4]), .. }));
}

#[test]
fn ckplus_keeps_a_person_in_one_split() {
    let dir = tempfile::tempdir().unwrap();
    for (class, folder) in ["anger", "happy"].into_iter().enumerate() {
        for person in 0..10 {
            for frame in 0..3 {
                let name = format!("S{:03}_001_{frame:08}.png", person + class);
                picture(&dir.path().join(folder).join(name), frame);
            }
        }
    }
    let spec = DataSpec::CkPlus { root: dir.path().into(), validation: 0.1, test: 0.2, otherwise: None };
    let set = open(&spec);
    for sample in &set.test {
        assert!(set.train.iter().all(|s| s.subject != sample.subject));
        assert!(set.validation.iter().all(|s| s.subject != sample.subject));
    }
    assert_eq!(set.train.len() + set.validation.len() + set.test.len(), 60);
    picture(&dir.path().join("anger/face.png"), 0);
    fails(&spec, &["face.png", "who is shown", "S010"]);
}

#[test]
fn image_folders_with_and_without_splits() {
    let dir = tempfile::tempdir().unwrap();
    for class in ["cross", "glad"] {
        for i in 0..10 {
            picture(&dir.path().join(class).join(format!("{i}.png")), i);
        }
    }
    let spec = |root: &Path| DataSpec::ImageFolder { root: root.into(), validation: 0.1, test: 0.2, otherwise: None };
    let set = open(&spec(dir.path()));
    assert_eq!(set.counts(), [vec![7, 7], vec![1, 1], vec![2, 2]]);

    let split = tempfile::tempdir().unwrap();
    for (folder, n) in [("train", 10), ("test", 3)] {
        for class in ["cross", "glad"] {
            for i in 0..n {
                picture(&split.path().join(folder).join(class).join(format!("{i}.png")), i);
            }
        }
    }
    let set = open(&spec(split.path()));
    assert_eq!(set.counts(), [vec![9, 9], vec![1, 1], vec![3, 3]]);
    picture(&split.path().join("test/bored/0.png"), 0);
    fails(&spec(split.path()), &["`bored`", "cross, glad"]);
    let empty = tempfile::tempdir().unwrap();
    fails(&spec(empty.path()), &["no class folders"]);
}

//! Data that is broken: the file, the line or the image is named, and nothing is dropped in silence.

use crate::{host::Host, micro::MICRO, record::Record};

const DRAWN: &str = "Builtin(train: 64, validation: 16, test: 24, size: 24)";

/// Noise as an image.
fn image(seed: usize) -> Vec<u8> {
    let mut state = (seed as u32 + 1).wrapping_mul(2_654_435_761);
    let mut pixels = b"P5\n24 24\n255\n".to_vec();
    pixels.extend((0..24 * 24).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    }));
    pixels
}

/// Twenty images of each of two classes, and an experiment on them.
fn folder(options: &str) -> Host {
    let host = Host::new();
    for (c, class) in ["angry", "happy"].iter().enumerate() {
        for i in 0..20 {
            host.write(format!("faces/{class}/{i:02}.pgm"), image(c * 20 + i));
        }
    }
    let data = format!("ImageFolder(root: \"faces\"){options}");
    host.write("micro.ron", MICRO.replace(DRAWN, &data).replace("batch: 16", "batch: 4"));
    host
}

/// A file of the training split, so that the experiment does meet it.
fn a_training_image(host: &Host) -> String {
    let set =
        fer_data::spec::DataSpec::ImageFolder { root: host.path("faces"), validation: 0.1, test: 0.2, otherwise: None };
    let set = fer_data::open(&set, 1).unwrap();
    set.split(fer_data::Split::Train)[0].id.clone()
}

#[test]
fn a_sound_folder_trains() {
    let host = folder("");
    host.run("run micro.ron --out runs").ok();
    assert_eq!(Record::only(&host, "runs").json("results.json")["data"]["name"], "ImageFolder");
}

#[test]
fn an_unreadable_image_stops_with_its_name() {
    let host = folder("");
    let name = a_training_image(&host);
    host.write(format!("faces/{name}"), "no image");
    host.run("run micro.ron").refused(&["cannot read image", &name, "unreadable: Skip"]);
    host.run("data check image-folder faces").refused(&["not sound"]);
}

#[test]
fn an_unreadable_image_that_is_skipped_is_counted() {
    let host = folder(", images: (unreadable: Skip)");
    let name = a_training_image(&host);
    host.write(format!("faces/{name}"), "no image");
    let said = host.run("run micro.ron --out runs").ok();
    assert!(said.contains("left out: unreadable image 1\n"), "it must be said, too:\n{said}");
    let data = &Record::only(&host, "runs").json("results.json")["data"];
    let dropped: u64 = data["dropped"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    let kept: u64 = ["train", "validation", "test"].iter().map(|s| data["counts"][s].as_u64().unwrap()).sum();
    assert_eq!((dropped, kept), (1, 39), "{data}");
}

#[test]
fn an_image_that_vanishes_is_named() {
    let host = folder("");
    host.run("run micro.ron --out runs").ok();
    let record = Record::only(&host, "runs");
    std::fs::remove_file(record.file("results.json")).unwrap();
    std::fs::remove_file(host.path("faces").join(a_training_image(&host))).unwrap();
    host.run(&format!("run --resume {}", record.0.display())).refused(&["the data has changed"]);
    host.run(&format!("eval {}", record.0.display())).refused(&[]);
}

#[test]
fn a_class_without_images_is_named() {
    let host = folder("");
    std::fs::create_dir_all(host.path("faces/sad")).unwrap();
    host.run("run micro.ron").refused(&["class `sad` has no training sample", "micro.ron:3"]);
}

#[test]
fn a_folder_without_classes_says_what_was_expected() {
    let host = Host::new();
    host.write("micro.ron", MICRO.replace(DRAWN, "ImageFolder(root: \"faces\")"));
    std::fs::create_dir_all(host.path("faces")).unwrap();
    host.run("run micro.ron").refused(&["holds no class folders", "<class>/<images>", "micro.ron:3"]);
}

#[test]
fn images_of_several_sizes_need_a_size() {
    let host = folder("");
    let odd = [b"P5\n10 10\n255\n".to_vec(), vec![7; 100]].concat();
    host.write(format!("faces/{}", a_training_image(&host)), odd);
    host.run("run micro.ron").refused(&["images differ in size", "10x10", "24x24", "set `size`"]);
    host.run("run micro.ron --set images.size=24").ok();
}

#[test]
fn a_broken_row_of_labels_is_named_by_file_and_line() {
    let host = Host::new();
    let pixels = vec!["128"; 48 * 48].join(" ");
    let rows = ["Training", "PublicTest", "PrivateTest"].map(|usage| format!("3,{pixels},{usage}\n"));
    let table = format!("emotion,pixels,Usage\n{}{}nine,{pixels},PrivateTest\n", rows[0], rows[1]);
    host.write("fer/fer2013.csv", table);
    host.write("micro.ron", MICRO.replace(DRAWN, "Fer2013(root: \"fer\")"));
    host.run("run micro.ron").refused(&["fer2013.csv:4", "nine", "expected", "micro.ron:3"]);
}

#[test]
fn predict_names_images_that_it_cannot_read_and_answers_the_others() {
    let host = folder("");
    host.run("run micro.ron --out runs").ok();
    let run = Record::only(&host, "runs").0;
    host.write("new/good.pgm", image(99));
    host.write("new/bad.pgm", "no image");
    let answer = host.run(&format!("predict {} new", run.display()));
    assert!(answer.out.contains("good.pgm"), "{}", answer.out);
    // `unreadable` is a setting of training runs: no advice for someone who asks for predictions.
    assert!(!answer.err.contains("unreadable: Skip"), "{}", answer.err);
    answer.refused(&["1 image could not be read", "bad.pgm"]);
    let none = host.run(&format!("predict {} new/bad.pgm", run.display()));
    assert_eq!(none.out, "");
    none.refused(&["1 image could not be read"]);
}

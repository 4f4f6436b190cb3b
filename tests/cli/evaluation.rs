//! An image's answer does not depend on the images beside it.

use std::collections::BTreeMap;

use fer_engine::Tensor;
use fer_train::{read_safetensors, write_safetensors};
use serde_json::Value;

use crate::{host::Host, micro::EVERYTHING, record::Record};

fn finished() -> (Host, Record) {
    let host = Host::new();
    host.write("config.ron", EVERYTHING);
    host.run("run config.ron --out runs --set epochs=2").ok();
    let record = Record::only(&host, "runs");
    (host, record)
}

#[test]
fn metrics_do_not_depend_on_the_batch() {
    let (host, record) = finished();
    let eval = |batch: usize| -> Value {
        let out = host.run(&format!("eval {} --batch {batch} --json", record.0.display())).ok();
        serde_json::from_str(&out).unwrap()
    };
    let [one, seven, all] = [1, 7, 24].map(|batch| eval(batch)["result"].clone());
    for other in [&seven, &all] {
        assert_eq!(other["confusion"], one["confusion"]);
        for key in ["loss", "accuracy", "balanced_accuracy", "macro_f1"] {
            let (a, b) = (other[key].as_f64().unwrap(), one[key].as_f64().unwrap());
            // The loss sums f32 rows in another order; the others are counts.
            assert!((a - b).abs() <= 1e-6 * b.abs(), "{key}: {a} and {b}");
        }
    }
    // What the run reported is what its weights give.
    assert_eq!(record.json("results.json")["test"]["confusion"], one["confusion"]);
}

#[test]
fn a_batch_is_answered_as_its_images_one_by_one() {
    let (host, record) = finished();
    let values: Vec<f64> = (0..5 * 3 * 24 * 24).map(|i| ((i * i) as f64 * 0.37).sin()).collect();
    let logits = |images: Tensor, precision: &str| -> Vec<f64> {
        write_safetensors(&host.path("in.safetensors"), &BTreeMap::from([("images".into(), images)]), &BTreeMap::new())
            .unwrap();
        let config = record.file("config.ron");
        let trace = "--inputs in.safetensors --out out.safetensors --mode eval";
        host.run(&format!("trace {} {trace} --precision {precision}", config.display())).ok();
        read_safetensors(&host.path("out.safetensors")).unwrap()["logits"].to_f64()
    };
    for (precision, bound) in [("f64", 1e-12), ("f32", 1e-6)] {
        let together = logits(Tensor::f64([5, 3, 24, 24], values.clone()), precision);
        let apart =
            values.chunks_exact(3 * 24 * 24).flat_map(|v| logits(Tensor::f64([1, 3, 24, 24], v.to_vec()), precision));
        let scale = together.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
        for (a, b) in together.iter().zip(apart) {
            assert!((a - b).abs() <= bound * scale, "{precision}: {a} and {b}");
        }
    }
}

#[test]
fn predict_answers_images_alike_alone_and_together() {
    let (host, record) = finished();
    for i in 0..5u32 {
        let pixels: Vec<u8> = (0..24 * 24).map(|p: u32| ((p * (i + 3)) % 251) as u8).collect();
        host.write(format!("faces/{i}.pgm"), [b"P5\n24 24\n255\n".to_vec(), pixels].concat());
    }
    let predict = |batch: usize| host.run(&format!("predict {} faces --batch {batch}", record.0.display())).ok();
    let one = predict(1);
    assert_eq!(one.matches(".pgm").count(), 5, "{one}");
    assert_eq!(one, predict(3));
    assert_eq!(one, predict(32));
}

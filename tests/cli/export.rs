//! What `fer-host export` hands over: the weights, images and order of a run, shown by what the run logs.

use std::collections::{BTreeMap, BTreeSet};

use fer_engine::{Data, Tensor};
use fer_train::{read_safetensors, write_safetensors};
use serde_json::Value;

use crate::{
    host::Host,
    micro::{EVERYTHING, MICRO},
    record::Record,
};

type Tensors = BTreeMap<String, Tensor>;

fn exported(host: &Host, config: &str, options: &str) -> [Tensors; 2] {
    host.write("config.ron", config);
    host.run(&format!("export config.ron --out export {options}")).ok();
    ["initial", "data"].map(|name| read_safetensors(&host.path(format!("export/{name}.safetensors"))).unwrap())
}

fn integers(tensor: &Tensor) -> Vec<usize> {
    let Data::I32(numbers) = &tensor.data else { panic!("{}", tensor.ty()) };
    numbers.iter().map(|&n| n as usize).collect()
}

/// Some of a tensor's rows.
fn rows(tensor: &Tensor, indices: &[usize]) -> Tensor {
    let row: usize = tensor.shape[1..].iter().product();
    let shape = [&[indices.len()], &tensor.shape[1..]].concat();
    fn picked<T: Copy>(all: &[T], row: usize, indices: &[usize]) -> Vec<T> {
        indices.iter().flat_map(|&i| all[i * row..][..row].iter().copied()).collect()
    }
    let data = match &tensor.data {
        Data::U8(all) => Data::U8(picked(all, row, indices)),
        Data::F32(all) => Data::F32(picked(all, row, indices)),
        other => panic!("{}", other.dtype()),
    };
    Tensor::new(shape, data)
}

#[test]
fn the_first_steps_loss_follows_from_what_is_handed_over() {
    let host = Host::new();
    // Nothing is drawn while it trains: a trace draws other numbers than the first step.
    let micro = MICRO.replace("num_heads: [1, 2]", "num_heads: [1, 2], drop_path_rate: 0.0");
    let [weights, data] = exported(&host, &micro, "");
    let order = &data["order"];
    assert_eq!(order.shape, [2, 4, 16]);
    let first = &integers(order)[..16];
    let given = [("images", "train/images"), ("targets", "train/targets"), ("weights", "train/weights")];
    let batch: Tensors = given.map(|(name, from)| (name.to_owned(), rows(&data[from], first))).into();
    write_safetensors(&host.path("in.safetensors"), &batch, &BTreeMap::new()).unwrap();
    write_safetensors(&host.path("weights.safetensors"), &weights, &BTreeMap::new()).unwrap();
    host.run(
        "trace config.ron --inputs in.safetensors --weights weights.safetensors --mode train --out out.safetensors",
    )
    .ok();
    let traced = read_safetensors(&host.path("out.safetensors")).unwrap()["loss"].item().unwrap();
    host.run("run config.ron --out runs").ok();
    let logged = Record::only(&host, "runs").lines()[0]["loss"].as_f64().unwrap();
    assert!((traced / logged - 1.0).abs() < 1e-5, "{traced} and {logged}");
}

#[test]
fn an_epoch_has_its_own_order_and_each_split_its_images() {
    let host = Host::new();
    let [_, data] = exported(&host, MICRO, "--json");
    let order = integers(&data["order"]);
    let (one, two) = order.split_at(64);
    assert_ne!(one, two);
    for epoch in [one, two] {
        assert_eq!(epoch.iter().copied().collect::<BTreeSet<_>>(), (0..64).collect());
    }
    for (split, count) in [("train", 64), ("validation", 16), ("test", 24)] {
        let part = |name: &str| &data[&format!("{split}/{name}")];
        assert_eq!(part("images").shape, [count, 1, 24, 24]);
        assert_eq!(part("targets").shape, [count, 8]);
        assert_eq!((integers(part("labels")).len(), &part("weights").shape[..]), (count, &[count][..]));
    }
    assert_eq!((&data["prior"].shape[..], &data["mean"].shape[..]), (&[8, 8][..], &[3][..]));
}

#[test]
fn what_is_drawn_with_repetition_and_weighed_is_handed_over_so() {
    let host = Host::new();
    let [weights, data] = exported(&host, EVERYTHING, "--set augment=[]");
    assert_eq!(data["order"].shape, [3, 13, 8]);
    let Data::F32(counts) = &data["train/weights"].data else { panic!() };
    assert!(counts.iter().any(|&w| w != counts[0]), "classes count differently in training");
    let Data::F32(counts) = &data["test/weights"].data else { panic!() };
    assert!(counts.iter().all(|&w| w == 1.0), "and alike in tests");
    assert!(weights.keys().any(|name| name.ends_with("running_mean")), "{:?}", weights.keys());
    assert!(weights.keys().all(|name| !name.starts_with("optimiser") && !name.starts_with("ema")));
}

#[test]
fn it_says_what_it_wrote() {
    let host = Host::new();
    host.write("config.ron", MICRO);
    let said: Value = serde_json::from_str(&host.run("export config.ron --out export --json").ok()).unwrap();
    assert_eq!((&said["epochs"], &said["batches"], &said["batch"]), (&2.into(), &4.into(), &16.into()));
    let again = host.run("resolve export/config.ron --plain").ok();
    assert_eq!(again, host.run("resolve config.ron --plain").ok());
}

#[test]
fn what_cannot_be_handed_over_is_refused() {
    let host = Host::new();
    host.write("config.ron", EVERYTHING);
    host.run("export config.ron --out export").refused(&["changed at random", "--set augment=[]"]);
    host.write("full/letter.txt", "");
    host.run("export config.ron --set augment=[] --out full")
        .refused(&["full is not empty: it holds letter.txt", "a new folder"]);
}

//! What a hub's refusal means, and what can be done about it.

use std::path::Path;

use super::{HubConfig, HubName};
use crate::error::{Result, WeightError, WeightErrorKind as Kind};

/// The way that is always open.
const BY_HAND: &str = "download the file elsewhere, put it on this machine and name its path: File(\"PATH\")";

pub fn no_network(config: &HubConfig, detail: &str) -> WeightError {
    WeightError::new(Kind::Network, format!("the hub at {} cannot be reached: {detail}", config.endpoint)).help(
        format!(
            "check the network and HTTPS_PROXY; set HF_ENDPOINT to a mirror that this machine reaches; or {BY_HAND}"
        ),
    )
}

pub fn cut_off(config: &HubConfig, detail: &str) -> WeightError {
    WeightError::new(Kind::Network, format!("the download from {} broke off: {detail}", config.endpoint))
        .note("what has arrived is kept")
        .help(format!("run it again to continue where it broke off; or {BY_HAND}"))
}

pub fn stalled(config: &HubConfig) -> WeightError {
    let seconds = config.patience.as_secs_f64();
    WeightError::new(Kind::Stalled, format!("the hub at {} has been silent for {seconds} s", config.endpoint))
        .note("what has arrived is kept")
        .help(format!("run it again, with HF_HUB_DOWNLOAD_TIMEOUT set to more seconds on a slow network; or {BY_HAND}"))
}

pub fn offline(config: &HubConfig, name: &HubName) -> WeightError {
    WeightError::new(Kind::Offline, format!("{name} is not in the cache, and HF_HUB_OFFLINE forbids the network"))
        .note(format!("the cache is {}", config.cache.display()))
        .help(format!("unset HF_HUB_OFFLINE and run `fer-host weights fetch {name}` once; or {BY_HAND}"))
}

/// An answer that is no success. `code` is the hub's own word for it.
pub fn refused(config: &HubConfig, name: &HubName, status: u16, code: Option<&str>) -> WeightError {
    let (repo, endpoint) = (name.repo(), &config.endpoint);
    match (status, code) {
        (401 | 403, Some("GatedRepo")) => WeightError::new(Kind::Forbidden, format!("{repo} is gated ({status})"))
            .help(format!("accept its terms at {endpoint}/{repo}, then set HF_TOKEN to a token of that account")),
        (401 | 403, _) if config.token.is_some() => WeightError::new(
            Kind::Forbidden,
            format!("the hub does not let HF_TOKEN's account read {repo} ({status})"),
        )
        .help(format!(
            "check the name; accept the terms at {endpoint}/{repo} where it is gated; set HF_TOKEN to a valid token"
        )),
        (401 | 403, _) => {
            WeightError::new(Kind::Forbidden, format!("the hub does not show {repo} to everyone ({status})")).help(
                format!("check the name; where it is gated or private, set HF_TOKEN to a token that may read {repo}"),
            )
        }
        (404, Some("RevisionNotFound")) => {
            WeightError::new(Kind::Missing, format!("{repo} has no revision {:?}", name.revision()))
                .help(format!("its branches, tags and commits are at {endpoint}/{repo}/tree/main"))
        }
        (404, _) => WeightError::new(Kind::Missing, format!("the hub has no repository {repo:?}"))
            .help(format!("look for its name at {endpoint}/models, or set HF_TOKEN if it is private")),
        (429, _) => WeightError::new(Kind::Network, "the hub asks for fewer requests (429)")
            .help("wait some minutes, or set HF_TOKEN, which allows more"),
        _ => WeightError::new(Kind::Network, format!("the hub at {endpoint} answers {status}"))
            .help(format!("try again later; if HF_ENDPOINT is set, check that it is a hub's address; or {BY_HAND}")),
    }
}

/// Names shown of a listing.
const SHOWN: usize = 8;

/// None of the wanted files is in the repository: the nearest names in it, where it can be listed.
pub fn no_file(name: &HubName, wanted: &[&str], listing: Result<Vec<String>>) -> WeightError {
    let names: Vec<String> = wanted.iter().map(|w| format!("{w:?}")).collect();
    let repo = name.repo();
    let sentence = match wanted {
        [_] => format!("{repo} has no file {} at revision {:?}", names[0], name.revision()),
        _ => format!("{repo} has neither {} at revision {:?}", names.join(" nor "), name.revision()),
    };
    let mut files = match listing {
        Ok(files) => files,
        // No repository or no revision is the better answer.
        Err(error) if error.kind == Kind::Missing || error.kind == Kind::Forbidden => return error,
        Err(_) => return WeightError::new(Kind::Missing, sentence).help("look at its files on the hub's page"),
    };
    let likeness = |file: &String| {
        let weights = [".safetensors", ".bin", ".pth", ".pt"].iter().any(|end| file.ends_with(end));
        let near = wanted.iter().map(|w| strsim::jaro_winkler(w, file)).fold(0.0, f64::max);
        near + if weights { 1.0 } else { 0.0 }
    };
    files.sort_by(|a, b| likeness(b).total_cmp(&likeness(a)).then_with(|| a.cmp(b)));
    let error = WeightError::new(Kind::Missing, sentence);
    let Some(first) = files.first() else { return error.note("the repository is empty") };
    let rest = if files.len() > SHOWN { ", ..." } else { "" };
    let named = HubName { file: Some(first.clone()), ..name.clone() };
    error
        .note(format!("files there: {}{rest}", files[..files.len().min(SHOWN)].join(", ")))
        .help(format!("name one: {named}"))
}

pub fn wrong_bytes(path: &Path, wanted: &str, found: &str) -> WeightError {
    let sentence = format!("the bytes fetched for {} are not those that the hub names", path.display());
    WeightError::new(Kind::Checksum, sentence)
        .note(format!("sha256 wanted {wanted}"))
        .note(format!("sha256 found  {found}"))
        .note("the file was removed")
        .help("run it again; if that fails too, a proxy or mirror between here and the hub changes files")
}

pub fn damaged_in_cache(path: &Path) -> WeightError {
    let sentence = format!("{} has changed since it was fetched: its sha256 is not that of its name", path.display());
    WeightError::new(Kind::Checksum, sentence).help("remove it, and fetch it again with the network")
}

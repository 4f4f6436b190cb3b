//! Files of the hub: fetched, continued, checked, cached, and every way in which that fails.

mod server;

use std::{
    cell::RefCell,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use fer_weights::{Fetched, Hub, HubConfig, HubName, WeightError, WeightErrorKind as Kind};
use server::{COMMIT, Server, Trouble, sha256};
use tempfile::TempDir;

/// A hub, and a machine with an empty cache that knows it.
struct Case {
    server: Server,
    home: TempDir,
    config: HubConfig,
}

const REPO: &str = "owner/model";

fn weights() -> Vec<u8> {
    (0..200_000u32).flat_map(|i| (i.wrapping_mul(2_654_435_761) >> 7).to_le_bytes()).collect()
}

impl Case {
    fn new() -> Case {
        let (server, home) = (Server::start(), TempDir::new().unwrap());
        let folder = home.path().to_str().unwrap().to_owned();
        let mut config = HubConfig::from_variables(&|name| (name == "HF_HOME").then(|| folder.clone()));
        config.endpoint = server.endpoint.clone();
        config.patience = Duration::from_secs(5);
        Case { server, home, config }
    }

    /// With a repository of weights and a card.
    fn with_model() -> Case {
        let case = Case::new();
        let card = br#"{"architecture": "vit_tiny_patch16_224", "num_classes": 1000, "pretrained_cfg": {"mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5], "input_size": [3, 224, 224], "interpolation": "bicubic"}}"#;
        case.server.file(REPO, "model.safetensors", &weights()).file(REPO, "config.json", card);
        case
    }

    fn hub(&self) -> Hub {
        Hub::new(self.config.clone())
    }

    fn fetch(&self, name: &str) -> Result<Fetched, WeightError> {
        self.hub().fetch(&name.parse().unwrap(), &|_, _| {})
    }

    #[track_caller]
    fn refused(&self, name: &str, kind: Kind, parts: &[&str]) -> WeightError {
        let error = self.fetch(name).expect_err("it cannot be fetched");
        let told = [vec![error.message.clone()], error.notes.clone(), error.help.iter().cloned().collect()]
            .concat()
            .join("\n");
        assert_eq!(error.kind, kind, "{told}");
        parts.iter().for_each(|part| assert!(told.contains(part), "{part:?} is not in:\n{told}"));
        error
    }

    fn repository(&self) -> PathBuf {
        self.home.path().join("hub/models--owner--model")
    }

    fn blob(&self) -> PathBuf {
        self.repository().join("blobs").join(sha256(&weights()))
    }

    fn partial(&self) -> PathBuf {
        self.blob().with_extension("incomplete")
    }

    fn leave_partial(&self, content: &[u8]) {
        fs::create_dir_all(self.partial().parent().unwrap()).unwrap();
        fs::write(self.partial(), content).unwrap();
    }
}

fn bytes(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}

#[test]
fn a_model_is_fetched_into_the_cache_that_python_knows() {
    let case = Case::with_model();
    let told = RefCell::new(vec![]);
    let name: HubName = REPO.parse().unwrap();
    let fetched = case.hub().fetch(&name, &|done, total| told.borrow_mut().push((done, total))).unwrap();
    assert_eq!(bytes(&fetched.path), weights());
    assert_eq!(
        (fetched.repo.as_str(), fetched.revision.as_str(), fetched.file.as_str()),
        (REPO, COMMIT, "model.safetensors")
    );
    assert_eq!((fetched.sha256, fetched.bytes), (sha256(&weights()), weights().len() as u64));
    assert!(fetched.verified && fetched.downloaded);
    let card = fetched.card.unwrap();
    assert_eq!((card.architecture.as_deref(), card.mean), (Some("vit_tiny_patch16_224"), Some(vec![0.5; 3])));
    // The layout, to the link.
    assert_eq!(fetched.path, case.repository().join("snapshots").join(COMMIT).join("model.safetensors"));
    assert_eq!(bytes(&case.repository().join("refs/main")), COMMIT.as_bytes());
    assert!(case.blob().is_file() && !case.partial().exists());
    #[cfg(unix)]
    assert_eq!(fs::read_link(&fetched.path).unwrap(), Path::new("../../blobs").join(sha256(&weights())));
    // Progress begins at nothing, only grows, and ends at all.
    let told = told.into_inner();
    assert_eq!((told[0].0, *told.last().unwrap()), (0, (weights().len() as u64, weights().len() as u64)));
    assert!(told.is_sorted());
}

#[test]
fn what_is_cached_needs_no_network() {
    let case = Case::with_model();
    assert_eq!(case.hub().cached(&REPO.parse().unwrap()), Ok(None));
    let first = case.fetch(REPO).unwrap();
    let asked = case.server.asked().len();
    let again = case.fetch(REPO).unwrap();
    assert_eq!(again, Fetched { downloaded: false, ..first.clone() });
    assert_eq!(case.hub().cached(&REPO.parse().unwrap()).unwrap(), Some(again));
    let by_commit: HubName = format!("{REPO}@{COMMIT}:model.safetensors").parse().unwrap();
    assert_eq!(case.hub().cached(&by_commit).unwrap().unwrap().path, first.path);
    assert_eq!(case.hub().cached(&format!("{REPO}@v1").parse().unwrap()), Ok(None), "a tag that was never asked for");
    assert_eq!(case.server.asked().len(), asked);
}

#[test]
fn switched_off_the_network_is_not_used() {
    let mut case = Case::with_model();
    case.config.offline = true;
    case.refused(REPO, Kind::Offline, &["owner/model is not in the cache", "HF_HUB_OFFLINE", "File("]);
    assert_eq!(case.server.asked(), []);
    case.config.offline = false;
    case.fetch(REPO).unwrap();
    case.config.offline = true;
    assert!(!case.fetch(REPO).unwrap().downloaded);
}

#[test]
fn files_by_name_and_the_older_format() {
    let case = Case::new();
    case.server.file(REPO, "pytorch_model.bin", b"old").file(REPO, "folder/best model.pth", b"best");
    let old = case.fetch(REPO).unwrap();
    assert_eq!((old.file.as_str(), bytes(&old.path), old.card), ("pytorch_model.bin", b"old".to_vec(), None));
    case.server.file(REPO, "folder/best%20model.pth", b"best");
    let named = case.fetch("owner/model@v1:folder/best model.pth").unwrap();
    assert_eq!(bytes(&named.path), b"best");
    #[cfg(unix)]
    assert!(fs::read_link(&named.path).unwrap().starts_with("../../../blobs"));
}

#[test]
fn a_download_that_breaks_off_is_continued() {
    let case = Case::with_model();
    case.server.trouble(Trouble::Cut { after: 300_000, times: 2 });
    let fetched = case.fetch(REPO).unwrap();
    assert_eq!((bytes(&fetched.path), fetched.verified), (weights(), true));
    let last = weights().len() - 1;
    let ranges = case.server.ranges();
    assert_eq!(ranges.len(), 3, "{ranges:?}");
    assert_eq!(ranges[0], None);
    assert_eq!(ranges[1], Some(format!("bytes=300000-{last}")));
    assert_eq!(ranges[2], Some(format!("bytes=600000-{last}")));
}

#[test]
fn what_an_earlier_run_left_is_continued() {
    let case = Case::with_model();
    case.leave_partial(&weights()[..500_000]);
    let told = RefCell::new(vec![]);
    let fetched = case.hub().fetch(&REPO.parse().unwrap(), &|done, _| told.borrow_mut().push(done)).unwrap();
    assert_eq!(bytes(&fetched.path), weights());
    assert_eq!(case.server.ranges(), [Some(format!("bytes=500000-{}", weights().len() - 1))]);
    assert_eq!(told.into_inner()[0], 500_000);
}

#[test]
fn what_an_earlier_run_left_may_be_whole_or_wrong() {
    let case = Case::with_model();
    case.leave_partial(&weights());
    assert_eq!(bytes(&case.fetch(REPO).unwrap().path), weights());
    assert_eq!(case.server.ranges(), [], "all bytes were there");
    for left in [vec![7; 500_000], vec![7; 900_000], vec![7; weights().len()]] {
        let case = Case::with_model();
        case.leave_partial(&left);
        assert_eq!(bytes(&case.fetch(REPO).unwrap().path), weights());
        assert_eq!(case.server.ranges().last(), Some(&None), "fetched anew");
    }
}

#[test]
fn a_server_that_cannot_continue_begins_anew() {
    let case = Case::with_model();
    case.server.trouble(Trouble::Whole).trouble(Trouble::Cut { after: 300_000, times: 1 });
    assert_eq!(bytes(&case.fetch(REPO).unwrap().path), weights());
    assert_eq!(case.server.ranges().len(), 3);
}

#[test]
fn wrong_bytes_are_removed_and_named() {
    let case = Case::with_model();
    case.server.trouble(Trouble::Wrong { times: usize::MAX });
    let wanted = sha256(&weights());
    case.refused(REPO, Kind::Checksum, &[&wanted, "was removed", "proxy or mirror"]);
    assert!(!case.blob().exists() && !case.partial().exists());
    assert_eq!(case.hub().cached(&REPO.parse().unwrap()), Ok(None));
    case.server.well();
    case.fetch(REPO).unwrap();
}

#[test]
fn a_cached_file_that_has_changed_is_fetched_again() {
    let mut case = Case::with_model();
    let path = case.fetch(REPO).unwrap().path;
    fs::write(case.blob(), b"damaged").unwrap();
    let error = case.hub().cached(&REPO.parse().unwrap()).unwrap_err();
    assert!(error.kind == Kind::Checksum && error.message.contains(path.to_str().unwrap()), "{error}");
    case.config.offline = true;
    case.refused(REPO, Kind::Checksum, &["has changed since it was fetched", "remove it"]);
    case.config.offline = false;
    assert_eq!(bytes(&case.fetch(REPO).unwrap().path), weights());
}

#[test]
fn a_failure_that_passes_is_tried_again() {
    let case = Case::with_model();
    case.server.trouble(Trouble::Status { path: "/resolve/", status: 500, code: None, times: 2 });
    case.server.trouble(Trouble::Status { path: "/store/", status: 503, code: None, times: 1 });
    assert_eq!(bytes(&case.fetch(REPO).unwrap().path), weights());
    case.server.trouble(Trouble::Status { path: "/resolve/", status: 500, code: None, times: usize::MAX });
    case.refused("owner/model:other.bin", Kind::Network, &["answers 500", "try again later"]);
}

#[test]
fn a_gated_repository_wants_a_token() {
    let mut case = Case::with_model();
    let status = |status, code| Trouble::Status { path: "/resolve/", status, code, times: 1 };
    case.server.trouble(status(401, Some("GatedRepo")));
    case.refused(REPO, Kind::Forbidden, &["owner/model is gated (401)", "accept its terms", "HF_TOKEN"]);
    case.server.trouble(status(401, Some("RepoNotFound")));
    case.refused(REPO, Kind::Forbidden, &["check the name", "set HF_TOKEN"]);
    case.config.token = Some("hf_secret".into());
    case.server.trouble(status(403, None));
    let error = case.refused(REPO, Kind::Forbidden, &["HF_TOKEN's account"]);
    assert!(!format!("{error:?}").contains("hf_secret"));
    case.fetch(REPO).unwrap();
    let asked = case.server.asked();
    let last: Vec<_> = asked.iter().rev().take(8).collect();
    assert!(last.iter().any(|a| a.token.as_deref() == Some("Bearer hf_secret")));
    assert!(asked.iter().all(|a| !a.path.starts_with("/store/") || a.token.is_none()), "the token is the hub's alone");
}

#[test]
fn what_the_hub_has_not_is_told_with_what_it_has() {
    let case = Case::with_model();
    case.server.file(REPO, "model_fp16.safetensors", b"x").file(REPO, "README.md", b"x");
    case.refused(
        "owner/model:model_fp61.safetensors",
        Kind::Missing,
        &[
            "no file \"model_fp61.safetensors\" at revision \"main\"",
            "files there: model_fp16.safetensors, model.safetensors",
            "name one: owner/model:model_fp16.safetensors",
        ],
    );
    case.refused("owner/modle", Kind::Missing, &["no repository \"owner/modle\"", "/models"]);
    case.refused("owner/model@v9", Kind::Missing, &["no revision \"v9\"", "/tree/main"]);
    case.server.file("owner/empty", "README.md", b"x");
    case.refused(
        "owner/empty",
        Kind::Missing,
        &["neither \"model.safetensors\" nor \"pytorch_model.bin\"", "README.md"],
    );
}

#[test]
fn a_server_that_falls_silent_is_not_waited_for() {
    let mut case = Case::with_model();
    case.config.patience = Duration::from_millis(300);
    case.config.attempts = 2;
    case.server.trouble(Trouble::Silent { times: usize::MAX });
    let start = Instant::now();
    case.refused(REPO, Kind::Stalled, &["has been silent for 0.3 s", "HF_HUB_DOWNLOAD_TIMEOUT"]);
    assert!(start.elapsed() < Duration::from_secs(10));
    // One that takes the connection and never answers at all.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    case.config.endpoint = format!("http://{}", mute.local_addr().unwrap());
    case.refused(REPO, Kind::Stalled, &["has been silent"]);
}

#[test]
fn no_server_is_no_network() {
    let mut case = Case::with_model();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    case.config.endpoint = format!("http://{free}");
    case.refused(REPO, Kind::Network, &["cannot be reached", "efused", "HF_ENDPOINT", "File("]);
    for strange in ["nonsense", "ftp://x", "http://"] {
        case.config.endpoint = strange.into();
        case.refused(REPO, Kind::Network, &["HF_ENDPOINT"]);
    }
}

#[test]
fn an_answer_that_is_not_a_hubs() {
    let case = Case::with_model();
    case.server.trouble(Trouble::Bare);
    case.refused(REPO, Kind::Network, &["does not answer as a hub does", "HF_ENDPOINT"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_called_full() {
    let case = Case::with_model();
    fs::create_dir_all(case.partial().parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/full", case.partial()).unwrap();
    case.refused(REPO, Kind::DiskFull, &["cannot write", "free some space", "HF_HOME"]);
}

/// Weights in the cache without their card would be used without what it says.
#[test]
fn weights_come_after_their_card() {
    let case = Case::with_model();
    case.server.trouble(Trouble::Status { path: "config.json", status: 403, code: None, times: 1 });
    case.refused(REPO, Kind::Forbidden, &["owner/model"]);
    assert_eq!(case.hub().cached(&REPO.parse().unwrap()), Ok(None));
    assert!(case.fetch(REPO).unwrap().card.is_some());
    assert!(case.fetch(REPO).unwrap().card.is_some(), "from the cache");
}

#[test]
fn two_at_once_fetch_one_file() {
    let case = Case::with_model();
    let hubs = [case.hub(), case.hub(), case.hub()];
    let fetched: Vec<_> = std::thread::scope(|scope| {
        let all: Vec<_> =
            hubs.iter().map(|hub| scope.spawn(|| hub.fetch(&REPO.parse().unwrap(), &|_, _| {}).unwrap())).collect();
        all.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    fetched.iter().for_each(|f| assert_eq!(bytes(&f.path), weights()));
    assert_eq!(case.server.ranges().len(), 1, "the bytes came once");
}

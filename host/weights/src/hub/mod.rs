//! Files of the hub, through a cache that is shared with Python's `huggingface_hub`.

mod cache;
mod card;
mod config;
mod download;
mod name;
mod refusal;
mod transport;

use std::path::{Path, PathBuf};

use serde::Serialize;

use self::{
    cache::Cache,
    transport::{Remote, Transport},
};
pub use self::{card::ModelCard, config::HubConfig, name::HubName};
use crate::error::{Result, WeightError, WeightErrorKind};

/// What is taken where the name says no file, in this order.
const WEIGHTS: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];
/// What the model was: timm's card.
const CARD: &str = "config.json";
/// A larger card is none.
const CARD_BYTES: u64 = 1 << 20;

/// A file of the hub on this machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fetched {
    /// Where it lies in the cache.
    pub path: PathBuf,
    /// `owner/name`.
    pub repo: String,
    /// The commit that the asked revision stood for.
    pub revision: String,
    /// The file's path in the repository.
    pub file: String,
    pub bytes: u64,
    /// Of the file's bytes, in hexadecimal.
    pub sha256: String,
    /// Whether the hub names this sha256; it does for all but small text files.
    pub verified: bool,
    /// Whether the network was used for it, and not the cache alone.
    pub downloaded: bool,
    /// The repository's config.json, where it has one.
    pub card: Option<ModelCard>,
}

/// Fetches a file with this process's settings: see [`Hub::fetch`].
///
/// # Errors
/// See [`Hub::fetch`].
pub fn fetch(name: &HubName, progress: &dyn Fn(u64, u64)) -> Result<Fetched> {
    Hub::from_environment().fetch(name, progress)
}

/// A file of the cache with this process's settings: see [`Hub::cached`].
///
/// # Errors
/// See [`Hub::cached`].
pub fn cached(name: &HubName) -> Result<Option<Fetched>> {
    Hub::from_environment().cached(name)
}

/// The hub as some settings say.
#[derive(Clone, Debug)]
pub struct Hub {
    config: HubConfig,
}

impl Hub {
    pub fn new(config: HubConfig) -> Hub {
        Hub { config }
    }

    /// The hub with the settings of this process's environment.
    pub fn from_environment() -> Hub {
        Hub::new(HubConfig::from_environment())
    }

    pub fn config(&self) -> &HubConfig {
        &self.config
    }

    /// A file of the cache; `None` where it is not there. Never touches the network.
    ///
    /// # Errors
    /// [`WeightError`]: the cache cannot be read, or the file's bytes are not those of its name.
    pub fn cached(&self, name: &HubName) -> Result<Option<Fetched>> {
        let cache = Cache::new(&self.config.cache, name);
        let Some(commit) = cache.commit(name.revision()) else { return Ok(None) };
        let wanted: Vec<&str> = name.file.as_deref().map_or(WEIGHTS.to_vec(), |file| vec![file]);
        let found = wanted.into_iter().find(|file| cache.snapshot(&commit, file).is_file());
        let Some(file) = found else { return Ok(None) };
        let path = cache.snapshot(&commit, file);
        let sha256 = cache::sha256(&path)?;
        let claimed = cache.claimed_sha256(&commit, file);
        if claimed.as_ref().is_some_and(|claimed| *claimed != sha256) {
            return Err(refusal::damaged_in_cache(&path));
        }
        Ok(Some(Fetched {
            bytes: path.metadata().map_err(WeightError::io("read", &path))?.len(),
            card: read_card(&cache.snapshot(&commit, CARD))?,
            path,
            repo: name.repo(),
            revision: commit,
            file: file.to_owned(),
            sha256,
            verified: claimed.is_some(),
            downloaded: false,
        }))
    }

    /// A file of the cache, or else of the hub: `progress` is told its bytes so far and in all. A download that was cut off is
    /// continued, and its sha256 compared with the hub's. The network is not used for what is in the cache.
    ///
    /// # Errors
    /// [`WeightError`], which says what to do: no network, no permission, no such file, wrong bytes, a full disk.
    pub fn fetch(&self, name: &HubName, progress: &dyn Fn(u64, u64)) -> Result<Fetched> {
        let cached = match self.cached(name) {
            Err(error) if error.kind == WeightErrorKind::Checksum && !self.config.offline => {
                // Bytes that no longer fit their name are of no use to anyone.
                Cache::new(&self.config.cache, name).forget(name)?;
                None
            }
            other => other?,
        };
        if let Some(found) = cached {
            return Ok(found);
        }
        if self.config.offline {
            return Err(refusal::offline(&self.config, name));
        }
        let transport = Transport::new(&self.config, name)?;
        let cache = Cache::new(&self.config.cache, name);
        let (file, remote) = self.weights(&transport, name)?;
        // Before the weights: where those are in the cache, so is what they need to be used rightly. And of their commit, should
        // the branch move on meanwhile.
        let commit = &remote.commit;
        let card = transport.remote(commit, CARD)?.filter(|card| card.size.is_none_or(|size| size <= CARD_BYTES));
        let card = match card {
            Some(remote) => {
                let placed = download::download(&transport, &cache, commit, CARD, &remote, &|_, _| {})?;
                read_card(&placed.path)?
            }
            None => None,
        };
        let placed = download::download(&transport, &cache, name.revision(), file, &remote, progress)?;
        Ok(Fetched {
            bytes: placed.path.metadata().map_err(WeightError::io("read", &placed.path))?.len(),
            card,
            path: placed.path,
            repo: name.repo(),
            revision: remote.commit,
            file: file.to_owned(),
            sha256: placed.sha256,
            verified: placed.verified,
            downloaded: true,
        })
    }

    /// The named file, or the first of the usual ones that the repository has.
    fn weights<'n>(&self, transport: &Transport, name: &'n HubName) -> Result<(&'n str, Remote)> {
        let wanted: Vec<&'n str> = name.file.as_deref().map_or(WEIGHTS.to_vec(), |file| vec![file]);
        for &file in &wanted {
            if let Some(remote) = transport.remote(name.revision(), file)? {
                return Ok((file, remote));
            }
        }
        Err(refusal::no_file(name, &wanted, transport.listing(name.revision())))
    }
}

fn read_card(path: &Path) -> Result<Option<ModelCard>> {
    if !path.metadata().is_ok_and(|meta| meta.is_file() && meta.len() <= CARD_BYTES) {
        return Ok(None);
    }
    let json = std::fs::read(path).map_err(WeightError::io("read", path))?;
    Ok(ModelCard::parse(&json))
}

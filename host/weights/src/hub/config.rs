//! The hub's settings, with the names and the rules of `huggingface_hub`, so that both share one cache.

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

/// Where the hub is, where its files are kept, and how long it is waited for.
#[derive(Clone)]
pub struct HubConfig {
    /// `HF_ENDPOINT`: the hub, or a mirror of it.
    pub endpoint: String,
    /// `HF_HUB_CACHE`, else `HF_HOME/hub`: the cache.
    pub cache: PathBuf,
    /// `HF_TOKEN`, else the file that `hf auth login` writes.
    pub token: Option<String>,
    /// `HF_HUB_OFFLINE`: only the cache is used.
    pub offline: bool,
    /// `HF_HUB_DOWNLOAD_TIMEOUT` in seconds: the longest silence of the hub.
    pub patience: Duration,
    /// How often a request is made that fails without a byte more than before.
    pub attempts: u32,
}

/// The default of `huggingface_hub`.
const ENDPOINT: &str = "https://huggingface.co";

impl HubConfig {
    /// The settings of this process's environment: the only place that reads it.
    pub fn from_environment() -> HubConfig {
        HubConfig::from_variables(&|name| env::var(name).ok())
    }

    /// The same of any variables.
    pub fn from_variables(variable: &dyn Fn(&str) -> Option<String>) -> HubConfig {
        let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let user = set("HOME").or_else(|| set("USERPROFILE")).map(PathBuf::from);
        let path = |text: String| expand(&text, user.as_deref());
        let home = set("HF_HOME").map(path).unwrap_or_else(|| {
            let caches = set("XDG_CACHE_HOME").map(path).unwrap_or_else(|| expand("~/.cache", user.as_deref()));
            caches.join("huggingface")
        });
        let cache = set("HF_HUB_CACHE").or_else(|| set("HUGGINGFACE_HUB_CACHE")).map(path);
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let seconds = set("HF_HUB_DOWNLOAD_TIMEOUT").and_then(|text| text.trim().parse::<u32>().ok());
        HubConfig {
            endpoint: endpoint.trim().trim_end_matches('/').to_owned(),
            cache: cache.unwrap_or_else(|| home.join("hub")),
            token: token(&set, &home, &path),
            offline: ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"].into_iter().find_map(set).is_some_and(|v| is_true(&v)),
            patience: Duration::from_secs(seconds.filter(|&s| s > 0).unwrap_or(10).into()),
            attempts: 4,
        }
    }
}

/// The token itself is nobody's to print.
impl std::fmt::Debug for HubConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubConfig")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .field("token", &self.token.as_ref().map(|_| "set"))
            .field("offline", &self.offline)
            .field("patience", &self.patience)
            .field("attempts", &self.attempts)
            .finish()
    }
}

fn token(set: &impl Fn(&str) -> Option<String>, home: &Path, path: &impl Fn(String) -> PathBuf) -> Option<String> {
    let clean = |text: String| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    if set("HF_HUB_DISABLE_IMPLICIT_TOKEN").is_some_and(|value| is_true(&value)) {
        return None;
    }
    if let Some(token) = set("HF_TOKEN").or_else(|| set("HUGGING_FACE_HUB_TOKEN")) {
        return clean(token);
    }
    let file = set("HF_TOKEN_PATH").map(path).unwrap_or_else(|| home.join("token"));
    std::fs::read_to_string(file).ok().and_then(clean)
}

fn is_true(value: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].contains(&value.trim().to_uppercase().as_str())
}

/// `~` at the beginning is the user's folder.
fn expand(text: &str, user: Option<&Path>) -> PathBuf {
    match (text.strip_prefix('~'), user) {
        (Some(""), Some(user)) => user.to_owned(),
        (Some(rest), Some(user)) if rest.starts_with('/') => user.join(&rest[1..]),
        _ => PathBuf::from(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> HubConfig {
        HubConfig::from_variables(&|name| {
            variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn defaults_are_those_of_the_python_library() {
        let plain = config(&[("HOME", "/u")]);
        assert_eq!(plain.endpoint, "https://huggingface.co");
        assert_eq!(plain.cache, Path::new("/u/.cache/huggingface/hub"));
        assert_eq!((plain.token, plain.offline, plain.patience), (None, false, Duration::from_secs(10)));
    }

    #[test]
    fn every_variable_has_its_place() {
        let home = config(&[("HOME", "/u"), ("HF_HOME", "~/hf"), ("HF_HUB_OFFLINE", "yes")]);
        assert_eq!((home.cache.as_path(), home.offline), (Path::new("/u/hf/hub"), true));
        let cache = config(&[
            ("HF_HOME", "/a"),
            ("HF_HUB_CACHE", "/b"),
            ("HF_ENDPOINT", "https://mirror/"),
            ("HF_HUB_DOWNLOAD_TIMEOUT", "3"),
            ("HF_HUB_OFFLINE", "0"),
        ]);
        assert_eq!((cache.cache.as_path(), cache.endpoint.as_str()), (Path::new("/b"), "https://mirror"));
        assert_eq!((cache.patience, cache.offline), (Duration::from_secs(3), false));
        assert_eq!(config(&[("XDG_CACHE_HOME", "/x")]).cache, Path::new("/x/huggingface/hub"));
        assert!(config(&[("TRANSFORMERS_OFFLINE", "1")]).offline);
    }

    #[test]
    fn the_token_is_found_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "hf_file\n").unwrap();
        let home = folder.path().to_str().unwrap();
        assert_eq!(config(&[("HF_HOME", home)]).token.as_deref(), Some("hf_file"));
        let set = config(&[("HF_HOME", home), ("HF_TOKEN", " hf_set ")]);
        assert_eq!(set.token.as_deref(), Some("hf_set"));
        assert!(!format!("{set:?}").contains("hf_set"));
        assert_eq!(
            config(&[("HF_HOME", home), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"), ("HF_TOKEN", "hf_set")]).token,
            None
        );
    }
}

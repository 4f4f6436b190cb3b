//! Requests to the hub.
//!
//! `hf-hub` knows its addresses, tokens, listings and streams. What it does not do is done here: a limit on silence; a `HEAD`
//! that stops at the hub's redirect, since only the hub's own answer names commit and sha256 and not that of the store which the
//! redirect leads to.

use std::{future::Future, time::Duration};

use futures_util::StreamExt;
use hf_hub::{HFClient, HFError, HFRepository, RepoTypeModel};
use reqwest::{
    Client, Response, StatusCode, Url,
    header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, ETAG, HeaderMap, LOCATION},
    redirect::Policy,
};
use tokio::{
    runtime::{Builder, Runtime},
    time::{sleep, timeout},
};

use super::{
    HubConfig, HubName,
    cache::{checked_tag, is_commit, is_sha256},
    refusal,
};
use crate::error::{Result, WeightError, WeightErrorKind};

/// The hub, for one repository.
pub struct Transport {
    runtime: Runtime,
    head: Client,
    repository: HFRepository<RepoTypeModel>,
    config: HubConfig,
    name: HubName,
}

/// What the hub says of a file.
#[derive(Clone, Debug)]
pub struct Remote {
    pub commit: String,
    /// The name of its bytes.
    pub etag: String,
    /// Of the bytes, where they are stored by it.
    pub sha256: Option<String>,
    pub size: Option<u64>,
}

/// A request that failed: for now, or for good.
#[derive(Debug)]
pub enum Trouble {
    Passing(WeightError),
    Lasting(WeightError),
}

impl Trouble {
    fn into_error(self) -> WeightError {
        match self {
            Trouble::Passing(error) | Trouble::Lasting(error) => error,
        }
    }
}

impl From<WeightError> for Trouble {
    fn from(error: WeightError) -> Trouble {
        Trouble::Lasting(error)
    }
}

impl Transport {
    pub fn new(config: &HubConfig, name: &HubName) -> Result<Transport> {
        let failed = |what: &dyn std::fmt::Display| {
            WeightError::new(
                WeightErrorKind::Network,
                format!("cannot prepare requests to {}: {what}", config.endpoint),
            )
            .help("HF_ENDPOINT is the address of a hub, such as https://huggingface.co")
        };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|e| failed(&e))?;
        let head = Client::builder().redirect(Policy::none()).build().map_err(|e| failed(&e))?;
        // Retries are made here, where it is known whether a byte has arrived since the last.
        let client = HFClient::builder()
            .endpoint(&config.endpoint)
            .cache_dir(&config.cache)
            .cache_enabled(false)
            .retry_max_attempts(0);
        let client = match &config.token {
            Some(token) => client.token(token),
            None => client,
        };
        let client = client.build().map_err(|e| failed(&e))?;
        let repository = client.model(&name.owner, &name.name);
        Ok(Transport { runtime, head, repository, config: config.clone(), name: name.clone() })
    }

    pub fn config(&self) -> &HubConfig {
        &self.config
    }

    /// What the hub says of a file; `None` where the repository has none of that name.
    pub fn remote(&self, revision: &str, file: &str) -> Result<Option<Remote>> {
        self.patiently(|| self.head(revision, file))
    }

    /// The paths of all files of a revision.
    pub fn listing(&self, revision: &str) -> Result<Vec<String>> {
        self.patiently(|| async {
            let info =
                self.in_time(self.repository.info().revision(revision).send()).await?.map_err(|e| self.trouble(e))?;
            Ok(info.siblings.unwrap_or_default().into_iter().map(|file| file.rfilename).collect())
        })
    }

    /// Hands the bytes of a file to `take`, from `start` on where that is not its beginning.
    pub fn stream(
        &self,
        commit: &str,
        file: &str,
        range: Option<std::ops::Range<u64>>,
        take: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<(), Trouble> {
        self.runtime.block_on(async {
            let request = self.repository.download_file_stream().filename(file).revision(commit).maybe_range(range);
            let (_, mut stream) = self.in_time(request.send()).await?.map_err(|e| self.trouble(e))?;
            while let Some(chunk) = self.in_time(stream.next()).await? {
                let broken = |e: HFError| Trouble::Passing(refusal::cut_off(&self.config, &causes(&e)));
                take(&chunk.map_err(broken)?)?;
            }
            Ok(())
        })
    }

    /// Waits before the next attempt; longer each time.
    pub fn pause(&self, attempt: u32) {
        std::thread::sleep(pause(attempt));
    }

    /// A request, repeated as often as is allowed while its trouble is a passing one.
    fn patiently<T, F: Future<Output = Result<T, Trouble>>>(&self, request: impl Fn() -> F) -> Result<T> {
        self.runtime.block_on(async {
            for attempt in 1.. {
                match request().await {
                    Err(Trouble::Passing(error)) if attempt < self.config.attempts => {
                        tracing::debug!(%error, attempt, "asking the hub again");
                        sleep(pause(attempt)).await;
                    }
                    other => return other.map_err(Trouble::into_error),
                }
            }
            unreachable!("the last attempt returns")
        })
    }

    async fn in_time<T>(&self, future: impl Future<Output = T>) -> Result<T, Trouble> {
        let limit = timeout(self.config.patience, future).await;
        limit.map_err(|_| Trouble::Passing(refusal::stalled(&self.config)))
    }

    async fn head(&self, revision: &str, file: &str) -> Result<Option<Remote>, Trouble> {
        let mut url = self.address(revision, file)?;
        for _ in 0..5 {
            let mut request = self.head.head(url.clone()).header(ACCEPT_ENCODING, "identity");
            if let Some(token) = &self.config.token {
                request = request.header(AUTHORIZATION, format!("Bearer {token}"));
            }
            let response = self
                .in_time(request.send())
                .await?
                .map_err(|e| Trouble::Passing(refusal::no_network(&self.config, &causes(&e.without_url()))))?;
            // A repository that was renamed: the hub leads to its new name, on the hub itself.
            match moved(&url, &response) {
                Some(next) => url = next,
                None => return self.answer(revision, &response),
            }
        }
        Err(self.strange("it redirects without end").into())
    }

    fn answer(&self, revision: &str, response: &Response) -> Result<Option<Remote>, Trouble> {
        let (status, headers) = (response.status(), response.headers());
        let code = text(headers, "x-error-code");
        if status == StatusCode::NOT_FOUND && matches!(code, None | Some("EntryNotFound")) {
            return Ok(None);
        }
        if !status.is_success() && !status.is_redirection() {
            return Err(self.refused(status, code));
        }
        let commit = text(headers, "x-repo-commit").filter(|commit| is_commit(commit));
        let commit = commit.or(Some(revision).filter(|revision| is_commit(revision)));
        let etag = text(headers, "x-linked-etag").or_else(|| text(headers, ETAG.as_str()));
        let (Some(commit), Some(etag)) = (commit, etag) else {
            return Err(self.strange("it names no commit or no tag of the file").into());
        };
        let etag = checked_tag(etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"'))?;
        let own_length = (!status.is_redirection()).then(|| text(headers, CONTENT_LENGTH.as_str())).flatten();
        let size = text(headers, "x-linked-size").or(own_length).and_then(|size| size.parse().ok());
        let sha256 = is_sha256(etag).then(|| etag.to_owned());
        Ok(Some(Remote { commit: commit.to_owned(), etag: etag.to_owned(), sha256, size }))
    }

    fn address(&self, revision: &str, file: &str) -> Result<Url> {
        let strange = || self.strange("HF_ENDPOINT is no address");
        let mut url = Url::parse(&self.config.endpoint).map_err(|_| strange())?;
        // Each part is escaped, and a revision's own slashes too.
        url.path_segments_mut()
            .map_err(|()| strange())?
            .pop_if_empty()
            .extend([&*self.name.owner, &*self.name.name, "resolve", revision])
            .extend(file.split('/'));
        Ok(url)
    }

    fn refused(&self, status: StatusCode, code: Option<&str>) -> Trouble {
        let error = refusal::refused(&self.config, &self.name, status.as_u16(), code);
        match status.as_u16() {
            408 | 429 | 500 | 502..=504 => Trouble::Passing(error),
            _ => Trouble::Lasting(error),
        }
    }

    fn strange(&self, why: &str) -> WeightError {
        let sentence = format!("{} does not answer as a hub does: {why}", self.config.endpoint);
        WeightError::new(WeightErrorKind::Network, sentence)
            .help("check HF_ENDPOINT, and whether this network asks to log in on a page of its own")
    }

    /// What an error of the library means.
    fn trouble(&self, error: HFError) -> Trouble {
        match &error {
            HFError::AuthRequired { context } | HFError::Forbidden { context } | HFError::Http { context } => {
                self.refused(context.status, context.error_code.as_deref())
            }
            HFError::RateLimited { context, .. } => self.refused(context.status, None),
            HFError::RepoNotFound { context, .. }
            | HFError::RevisionNotFound { context, .. }
            | HFError::EntryNotFound { context, .. } => {
                let code = context.as_ref().and_then(|c| c.error_code.as_deref());
                self.refused(StatusCode::NOT_FOUND, code)
            }
            HFError::Request { .. } => Trouble::Passing(refusal::no_network(&self.config, &causes(&error))),
            _ => Trouble::Lasting(self.strange(&causes(&error))),
        }
    }
}

/// Where the hub leads within itself. Another host is the store of the bytes: not followed.
fn moved(url: &Url, response: &Response) -> Option<Url> {
    if !response.status().is_redirection() || response.headers().contains_key("x-linked-etag") {
        return None;
    }
    let next = url.join(text(response.headers(), LOCATION.as_str())?).ok()?;
    (next.origin() == url.origin()).then_some(next)
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn pause(attempt: u32) -> Duration {
    Duration::from_millis(200) * 2u32.pow(attempt.min(5) - 1)
}

/// The innermost cause, which says most: "Connection refused".
fn causes(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(cause) = inner.source() {
        inner = cause;
    }
    inner.to_string()
}

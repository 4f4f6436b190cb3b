//! A hub in miniature on this machine: repositories with files, the redirect to a store of bytes, and misbehaviour on demand.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use sha2::{Digest, Sha256};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What goes wrong, each time until its count is used up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A status for every request whose path holds the text.
    Status { path: &'static str, status: u16, code: Option<&'static str>, times: usize },
    /// The store closes the connection after so many bytes.
    Cut { after: usize, times: usize },
    /// The store sends other bytes than those asked for.
    Wrong { times: usize },
    /// The store answers and then says nothing.
    Silent { times: usize },
    /// The store sends all of a file whatever part is asked for.
    Whole,
    /// No header names the size, commit or tag.
    Bare,
}

/// What has been asked: method, path, and the range if any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub range: Option<String>,
    pub token: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    /// By repository and path.
    files: BTreeMap<(String, String), Vec<u8>>,
    troubles: Vec<Trouble>,
    asked: Vec<Asked>,
}

/// The running hub; its threads end with the process.
#[derive(Clone, Debug)]
pub struct Server {
    pub endpoint: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let server = Server { endpoint, state: Arc::default() };
        let hub = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let hub = hub.clone();
                thread::spawn(move || hub.serve(stream));
            }
        });
        server
    }

    pub fn file(&self, repo: &str, path: &str, content: &[u8]) -> &Server {
        self.state.lock().unwrap().files.insert((repo.to_owned(), path.to_owned()), content.to_vec());
        self
    }

    pub fn trouble(&self, trouble: Trouble) -> &Server {
        self.state.lock().unwrap().troubles.push(trouble);
        self
    }

    pub fn well(&self) {
        self.state.lock().unwrap().troubles.clear();
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.state.lock().unwrap().asked.clone()
    }

    /// The ranges that the store was asked for, in order; `None` for a whole file.
    pub fn ranges(&self) -> Vec<Option<String>> {
        let store = |a: &Asked| a.method == "GET" && a.path.starts_with("/store/");
        self.asked().into_iter().filter(store).map(|a| a.range).collect()
    }

    /// Uses up one of the troubles that fit.
    fn take(&self, fits: impl Fn(&Trouble) -> bool) -> Option<Trouble> {
        let mut state = self.state.lock().unwrap();
        let found = state.troubles.iter_mut().find(|trouble| {
            let left = match trouble {
                Trouble::Status { times, .. }
                | Trouble::Cut { times, .. }
                | Trouble::Wrong { times }
                | Trouble::Silent { times } => *times,
                Trouble::Whole | Trouble::Bare => 1,
            };
            left > 0 && fits(trouble)
        })?;
        if let Trouble::Status { times, .. }
        | Trouble::Cut { times, .. }
        | Trouble::Wrong { times }
        | Trouble::Silent { times } = found
        {
            *times -= 1;
        }
        Some(found.clone())
    }

    /// One request a connection.
    fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let mut words = line.split_whitespace();
        let mut asked =
            Asked { method: words.next()?.to_owned(), path: words.next()?.to_owned(), range: None, token: None };
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            match header.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("range") => asked.range = Some(value.to_owned()),
                Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                    asked.token = Some(value.to_owned())
                }
                Some(_) => {}
                None => break,
            }
        }
        self.state.lock().unwrap().asked.push(asked.clone());
        self.answer(stream, &asked)
    }

    fn answer(&self, mut stream: TcpStream, asked: &Asked) -> Option<()> {
        let status = self.take(|t| matches!(t, Trouble::Status { path, .. } if asked.path.contains(path)));
        if let Some(Trouble::Status { status, code, .. }) = status {
            let code = code.map(|code| format!("x-error-code: {code}\r\n")).unwrap_or_default();
            return head(&mut stream, status, &format!("{code}content-length: 0\r\n"));
        }
        let path = asked.path.split('?').next()?;
        if let Some(rest) = path.strip_prefix("/api/models/") {
            return self.list(stream, rest);
        }
        if let Some(rest) = path.strip_prefix("/store/") {
            return self.store(stream, asked, rest);
        }
        let mut parts = path.trim_start_matches('/').splitn(5, '/');
        let repo = format!("{}/{}", parts.next()?, parts.next()?);
        let (_resolve, revision, file) = (parts.next()?, parts.next()?, parts.next()?);
        if !self.has(&repo) {
            return head(&mut stream, 404, "x-error-code: RepoNotFound\r\ncontent-length: 0\r\n");
        }
        if !["main", "v1", COMMIT].contains(&revision) {
            return head(&mut stream, 404, "x-error-code: RevisionNotFound\r\ncontent-length: 0\r\n");
        }
        let content = self.state.lock().unwrap().files.get(&(repo.clone(), file.to_owned())).cloned();
        let Some(content) = content else {
            return head(&mut stream, 404, "x-error-code: EntryNotFound\r\ncontent-length: 0\r\n");
        };
        if self.take(|t| *t == Trouble::Bare).is_some() {
            return head(&mut stream, 200, "content-length: 0\r\n");
        }
        let commit = format!("x-repo-commit: {COMMIT}\r\n");
        // Small text files lie in git, and the hub sends them itself.
        if file.ends_with(".json") {
            let tag = format!("{commit}etag: \"{}\"\r\ncontent-length: {}\r\n", &sha256(&content)[..40], content.len());
            head(&mut stream, 200, &tag)?;
            if asked.method == "GET" {
                stream.write_all(&content).ok()?;
            }
            return Some(());
        }
        let linked = format!(
            "{commit}x-linked-etag: \"{}\"\r\nx-linked-size: {}\r\netag: \"elsewhere\"\r\n",
            sha256(&content),
            content.len()
        );
        // Another host than the hub's: `localhost` where that is `127.0.0.1`.
        let store = self.endpoint.replace("127.0.0.1", "localhost");
        head(&mut stream, 302, &format!("{linked}location: {store}/store/{repo}/{file}\r\ncontent-length: 0\r\n"))
    }

    fn has(&self, repo: &str) -> bool {
        self.state.lock().unwrap().files.keys().any(|(r, _)| r == repo)
    }

    fn list(&self, mut stream: TcpStream, rest: &str) -> Option<()> {
        let (repo, revision) = rest.split_once("/revision/").unwrap_or((rest, "main"));
        if !self.has(repo) || !["main", "v1", COMMIT].contains(&revision) {
            let code = if self.has(repo) { "RevisionNotFound" } else { "RepoNotFound" };
            return head(&mut stream, 404, &format!("x-error-code: {code}\r\ncontent-length: 0\r\n"));
        }
        let state = self.state.lock().unwrap();
        let files = state.files.keys().filter(|(r, _)| r == repo);
        let siblings: Vec<_> = files.map(|(_, path)| serde_json::json!({ "rfilename": path })).collect();
        let body = serde_json::json!({ "id": repo, "sha": COMMIT, "siblings": siblings }).to_string();
        let headers = format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
        head(&mut stream, 200, &headers)?;
        stream.write_all(body.as_bytes()).ok()
    }

    /// The store of bytes: what the hub leads to, without a word of commits.
    fn store(&self, mut stream: TcpStream, asked: &Asked, rest: &str) -> Option<()> {
        let mut parts = rest.splitn(3, '/');
        let key = (format!("{}/{}", parts.next()?, parts.next()?), parts.next()?.to_owned());
        let mut content = self.state.lock().unwrap().files.get(&key).cloned()?;
        let whole = content.len();
        let range = asked.range.as_ref().filter(|_| self.take(|t| *t == Trouble::Whole).is_none());
        let mut headers = "etag: \"of the store\"\r\n".to_owned();
        let status = match range {
            Some(range) => {
                let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
                let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
                content = content[first..=last].to_vec();
                headers += &format!("content-range: bytes {first}-{last}/{whole}\r\n");
                206
            }
            None => 200,
        };
        headers += &format!("content-length: {}\r\n", content.len());
        head(&mut stream, status, &headers)?;
        if asked.method != "GET" {
            return Some(());
        }
        if self.take(|t| matches!(t, Trouble::Wrong { .. })).is_some() {
            content.iter_mut().for_each(|byte| *byte ^= 1);
        }
        if let Some(Trouble::Cut { after, .. }) = self.take(|t| matches!(t, Trouble::Cut { .. })) {
            stream.write_all(&content[..after.min(content.len())]).ok()?;
            stream.flush().ok()?;
            return stream.shutdown(Shutdown::Both).ok();
        }
        if self.take(|t| matches!(t, Trouble::Silent { .. })).is_some() {
            thread::sleep(Duration::from_secs(30));
            return None;
        }
        stream.write_all(&content).ok()
    }
}

fn head(stream: &mut TcpStream, status: u16, headers: &str) -> Option<()> {
    stream.write_all(format!("HTTP/1.1 {status} So\r\nconnection: close\r\n{headers}\r\n").as_bytes()).ok()?;
    stream.flush().ok()
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

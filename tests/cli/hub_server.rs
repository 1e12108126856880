//! A Hub of one's own on this machine: what the program asks of the real one, and what can go wrong.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use serde_json::{Value, json};

/// How many files a page of a listing has.
const PAGE: usize = 2;

/// A running server. Its thread ends with the test.
pub struct Server {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// `models/owner/name` or `datasets/owner/name`.
    repositories: BTreeMap<String, Repository>,
    requests: Vec<Request>,
    fault: Option<Fault>,
}

#[derive(Default)]
struct Repository {
    /// Branch or tag → commit.
    branches: BTreeMap<String, String>,
    /// Commit → path → content.
    commits: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    token: Option<String>,
    gated: bool,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The next time that bytes of a large file are sent, the connection ends after so many.
    Cut(usize),
    /// The same, but the connection stays open and nothing more comes.
    Stall(usize),
    /// A byte of every large file is another one.
    Change,
    /// Ranges are ignored, after one cut.
    CutWithoutRanges(usize),
    /// Listings say that large files are this large.
    Pretend(u64),
    /// So many requests are answered that the server is busy.
    Busy(usize),
}

/// What was asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Path and query.
    pub path: String,
    pub range: Option<String>,
    pub authorization: Option<String>,
}

impl Server {
    pub fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = shared.clone();
                // A client that has gone is no problem of the server.
                std::thread::spawn(move || drop(serve(stream, &state, port)));
            }
        });
        Server { port, state }
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Makes a commit with these files and lets the branch point to it. Returns the commit.
    pub fn commit(&self, repository: &str, branch: &str, files: &[(&str, &[u8])]) -> String {
        let files: BTreeMap<String, Vec<u8>> =
            files.iter().map(|(path, content)| (path.to_string(), content.to_vec())).collect();
        let mut state = self.lock();
        let repository = state.repositories.entry(repository.to_string()).or_default();
        let text = format!("{branch} {} {files:?}", repository.commits.len());
        let commit = sha1(text.as_bytes());
        repository.branches.insert(branch.to_string(), commit.clone());
        repository.commits.insert(commit.clone(), files);
        commit
    }

    /// Lets only those in who have the token.
    pub fn protect(&self, repository: &str, token: &str, gated: bool) {
        let mut state = self.lock();
        let repository = state.repositories.get_mut(repository).unwrap();
        (repository.token, repository.gated) = (Some(token.to_string()), gated);
    }

    pub fn fail(&self, fault: Fault) {
        self.lock().fault = Some(fault);
    }

    pub fn mend(&self) {
        self.lock().fault = None;
    }

    /// The requests since the last call.
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.lock().requests)
    }

    /// The files whose bytes were asked for since the last call.
    pub fn downloads(&self) -> Vec<String> {
        let file = |request: Request| Some(request.path.split_once("/resolve/")?.1.split_once('/')?.1.to_string());
        let mut files: Vec<String> = self.requests().into_iter().filter_map(file).collect();
        files.sort();
        files
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

pub fn sha1(bytes: &[u8]) -> String {
    hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref())
}

pub fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Git's digest of a file.
pub fn oid(bytes: &[u8]) -> String {
    sha1(&[format!("blob {}\0", bytes.len()).as_bytes(), bytes].concat())
}

/// Whether a file is in Git LFS.
fn is_large(path: &str) -> bool {
    path.ends_with(".safetensors") || path.ends_with(".bin") || path.ends_with(".png")
}

struct Answer {
    status: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn new(status: &'static str, headers: &[(&'static str, String)], body: impl Into<Vec<u8>>) -> Answer {
        Answer { status, headers: headers.to_vec(), body: body.into() }
    }

    fn error(status: &'static str, code: &str) -> Answer {
        Answer::new(status, &[("X-Error-Code", code.to_string())], "{}")
    }

    fn json(headers: &[(&'static str, String)], value: Value) -> Answer {
        Answer::new("200 OK", headers, value.to_string())
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>, port: u16) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_string();
    let mut request = Request { path, range: None, authorization: None };
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "range" => request.range = Some(value.to_string()),
            "authorization" => request.authorization = Some(value.to_string()),
            _ => {}
        }
    }
    let (mut answer, fault) = {
        let mut state = state.lock().unwrap();
        state.requests.push(request.clone());
        if let Some(Fault::Busy(left)) = state.fault.take_if(|fault| matches!(fault, Fault::Busy(_))) {
            state.fault = (left > 1).then_some(Fault::Busy(left - 1));
            (Answer::error("503 Service Unavailable", ""), None)
        } else {
            let answer = answer(&state, &request, port);
            let fault = state.fault.clone().filter(|_| request.path.starts_with("/cdn/"));
            if matches!(fault, Some(Fault::Cut(_) | Fault::Stall(_))) {
                state.fault = None;
            } else if matches!(fault, Some(Fault::CutWithoutRanges(_))) {
                state.fault = Some(Fault::CutWithoutRanges(usize::MAX));
            }
            (answer, fault)
        }
    };
    let whole = answer.body.len();
    let mut sent = whole;
    match fault {
        Some(Fault::Cut(after) | Fault::Stall(after)) => sent = after.min(whole),
        Some(Fault::CutWithoutRanges(after)) => sent = after.min(whole),
        Some(Fault::Change) => answer.body[whole / 2] ^= 1,
        _ => {}
    }
    write!(stream, "HTTP/1.1 {}\r\nContent-Length: {whole}\r\nConnection: close\r\n", answer.status)?;
    for (name, value) in &answer.headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    stream.write_all(b"\r\n")?;
    stream.write_all(&answer.body[..sent])?;
    stream.flush()?;
    if matches!(fault, Some(Fault::Stall(_))) {
        // Until the client goes.
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let _ = reader.read(&mut [0]);
    }
    Ok(())
}

fn answer(state: &State, request: &Request, port: u16) -> Answer {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (key, rest) = match parts.as_slice() {
        ["cdn", sha256] => return cdn(state, request, sha256),
        ["api", kind, owner, name, rest @ ..] => (format!("{kind}/{owner}/{name}"), rest),
        ["datasets", owner, name, rest @ ..] => (format!("datasets/{owner}/{name}"), rest),
        [owner, name, rest @ ..] => (format!("models/{owner}/{name}"), rest),
        _ => return Answer::error("404 Not Found", ""),
    };
    let Some(repository) = state.repositories.get(&key) else {
        // The Hub does not tell strangers which private repositories there are.
        return Answer::error("401 Unauthorized", "RepoNotFound");
    };
    let bearer = repository.token.as_ref().map(|token| format!("Bearer {token}"));
    if bearer.is_some() && request.authorization != bearer {
        return match repository.gated {
            true => Answer::error("403 Forbidden", "GatedRepo"),
            false => Answer::error("401 Unauthorized", "RepoNotFound"),
        };
    }
    let find = |revision: &str| -> Option<(String, &BTreeMap<String, Vec<u8>>)> {
        let revision = revision.replace("%2F", "/");
        let commit = repository.branches.get(&revision).unwrap_or(&revision).clone();
        repository.commits.get(&commit).map(|files| (commit, files))
    };
    let no_revision = || Answer::error("404 Not Found", "RevisionNotFound");
    match rest {
        ["revision", revision] => match find(revision) {
            Some((commit, _)) => Answer::json(&[], json!({"id": key, "sha": commit})),
            None => no_revision(),
        },
        ["tree", revision, folder @ ..] => match find(revision) {
            Some((_, files)) => tree(state, path, files, &folder.join("/"), query, port),
            None => no_revision(),
        },
        ["resolve", revision, file @ ..] => {
            let Some((commit, files)) = find(revision) else { return no_revision() };
            let file = file.join("/").replace("%20", " ");
            let Some(content) = files.get(&file) else { return Answer::error("404 Not Found", "EntryNotFound") };
            let commit = ("X-Repo-Commit", commit);
            if !is_large(&file) {
                return ranged(request, content, &[commit, ("ETag", format!("\"{}\"", oid(content)))]);
            }
            let digest = sha256(content);
            // By another name of this machine, as the files of the Hub lie with another host.
            let location = format!("http://localhost:{port}/cdn/{digest}?signature=1");
            let (etag, size) = (format!("\"{digest}\""), content.len().to_string());
            let headers = [commit, ("X-Linked-ETag", etag), ("X-Linked-Size", size), ("Location", location)];
            Answer::new("302 Found", &headers, "")
        }
        _ => Answer::error("404 Not Found", ""),
    }
}

fn cdn(state: &State, request: &Request, digest: &str) -> Answer {
    let commits = state.repositories.values().flat_map(|repository| repository.commits.values());
    let content = commits.flat_map(BTreeMap::values).find(|content| sha256(content) == digest);
    match (content, &state.fault) {
        (Some(content), Some(Fault::CutWithoutRanges(_))) => Answer::new("200 OK", &[], content.clone()),
        (Some(content), _) => ranged(request, content, &[]),
        (None, _) => Answer::error("404 Not Found", ""),
    }
}

/// All of the content, or what the range asks for.
fn ranged(request: &Request, content: &[u8], headers: &[(&'static str, String)]) -> Answer {
    let start = request.range.as_ref().and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let Some(start) = start else { return Answer::new("200 OK", headers, content) };
    if start >= content.len() {
        return Answer::new("416 Range Not Satisfiable", headers, "");
    }
    let range = format!("bytes {start}-{}/{}", content.len() - 1, content.len());
    let headers = [headers, &[("Content-Range", range)]].concat();
    Answer::new("206 Partial Content", &headers, &content[start..])
}

/// A page of a listing.
fn tree(state: &State, path: &str, files: &BTreeMap<String, Vec<u8>>, folder: &str, query: &str, port: u16) -> Answer {
    let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let recursive = query.contains("recursive=true");
    let mut items: BTreeMap<String, Value> = BTreeMap::new();
    for (file, content) in files {
        let Some(below) = file.strip_prefix(&prefix) else { continue };
        let inner = below.match_indices('/').map(|(at, _)| format!("{prefix}{}", &below[..at]));
        let depth = if recursive { usize::MAX } else { 1 };
        for inner in inner.take(depth) {
            items.insert(inner.clone(), json!({"type": "directory", "oid": "0".repeat(40), "size": 0, "path": inner}));
        }
        if below.contains('/') && !recursive {
            continue;
        }
        let mut item = json!({"type": "file", "oid": oid(content), "size": content.len(), "path": file});
        if is_large(file) {
            let size = match state.fault {
                Some(Fault::Pretend(size)) => size,
                _ => content.len() as u64,
            };
            item["size"] = json!(size);
            item["lfs"] = json!({"oid": sha256(content), "size": size, "pointerSize": 130});
        }
        items.insert(file.clone(), item);
    }
    if items.is_empty() {
        return Answer::error("404 Not Found", "EntryNotFound");
    }
    let cursor = query.split('&').find_map(|pair| pair.strip_prefix("cursor=")).and_then(|cursor| cursor.parse().ok());
    let first: usize = cursor.unwrap_or(0);
    let page: Vec<&Value> = items.values().skip(first).take(PAGE).collect();
    let next = first + PAGE;
    let link = format!("<http://127.0.0.1:{port}{path}?recursive={recursive}&cursor={next}>; rel=\"next\"");
    let headers = if next < items.len() { vec![("Link", link)] } else { vec![] };
    Answer::json(&headers, json!(page))
}

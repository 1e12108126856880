//! Requests to the Hub: which commit a revision is, what a folder holds, and the bytes of a file.

use std::thread::sleep;
use std::time::Duration;

use hf_hub::Cache;
use hf_hub::api::sync::{Api, ApiBuilder};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::config::RedirectAuthHeaders;
use ureq::http::{Response, StatusCode, Uri};
use ureq::{Agent, Body};

use super::error::Reason;
use super::listing::Entry;
use super::name::{Name, is_hex};
use super::settings::{Settings, Token};

/// How often a request is made that a busy server refuses.
const ATTEMPTS: u32 = 4;
/// The pause after the first of them; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a connection may take, the head of an answer, and the next bytes of it.
const PATIENCE: [Duration; 3] = [Duration::from_secs(10), Duration::from_secs(30), Duration::from_secs(30)];
/// The most bytes of one page of a listing.
const LARGEST_PAGE: u64 = 256 << 20;
/// What need not be escaped in a part of a path.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A connection to the Hub.
pub(super) struct Client {
    api: Api,
    agent: Agent,
    endpoint: String,
    host: String,
    token: Option<Token>,
}

/// What the Hub lists of a file or folder.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Item {
    #[serde(rename = "type")]
    kind: String,
    pub path: String,
    #[serde(default)]
    oid: String,
    #[serde(default)]
    size: u64,
    lfs: Option<Large>,
}

/// A file in Git LFS.
#[derive(Debug, Clone, Deserialize)]
struct Large {
    /// SHA-256.
    oid: String,
    size: u64,
}

/// The beginning of an answer with the bytes of a file.
pub(super) struct Opened {
    /// Where in the file the bytes begin.
    pub start: u64,
    pub body: Body,
}

impl Item {
    pub fn is_folder(&self) -> bool {
        self.kind == "directory"
    }

    /// The file, if it is one.
    pub fn entry(&self) -> Option<Entry> {
        let (sha256, size) = match &self.lfs {
            Some(large) => (Some(large.oid.trim_start_matches("sha256:").to_string()), large.size),
            None => (None, self.size),
        };
        (self.kind == "file").then(|| Entry { path: self.path.clone(), size, oid: self.oid.clone(), sha256 })
    }
}

impl Client {
    pub fn new(settings: &Settings) -> Result<Client, Reason> {
        let endpoint = settings.endpoint.clone();
        let address: Uri = endpoint.parse().map_err(|_| Reason::Endpoint)?;
        let known = matches!(address.scheme_str(), Some("http" | "https"));
        // Only the host is ever told: an address may hold a password.
        let host = address.host().filter(|_| known).ok_or(Reason::Endpoint)?.to_string();
        let token = settings.token.clone();
        let api = ApiBuilder::from_cache(Cache::new(settings.cache.clone()))
            .with_endpoint(endpoint.clone())
            .with_token(token.as_ref().map(|token| token.secret().to_string()))
            .with_user_agent("runner", env!("CARGO_PKG_VERSION"))
            .with_progress(false)
            .build()
            .map_err(|error| Reason::Unreachable { host: host.clone(), why: error.to_string() })?;
        let [connect, head, next] = PATIENCE;
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // A file may lie with another host, which the token is none of the business of.
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .user_agent(concat!("runner/", env!("CARGO_PKG_VERSION")))
            // A range of compressed bytes is none of the file: servers then ignore the range.
            .accept_encoding("identity")
            .max_idle_connections_per_host(8)
            .timeout_connect(Some(connect))
            .timeout_recv_response(Some(head))
            .timeout_per_read(Some(next))
            .build()
            .into();
        Ok(Client { api, agent, endpoint, host, token })
    }

    /// The commit that the revision of a value is at now.
    pub fn commit(&self, name: &Name) -> Result<String, Reason> {
        #[derive(Deserialize)]
        struct Info {
            sha: String,
        }
        let repository = self.api.repo(name.repo());
        let [connect, head, next] = PATIENCE;
        let answer = self.ask(name, || {
            let request = repository.info_request().query("expand", "sha").config().http_status_as_error(false);
            let request = request.timeout_connect(Some(connect)).timeout_recv_response(Some(head));
            request.timeout_per_read(Some(next)).build().call()
        })?;
        let info: Info = self.json(answer)?;
        match is_hex(&info.sha, 40) {
            true => Ok(info.sha),
            false => Err(self.unexpected("the commit is not one")),
        }
    }

    /// What a folder holds at a commit; with `recursive` also what its folders hold.
    pub fn tree(&self, name: &Name, commit: &str, folder: &str, recursive: bool) -> Result<Vec<Item>, Reason> {
        let kind = if name.dataset { "datasets" } else { "models" };
        let slash = if folder.is_empty() { "" } else { "/" };
        let address =
            format!("{}/api/{kind}/{}/tree/{commit}{slash}{}", self.endpoint, name.repository, escaped(folder));
        let mut items = Vec::new();
        let mut query = format!("recursive={recursive}&expand=false");
        loop {
            let answer = self.ask(name, || self.get(&format!("{address}?{query}"), 0));
            let answer = answer.map_err(|reason| match reason {
                // Mirrors do not say what it is that they have not.
                Reason::NoRepository { .. } if !folder.is_empty() => {
                    Reason::NoPath { path: folder.to_string(), near: None }
                }
                reason => reason,
            })?;
            let next = next_page(&answer);
            items.extend(self.json::<Vec<Item>>(answer)?);
            match next {
                Some(next) if next != query => query = next,
                Some(_) => return Err(self.unexpected("a page names itself as the next")),
                None => return Ok(items),
            }
        }
    }

    /// The bytes of a file from `start` on, or from its beginning where the server sends all of it.
    pub fn open(&self, name: &Name, commit: &str, file: &str, start: u64) -> Result<Opened, Reason> {
        let address = self.api.repo(name.repo_at(commit)).url(&escaped(file));
        let answer = self.get(&address, start).map_err(|error| self.unreachable(&error))?;
        let start = match answer.status() {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT if first_byte(&answer) == Some(start) => start,
            StatusCode::PARTIAL_CONTENT => {
                return Err(self.unexpected("the bytes are not those that were asked for"));
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                return Err(self.unexpected(&format!("`{file}` has no more than {start} bytes there")));
            }
            _ => return Err(self.refusal(name, &answer)),
        };
        Ok(Opened { start, body: answer.into_body() })
    }

    fn get(&self, address: &str, start: u64) -> Result<Response<Body>, ureq::Error> {
        let mut request = self.agent.get(address);
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {}", token.secret()));
        }
        if start > 0 {
            request = request.header("Range", format!("bytes={start}-"));
        }
        request.call()
    }

    /// Makes a request until the answer is not that the server is busy.
    fn ask(
        &self,
        name: &Name,
        request: impl Fn() -> Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>, Reason> {
        let mut attempt = 0;
        loop {
            let refusal = match request() {
                Ok(answer) if answer.status().is_success() => return Ok(answer),
                Ok(answer) => self.refusal(name, &answer),
                Err(error) => return Err(self.unreachable(&error)),
            };
            attempt += 1;
            if attempt == ATTEMPTS || !matches!(refusal, Reason::Busy { .. }) {
                return Err(refusal);
            }
            sleep(PAUSE * 2_u32.pow(attempt - 1));
        }
    }

    /// What an answer without success means. The Hub says more in a header.
    fn refusal(&self, name: &Name, answer: &Response<Body>) -> Reason {
        let code = answer.headers().get("x-error-code").and_then(|code| code.to_str().ok()).unwrap_or_default();
        let (host, status, revision) = (self.host.clone(), answer.status().as_u16(), name.revision.clone());
        match (status, code) {
            (401 | 403, _) => Reason::Refused { host, status, token: self.token.is_some(), gated: code == "GatedRepo" },
            (404, "RevisionNotFound") => Reason::NoRevision(revision),
            (404, "EntryNotFound") => Reason::NoPath { path: name.path.clone(), near: None },
            (404, _) => Reason::NoRepository { host, revision },
            (408 | 429 | 500..=599, _) => Reason::Busy { host, status },
            _ => self.unexpected(&format!("its status is {status}")),
        }
    }

    fn json<T: DeserializeOwned>(&self, mut answer: Response<Body>) -> Result<T, Reason> {
        answer.body_mut().with_config().limit(LARGEST_PAGE).read_json().map_err(|error| match error {
            ureq::Error::Json(error) => self.unexpected(&error.to_string()),
            error => self.unreachable(&error),
        })
    }

    pub fn unreachable(&self, error: &dyn std::fmt::Display) -> Reason {
        Reason::Unreachable { host: self.host.clone(), why: error.to_string() }
    }

    fn unexpected(&self, what: &str) -> Reason {
        Reason::Unexpected { host: self.host.clone(), what: what.to_string() }
    }
}

/// A path as an address has it.
fn escaped(path: &str) -> String {
    let parts: Vec<String> = path.split('/').map(|part| utf8_percent_encode(part, PLAIN).to_string()).collect();
    parts.join("/")
}

/// The query of the next page of a listing. The rest of its address is that of the first: a mirror may
/// pass on the address of what it mirrors.
fn next_page(answer: &Response<Body>) -> Option<String> {
    let links = answer.headers().get("link")?.to_str().ok()?;
    let next = links.split(',').find(|link| link.contains("rel=\"next\""))?;
    let address = next.split_once('<')?.1.split_once('>')?.0;
    Some(address.split_once('?')?.1.to_string())
}

/// The place of the first byte of a partial answer.
fn first_byte(answer: &Response<Body>) -> Option<u64> {
    let range = answer.headers().get("content-range")?.to_str().ok()?;
    range.trim().strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

//! The objects of a remote, by plain functions that wait: the only part that knows `object_store` and
//! its asynchronous ways.
//!
//! What a call needs of a runtime is a clock for the pauses between attempts, so each has one of its own.

use std::error::Error as _;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::{HttpError, HttpErrorKind};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{BackoffConfig, Error, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload, RetryConfig};

use super::address::{Address, Scheme};
use super::error::Reason;
use super::http::Connector;
use super::lanes::Lanes;
use crate::cache::fault;

/// How often a request is made again.
const RETRIES: usize = 4;
/// The pause before the first of these; each further one is three times as long, less some chance.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// After so long a request is not made again.
const PATIENCE: Duration = Duration::from_secs(60);

/// The objects of a remote.
pub(super) struct Objects {
    store: Arc<dyn ObjectStore>,
    /// The same, where an object can be written in parts.
    parts: Option<Arc<dyn MultipartStore>>,
    prefix: Path,
    lanes: Lanes,
}

impl Objects {
    /// What is at an address. Nothing is asked yet; who we are comes from the environment.
    pub fn open(address: &Address) -> Result<Objects, Reason> {
        let pause = fault::setting("RUNNER_REMOTE_PAUSE").and_then(|text| text.parse().ok());
        let pause = pause.map_or(PAUSE, Duration::from_millis);
        let backoff = BackoffConfig { init_backoff: pause, max_backoff: LONGEST_PAUSE.min(pause * 25), base: 3.0 };
        let retry = RetryConfig { backoff, max_retries: RETRIES, retry_timeout: PATIENCE };
        let bucket = address.bucket.clone();
        let (store, parts): (Arc<dyn ObjectStore>, Option<Arc<dyn MultipartStore>>) = match address.scheme {
            Scheme::S3 => {
                let builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
                let store = Arc::new(builder.with_http_connector(Connector).with_retry(retry).build().map_err(reason)?);
                (store.clone(), Some(store))
            }
            Scheme::Gs => {
                let builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket);
                let store = Arc::new(builder.with_http_connector(Connector).with_retry(retry).build().map_err(reason)?);
                (store.clone(), Some(store))
            }
            Scheme::Az => {
                let builder = MicrosoftAzureBuilder::from_env().with_container_name(bucket);
                let store = Arc::new(builder.with_http_connector(Connector).with_retry(retry).build().map_err(reason)?);
                (store.clone(), Some(store))
            }
            Scheme::File => (Arc::new(LocalFileSystem::new().with_fsync(true)), None),
        };
        let prefix = match address.scheme {
            Scheme::File => Path::from_absolute_path(format!("/{}", address.prefix)),
            _ => Path::parse(&address.prefix),
        };
        let prefix = prefix.map_err(|error| Reason::Address(error.to_string()))?;
        Ok(Objects { store, parts, prefix, lanes: Lanes::default() })
    }

    /// The size of an object in bytes, if it is there.
    pub fn size(&self, name: &str) -> Result<Option<u64>, Reason> {
        let place = self.place(name);
        found(self.wait(self.store.head(&place))).map(|found| found.map(|object| object.size))
    }

    /// All bytes of an object that has no more than `most`, if it is there.
    pub fn read(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>, Reason> {
        let place = self.place(name);
        let read = async {
            let got = self.store.get(&place).await?;
            match got.meta.size > most {
                true => Ok(Err(got.meta.size)),
                false => Ok(Ok(Vec::from(got.bytes().await?))),
            }
        };
        match found(self.wait(read))? {
            None => Ok(None),
            Some(Ok(bytes)) => Ok(Some(bytes)),
            Some(Err(size)) => {
                let problem = format!("has {size} bytes where no more than {most} make sense");
                Err(Reason::Malformed { object: name.to_string(), problem })
            }
        }
    }

    /// Some bytes of an object, if it is there.
    pub fn read_range(&self, name: &str, start: u64, end: u64) -> Result<Option<Vec<u8>>, Reason> {
        let place = self.place(name);
        Ok(found(self.wait(self.store.get_range(&place, start..end)))?.map(Vec::from))
    }

    /// Writes an object, over any that is there.
    pub fn write(&self, name: &str, bytes: Vec<u8>) -> Result<(), Reason> {
        let (place, payload) = (self.place(name), PutPayload::from(bytes));
        self.wait(self.store.put(&place, payload)).map(drop).map_err(reason)
    }

    /// Writes an object of one piece after the other, until there is none; all of it or nothing.
    pub fn pour(&self, name: &str, next: &mut dyn FnMut() -> Result<Option<Vec<u8>>, Reason>) -> Result<(), Reason> {
        let place = self.place(name);
        self.wait(async {
            let mut upload = self.store.put_multipart(&place).await?;
            loop {
                match next() {
                    Ok(Some(piece)) => upload.put_part(PutPayload::from(piece)).await?,
                    Ok(None) => return upload.complete().await.map(|_| Ok(())),
                    Err(reason) => return upload.abort().await.map(|()| Err(reason)),
                }
            }
        })
        .map_err(reason)?
    }

    /// Writes an object unless it is there. Returns false if it is. A server that cannot tell the two
    /// apart in one step is asked in two.
    pub fn create(&self, name: &str, bytes: &[u8]) -> Result<bool, Reason> {
        let (place, payload) = (self.place(name), PutPayload::from(bytes.to_vec()));
        match self.wait(self.store.put_opts(&place, payload, PutMode::Create.into())) {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
            Err(error) if matches!(error, Error::NotImplemented { .. }) || says(&error, "NotImplemented") => {
                match self.size(name)? {
                    Some(_) => Ok(false),
                    None => self.write(name, bytes.to_vec()).map(|()| true),
                }
            }
            Err(error) => Err(reason(error)),
        }
    }

    /// The names of all objects below a folder.
    pub fn list(&self, folder: &str) -> Result<Vec<String>, Reason> {
        let place = self.place(folder);
        let objects: Vec<_> = self.wait(self.store.list(Some(&place)).try_collect()).map_err(reason)?;
        Ok(objects.into_iter().map(|object| object.location.to_string()).collect())
    }

    /// Whether an object can be written in parts that stay there after an interruption.
    pub fn takes_parts(&self) -> bool {
        self.parts.is_some()
    }

    /// Begins an object in parts, and returns the name of the attempt.
    pub fn begin(&self, name: &str) -> Result<String, Reason> {
        let place = self.place(name);
        self.wait(self.in_parts().create_multipart(&place)).map_err(reason)
    }

    /// Writes a part, and returns what the server calls it. `None` if the server does not know the attempt any more.
    pub fn part(&self, name: &str, attempt: &String, number: usize, bytes: Vec<u8>) -> Result<Option<String>, Reason> {
        let (place, payload) = (self.place(name), PutPayload::from(bytes));
        let part = self.wait(self.in_parts().put_part(&place, attempt, number, payload));
        Ok(found(part)?.map(|part| part.content_id))
    }

    /// Makes the parts an object. Returns false if the server does not know the attempt any more.
    pub fn complete(&self, name: &str, attempt: &String, parts: Vec<String>) -> Result<bool, Reason> {
        let place = self.place(name);
        let parts = parts.into_iter().map(|content_id| PartId { content_id }).collect();
        Ok(found(self.wait(self.in_parts().complete_multipart(&place, attempt, parts)))?.is_some())
    }

    fn in_parts(&self) -> &dyn MultipartStore {
        self.parts.as_deref().expect("BUG: parts for a remote that takes none")
    }

    fn place(&self, name: &str) -> Path {
        Path::from_iter(self.prefix.parts().chain(Path::from(name).parts()))
    }

    /// Waits for a request, in a lane of its own.
    fn wait<T>(&self, request: impl Future<Output = object_store::Result<T>>) -> object_store::Result<T> {
        let _lane = self.lanes.enter();
        let clock = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let clock = clock.map_err(|error| Error::Generic { store: "runtime", source: Box::new(error) })?;
        clock.block_on(request)
    }
}

/// `None` where there is no such object.
fn found<T>(result: object_store::Result<T>) -> Result<Option<T>, Reason> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error @ Error::NotFound { .. }) if says(&error, "NoSuchBucket") || says(&error, "ContainerNotFound") => {
            Err(reason(error))
        }
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(reason(error)),
    }
}

/// Whether the server gave this code.
fn says(error: &Error, code: &str) -> bool {
    error.to_string().contains(&format!("<Code>{code}</Code>"))
}

/// What an error means. What servers send along is not repeated but for its code: some repeat who asked,
/// and how the request was signed.
fn reason(error: Error) -> Reason {
    let text = error.to_string();
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map(|(code, _)| code);
    let code = code.filter(|code| code.len() < 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let said = |otherwise: &str| code.map_or(otherwise.to_string(), |code| format!("it says `{code}`"));
    match (&error, code) {
        (_, Some("NoSuchBucket" | "ContainerNotFound")) => return Reason::NoBucket(said("")),
        (Error::PermissionDenied { .. }, _) => return Reason::Refused(said("we may not do that")),
        (Error::Unauthenticated { .. }, _) => return Reason::Refused(said("it does not know us")),
        (Error::NotFound { .. }, _) => return Reason::Unexpected(said("something is not there")),
        _ => {}
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = error.source();
    let mut last = None;
    while let Some(inner) = cause {
        if let Some(http) = inner.downcast_ref::<HttpError>() {
            let why = http.source().map_or(http.to_string(), ToString::to_string);
            return match http.kind() {
                HttpErrorKind::Unknown | HttpErrorKind::Decode => Reason::Unexpected(without_secrets(&why)),
                _ => Reason::Unreachable(without_secrets(&why)),
            };
        }
        last = Some(inner);
        cause = inner.source();
    }
    if let Some((_, status)) = text.split_once("status code: ") {
        let status: String = status.chars().take_while(char::is_ascii_digit).collect();
        return match status.starts_with('5') || status == "429" {
            true => Reason::Unreachable(said(&format!("it answers with status {status}"))),
            false => Reason::Unexpected(said(&format!("it answers with status {status}"))),
        };
    }
    let why = last.map_or(text.clone(), ToString::to_string);
    Reason::Unexpected(said(&without_secrets(why.lines().next().unwrap_or_default())))
}

/// `text` without anything that the environment holds to be let in.
fn without_secrets(text: &str) -> String {
    let mut text: String = text.chars().take(300).collect();
    for (name, value) in std::env::vars_os() {
        let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
        let ours = ["AWS_", "GOOGLE_", "AZURE_"].iter().any(|start| name.starts_with(start));
        let secret = ["KEY", "SECRET", "TOKEN", "PASSWORD", "CREDENTIAL"].iter().any(|word| name.contains(word));
        if ours && secret && value.len() > 3 {
            text = text.replace(value.as_ref(), "…");
        }
    }
    text
}

//! An S3 server on this machine that keeps its objects in a folder, and what can go wrong with it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, mpsc};

use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, HttpError};
use s3s_fs::FileSystem;

pub const BUCKET: &str = "lab";
pub const KEY: &str = "AKIAEXAMPLE";
pub const SECRET: &str = "open-sesame-1001";

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// After so many further requests for the bytes of files every connection ends without an answer.
    Gone(usize),
    /// So many answers end in their middle.
    Cut(usize),
    /// So many requests are told to come later.
    Busy(usize),
    /// A byte of every file is another one.
    Lies,
}

/// A request, and whether it was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub method: Method,
    /// Path and query.
    pub place: String,
    pub done: bool,
}

#[derive(Default)]
struct State {
    asked: Vec<Asked>,
    fault: Option<Fault>,
}

/// A running server. Its thread ends with the test.
pub struct Server {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Server {
    /// Starts a server with an empty bucket in `folder`.
    pub fn start(folder: &Path) -> Server {
        std::fs::create_dir_all(folder.join(BUCKET)).unwrap();
        let mut builder = S3ServiceBuilder::new(FileSystem::new(folder).unwrap());
        builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let service = builder.build();
        let state: Arc<Mutex<State>> = Arc::default();
        let (shared, (sender, receiver)) = (state.clone(), mpsc::channel());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                sender.send(listener.local_addr().unwrap()).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    let (service, state) = (service.clone(), shared.clone());
                    let answer = service_fn(move |request| answer(service.clone(), state.clone(), request));
                    let connection = hyper::server::conn::http1::Builder::new();
                    tokio::spawn(async move { drop(connection.serve_connection(TokioIo::new(stream), answer).await) });
                }
            });
        });
        Server { address: receiver.recv().unwrap(), state }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn fail(&self, fault: Fault) {
        self.lock().fault = Some(fault);
    }

    pub fn mend(&self) {
        self.lock().fault = None;
    }

    /// The requests since the last call.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.lock().asked)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

async fn answer(
    service: S3Service,
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<Body>, HttpError> {
    let (method, place) = (request.method().clone(), request.uri().to_string());
    let bytes = place.contains("/v1/files/") && method != Method::HEAD;
    let fault = {
        let mut state = state.lock().unwrap();
        let fault = state.fault;
        match &mut state.fault {
            Some(Fault::Gone(left)) if bytes || *left == 0 => *left = left.saturating_sub(1),
            Some(Fault::Cut(left) | Fault::Busy(left)) if bytes => *left = left.saturating_sub(1),
            _ => {}
        }
        fault
    };
    let note = |done| state.lock().unwrap().asked.push(Asked { method: method.clone(), place: place.clone(), done });
    match fault {
        Some(Fault::Gone(0)) => {
            note(false);
            return Err(HttpError::new(Box::new(std::io::Error::other("gone"))));
        }
        Some(Fault::Busy(1..)) if bytes => {
            note(false);
            let body = Body::from("<Error><Code>SlowDown</Code></Error>".to_string());
            return Ok(Response::builder().status(StatusCode::SERVICE_UNAVAILABLE).body(body).unwrap());
        }
        _ => {}
    }
    let answer = hyper::service::Service::call(&service, request).await?;
    note(answer.status().is_success() && !matches!(fault, Some(Fault::Cut(1..)) if bytes));
    match fault {
        Some(Fault::Lies) if bytes && method == Method::GET => {
            let (parts, body) = answer.into_parts();
            let mut content = collected(body).await.to_vec();
            content[0] ^= 1;
            Ok(Response::from_parts(parts, Body::from(content)))
        }
        Some(Fault::Cut(1..)) if bytes && method == Method::GET => {
            let (parts, body) = answer.into_parts();
            let content = collected(body).await;
            // The head promises more, so the connection ends after these.
            Ok(Response::from_parts(parts, Body::from(content.slice(..content.len() / 2))))
        }
        Some(Fault::Cut(1..)) if bytes => Err(HttpError::new(Box::new(std::io::Error::other("cut")))),
        _ => Ok(answer),
    }
}

async fn collected(body: Body) -> Bytes {
    body.collect().await.unwrap().to_bytes()
}

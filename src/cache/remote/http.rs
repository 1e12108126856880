//! The HTTP of remotes, by the blocking client that the rest of the program has too.
//!
//! One client, one TLS (rustls with ring) and one way to be told of proxies are enough. Each request is
//! made by the thread that waits for it.

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body::{Body, Frame};
use object_store::ClientOptions;
use object_store::client::{
    ClientConfigKey, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use ureq::{Agent, BodyReader, SendBody};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// How long the other side may be silent, before it answers or in the middle.
const SILENCE: Duration = Duration::from_secs(30);
/// Bytes that are read at a time.
const CHUNK: usize = 1 << 18;

/// Makes clients.
#[derive(Debug)]
pub(super) struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let plain = options.get_config_value(&ClientConfigKey::AllowHttp).is_some_and(|value| value == "true");
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("runner/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .max_idle_connections_per_host(16)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .timeout_per_write(Some(SILENCE))
            .build()
            .into();
        Ok(HttpClient::new(Client { agent, plain }))
    }
}

#[derive(Debug)]
struct Client {
    agent: Agent,
    /// Whether requests may go without encryption.
    plain: bool,
}

#[async_trait]
impl HttpService for Client {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, mut body) = request.into_parts();
        if !self.plain && parts.uri.scheme_str() == Some("http") {
            let error = io::Error::other("it is not encrypted; `AWS_ALLOW_HTTP=true` allows that");
            return Err(HttpError::new(HttpErrorKind::Unknown, error));
        }
        let mut bytes = Vec::with_capacity(body.content_length());
        while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            bytes.extend_from_slice(frame?.data_ref().map_or(&[], |data| data));
        }
        let answer = match bytes.is_empty() {
            true => self.agent.run(ureq::http::Request::from_parts(parts, SendBody::none())),
            false => self.agent.run(ureq::http::Request::from_parts(parts, bytes)),
        };
        let (parts, body) = answer.map_err(failed)?.into_parts();
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(Incoming(body.into_reader()))))
    }
}

/// The bytes of an answer, read when they are asked for.
struct Incoming(BodyReader<'static>);

impl Body for Incoming {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let mut chunk = vec![0; CHUNK];
        Poll::Ready(match self.0.read(&mut chunk) {
            Ok(0) => None,
            Ok(read) => {
                chunk.truncate(read);
                Some(Ok(Frame::data(chunk.into())))
            }
            Err(error) => Some(Err(HttpError::new(HttpErrorKind::Interrupted, error))),
        })
    }
}

/// What a failed request means. Every request may be made again: what it writes has its content for a
/// name, or is only created.
fn failed(error: ureq::Error) -> HttpError {
    let kind = match &error {
        ureq::Error::Timeout(_) | ureq::Error::Io(_) | ureq::Error::Protocol(_) => HttpErrorKind::Request,
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => HttpErrorKind::Connect,
        _ => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error)
}

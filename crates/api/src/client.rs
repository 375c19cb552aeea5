//! Asks a daemon on this machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::Failure;

/// No answer is longer.
const MOST_BYTES: usize = 256 << 20;
/// Who takes longer does not answer.
const PATIENCE: Duration = Duration::from_secs(10);
const DEFAULT: &str = "/run/halcyon/halcyon.sock";

/// The socket that is asked for, or where a daemon listens unless it is told otherwise.
#[must_use]
pub fn socket_or_default(asked: Option<PathBuf>) -> PathBuf {
    asked.unwrap_or_else(|| DEFAULT.into())
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens, or not to this user.
    #[error(
        "cannot reach a daemon at {}: is `halcyon run` running, and is this its socket (--socket, HALCYON_SOCKET)?",
        socket.display()
    )]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// It took too long.
    #[error("the daemon at {} does not answer within {} s", socket.display(), PATIENCE.as_secs())]
    Silent {
        /// The socket.
        socket: PathBuf,
    },
    /// It says that it will not.
    #[error("{why}")]
    Refused {
        /// What it says.
        why: String,
    },
    /// What it says is not understood.
    #[error("the daemon at {} answers in another form; is it of another version?", socket.display())]
    Odd {
        /// The socket.
        socket: PathBuf,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A client of one daemon.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client of the daemon at a socket.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.into() }
    }

    /// The answer at a path.
    ///
    /// # Errors
    /// When there is none, or it is a refusal.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| self.unreachable(source))?;
        let answer = async { tokio::time::timeout(PATIENCE, self.fetch(path)).await };
        let (good, body) =
            runtime.block_on(answer).map_err(|_| ClientError::Silent { socket: self.socket.clone() })??;
        if good {
            return serde_json::from_slice(&body).map_err(|error| self.odd(error));
        }
        let failure: Failure = serde_json::from_slice(&body).map_err(|error| self.odd(error))?;
        Err(ClientError::Refused { why: failure.error })
    }

    async fn fetch(&self, path: &str) -> Result<(bool, Bytes), ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|source| self.unreachable(source))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.odd(error))?;
        // It ends with the connection, and the answer tells what came of it.
        let connection = tokio::spawn(connection);
        let request = Request::get(path).header("host", "halcyon").body(Empty::<Bytes>::new());
        let request = request.map_err(|error| self.odd(error))?;
        let response = sender.send_request(request).await.map_err(|error| self.odd(error))?;
        let good = response.status().is_success();
        let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
        let body = body.map_err(|source| ClientError::Odd { socket: self.socket.clone(), source })?;
        connection.abort();
        Ok((good, body.to_bytes()))
    }

    fn unreachable(&self, source: std::io::Error) -> ClientError {
        ClientError::Unreachable { socket: self.socket.clone(), source }
    }

    fn odd(&self, error: impl std::error::Error + Send + Sync + 'static) -> ClientError {
        ClientError::Odd { socket: self.socket.clone(), source: Box::new(error) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::Status;

    fn answered(answer: &'static str) -> ClientError {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("daemon.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let server = std::thread::spawn(move || {
            let (mut peer, _) = listener.accept().expect("somebody comes");
            let _ = peer.read(&mut [0; 4096]);
            let _ = peer.write_all(answer.as_bytes());
        });
        let error = Client::new(&socket).get::<Status>("/v1/status").expect_err("it is none");
        server.join().expect("it ends");
        error
    }

    #[test]
    fn whatever_is_no_answer_is_named() {
        let nobody = Client::new(Path::new("/nowhere/daemon.sock"));
        let error = nobody.get::<Status>("/v1/status").expect_err("nobody listens");
        assert!(
            error.to_string().contains("/nowhere/daemon.sock") && error.to_string().contains("halcyon run")
        );
        for odd in ["", "SSH-2.0\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"] {
            assert!(matches!(answered(odd), ClientError::Odd { .. }), "{odd}");
        }
        let refusal = "HTTP/1.1 403 Forbidden\r\ncontent-length: 20\r\n\r\n{\"error\":\"not you!\"}";
        assert_eq!(answered(refusal).to_string(), "not you!");
    }
}

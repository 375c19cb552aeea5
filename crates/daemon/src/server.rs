//! Answers on a Unix socket, to root, the daemon's own user and whoever the configuration names.

use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::IncomingStream;
use axum::{Json, Router};
use halcyon_api::{Failure, path};
use serde::Deserialize;
use tokio::net::UnixListener;

use crate::board::Board;
use crate::trail::SCALES;

/// Who asks.
#[derive(Debug, Clone, Copy)]
struct Peer(Option<u32>);

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(stream.io().peer_cred().ok().map(|peer| peer.uid()))
    }
}

/// Listens at a socket, in place of one that nobody listens at any more.
pub(crate) fn listen(socket: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = socket.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    }
    if std::fs::symlink_metadata(socket).is_ok_and(|found| found.file_type().is_socket()) {
        if std::os::unix::net::UnixStream::connect(socket).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another daemon listens there"));
        }
        std::fs::remove_file(socket)?;
    }
    let listener = UnixListener::bind(socket)?;
    // Whoever connects is asked who they are, so that the file need not keep others out.
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

/// Answers until `stop` is done.
pub(crate) async fn serve(
    listener: UnixListener,
    board: Arc<Board>,
    users: Vec<u32>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let allowed: Arc<[u32]> = [0, rustix::process::geteuid().as_raw()].into_iter().chain(users).collect();
    let router = Router::new()
        .route(path::STATUS, get(async |State(board): State<Arc<Board>>| Json(board.status())))
        .route(path::VMS, get(async |State(board): State<Arc<Board>>| Json(board.vms())))
        .route(path::PLAN, get(async |State(board): State<Arc<Board>>| Json(board.plan())))
        .route(path::PLANS, get(async |State(board): State<Arc<Board>>| Json(board.plans())))
        .route(path::HISTORY, get(history))
        .fallback(async || refuse(StatusCode::NOT_FOUND, "there is nothing at this path".into()))
        .layer(middleware::from_fn_with_state(allowed, known))
        .with_state(board);
    let service = router.into_make_service_with_connect_info::<Peer>();
    axum::serve(listener, service).with_graceful_shutdown(stop).await
}

/// Lets through whoever may ask.
async fn known(
    State(allowed): State<Arc<[u32]>>,
    ConnectInfo(Peer(user)): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    if user.is_some_and(|user| allowed.contains(&user)) {
        return next.run(request).await;
    }
    let who = user.map_or_else(|| "this user".into(), |user| format!("user {user}"));
    refuse(StatusCode::FORBIDDEN, format!("{who} may not ask: be root, or be listed under [api] users"))
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default = "second")]
    every: u32,
    vm: Option<String>,
}

const fn second() -> u32 {
    1
}

async fn history(State(board): State<Arc<Board>>, Query(asked): Query<Asked>) -> Response {
    if !SCALES.iter().any(|(every, _)| *every == asked.every) {
        let why = format!("there is no history by {} s: ask for 1, 10 or 60", asked.every);
        return refuse(StatusCode::BAD_REQUEST, why);
    }
    match board.history(asked.every, asked.vm.as_deref()) {
        Some(trails) => Json(trails).into_response(),
        None => {
            let why = format!("there is no VM `{}`", asked.vm.unwrap_or_default());
            refuse(StatusCode::NOT_FOUND, why)
        }
    }
}

fn refuse(status: StatusCode, error: String) -> Response {
    (status, Json(Failure { error })).into_response()
}

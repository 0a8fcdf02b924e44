//! Serving: TLS, and bounds on what a connection may take before it says anything worth hearing.
//!
//! Each bound is against a client that holds on and does nothing: the number of connections, the
//! time of a handshake, the time and bytes of a request's head. What a request's body and answer
//! may take is bounded by [`crate::api`].

use crate::metrics::CONNECTIONS_REFUSED;
use crate::{Limits, NodeError};
use axum::Router;
use axum_server::accept::Accept;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use rustls::ServerConfig;
use std::future::{Ready, ready};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_http::add_extension::AddExtension;

/// Greatest head of a request, bytes: a token of 2 KiB and what a browser adds, several times over.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// File descriptors left for store, HSM and log.
const FILES_KEPT: u64 = 256;

/// Serves until the handle says stop.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    routes: Router,
    limits: &Limits,
    handle: axum_server::Handle<SocketAddr>,
) -> Result<(), NodeError> {
    let places = connections(limits.connections);
    let gate = Gate(Arc::new(Semaphore::new(places)));
    let acceptor = RustlsAcceptor::new(RustlsConfig::from_config(tls))
        .handshake_timeout(limits.head)
        .acceptor(gate);
    let mut server = axum_server::from_tcp(listener)
        .map_err(NodeError::Serve)?
        .acceptor(acceptor)
        .http1_only()
        .first_request_timeout(limits.head)
        .handle(handle);
    server
        .http_builder()
        .http1()
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD_BYTES_MAX);
    let served = server.serve(routes.into_make_service()).await;
    served.map_err(NodeError::Serve)
}

/// As many as wanted, and no more than there are file descriptors for: without one the store could
/// not go on.
fn connections(wanted: usize) -> usize {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let room = files.map_or(u64::MAX, |files| files.saturating_sub(FILES_KEPT).max(1));
    wanted.min(usize::try_from(room).unwrap_or(usize::MAX))
}

/// Lets so many connections through. One too many is closed at once, before its handshake.
#[derive(Clone)]
struct Gate(Arc<Semaphore>);

impl<I, S> Accept<I, S> for Gate {
    type Stream = I;
    // The service lives as long as its connection, and the place with it.
    type Service = AddExtension<S, Arc<OwnedSemaphorePermit>>;
    type Future = Ready<std::io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let Ok(place) = self.0.clone().try_acquire_owned() else {
            metrics::counter!(CONNECTIONS_REFUSED).increment(1);
            return ready(Err(std::io::Error::other("too many connections")));
        };
        ready(Ok((stream, AddExtension::new(service, Arc::new(place)))))
    }
}

//! What both ends ask of the kernel.

use rustix::net::sockopt;
use std::time::Duration;
use tokio::net::TcpStream;

/// What was written and not acknowledged for so long ends the connection: a peer without power, a
/// network that drops. A peer that takes nothing for so long (its window closed) ends it too.
const UNANSWERED_MS: u32 = 3_000;

/// An end that only reads has nothing unanswered. Without this it would keep a dead connection
/// for ever.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);

pub(crate) fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_tcp_user_timeout(stream, UNANSWERED_MS)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_socket_keepalive(stream, true)?;
    Ok(())
}

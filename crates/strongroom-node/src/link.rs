//! The link to the HSM process: frames over a socket pair, many in flight.
//!
//! The process is a child of this one; its standard input is its end of the socket. When it dies
//! every call fails, and the engine starts it again.

use crate::record::{Recorder, Seen};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use strongroom_wire::frame::{HsmError, Request, Response};
use strongroom_wire::limits::FRAME_BYTES_MAX;
use strongroom_wire::{decode, encode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};

/// A call that got no good answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The HSM process is gone.
    #[error("the HSM process is gone")]
    Closed,
    /// The HSM refused by name.
    #[error("the HSM refused: {0}")]
    Hsm(HsmError),
    /// It answered another question: a fault of one of the two programs.
    #[error("the HSM answered another question")]
    Unexpected,
}

type Waiting = Mutex<Option<HashMap<u64, oneshot::Sender<Response>>>>;

struct Inner {
    next: AtomicU64,
    waiting: Waiting,
    out: mpsc::Sender<Vec<u8>>,
    recorder: Recorder,
}

/// A handle to the HSM; cheap to clone.
#[derive(Clone)]
pub struct Link(Arc<Inner>);

/// Which program to start, and with what before `--dir`.
#[derive(Clone, Debug)]
pub struct HsmCommand {
    /// The program.
    pub program: PathBuf,
    /// Its first arguments.
    pub arguments: Vec<String>,
}

impl HsmCommand {
    /// `strongroom-hsm` beside this program; else this program itself, as `hsm`.
    ///
    /// # Errors
    /// If this program's own path is not known.
    pub fn beside() -> std::io::Result<Self> {
        let own = std::env::current_exe()?;
        let beside = own.with_file_name("strongroom-hsm");
        if beside.is_file() {
            return Ok(Self {
                program: beside,
                arguments: Vec::new(),
            });
        }
        Ok(Self {
            program: own,
            arguments: vec!["hsm".to_owned()],
        })
    }
}

/// Starts the HSM process.
///
/// # Errors
/// Those of starting a process.
pub fn start(
    command: &HsmCommand,
    dir: &Path,
    recorder: Recorder,
) -> std::io::Result<(Link, Child)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let child = Command::new(&command.program)
        .args(&command.arguments)
        .arg("--dir")
        .arg(dir)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let (read, mut write) = UnixStream::from_std(ours)?.into_split();
    let (out, mut frames) = mpsc::channel::<Vec<u8>>(1024);
    let inner = Arc::new(Inner {
        next: AtomicU64::new(1),
        waiting: Mutex::new(Some(HashMap::new())),
        out,
        recorder,
    });
    tokio::spawn(async move {
        while let Some(frame) = frames.recv().await {
            if write.write_all(&frame).await.is_err() {
                return;
            }
        }
    });
    tokio::spawn(receive(
        BufReader::with_capacity(1 << 16, read),
        inner.clone(),
    ));
    Ok((Link(inner), child))
}

async fn receive(mut stream: BufReader<OwnedReadHalf>, inner: Arc<Inner>) {
    while let Some((sequence, response)) = next_frame(&mut stream, &inner.recorder).await {
        let mut waiting = inner.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = waiting
            .as_mut()
            .and_then(|waiting| waiting.remove(&sequence));
        drop(waiting);
        if let Some(sender) = sender {
            // A caller that went away does not want it.
            let _ = sender.send(response);
        }
    }
    // Dropping the senders fails every call; later ones find nothing to wait in.
    inner
        .waiting
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
}

async fn next_frame(
    stream: &mut BufReader<OwnedReadHalf>,
    recorder: &Recorder,
) -> Option<(u64, Response)> {
    let length = usize::try_from(stream.read_u32().await.ok()?).ok()?;
    if !(8..=FRAME_BYTES_MAX).contains(&length) {
        return None;
    }
    let sequence = stream.read_u64().await.ok()?;
    let mut body = vec![0; length - 8];
    stream.read_exact(&mut body).await.ok()?;
    recorder.record(Seen::FromHsm, &body);
    Some((sequence, decode(&body).ok()?))
}

impl Link {
    /// Sends a request and waits for its response.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn call(&self, request: &Request) -> Result<Response, LinkError> {
        let sequence = self.0.next.fetch_add(1, Ordering::Relaxed);
        let body = encode(request);
        self.0.recorder.record(Seen::ToHsm, &body);
        let length = u32::try_from(body.len() + 8).map_err(|_| LinkError::Unexpected)?;
        let mut frame = Vec::with_capacity(body.len() + 12);
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&sequence.to_be_bytes());
        frame.extend_from_slice(&body);
        let (sender, receiver) = oneshot::channel();
        {
            let mut waiting = self
                .0
                .waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            waiting
                .as_mut()
                .ok_or(LinkError::Closed)?
                .insert(sequence, sender);
        }
        self.0
            .out
            .send(frame)
            .await
            .map_err(|_| LinkError::Closed)?;
        match receiver.await.map_err(|_| LinkError::Closed)? {
            Response::Error(error) => {
                metrics::counter!("strongroom_hsm_errors_total", "error" => error.to_string())
                    .increment(1);
                Err(LinkError::Hsm(error))
            }
            response => Ok(response),
        }
    }
}

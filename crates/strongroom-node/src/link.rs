//! The link to the HSM process: frames over a socket pair, many in flight.
//!
//! The process is a child of this one; its standard input is its end of the socket. When it dies,
//! or is silent for too long, every call fails, and the engine starts it again. Whatever becomes of
//! a caller, an operation that was opened inside is forgotten there: the HSM holds `HANDLES_MAX` of
//! them and no more.

use crate::metrics::HSM_ERRORS;
use crate::record::{Recorder, Seen};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use strongroom_wire::frame::{HsmError, Request, Response};
use strongroom_wire::limits::{FRAME_BYTES_MAX, RESPONSE_BYTES_MAX};
use strongroom_wire::{Handle, RecordId, TenantKey, decode, encode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};

/// A call that got no good answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The HSM process is gone.
    #[error("the HSM process is gone")]
    Closed,
    /// The HSM refused by name.
    #[error("the HSM refused: {0}")]
    Hsm(HsmError),
    /// The HSM process did not answer in time; it is given up.
    #[error("the HSM process does not answer")]
    Silent,
    /// It answered another question: a fault of one of the two programs.
    #[error("the HSM answered another question")]
    Unexpected,
}

type Waiting = Mutex<Option<HashMap<u64, oneshot::Sender<Response>>>>;

struct Inner {
    next: AtomicU64,
    waiting: Waiting,
    out: mpsc::Sender<Vec<u8>>,
    closed: watch::Sender<bool>,
    silence: Duration,
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

impl HsmCommand {
    /// Whether there is such a program.
    ///
    /// # Errors
    /// In words, with its name.
    pub fn check(&self) -> Result<(), String> {
        let program = &self.program;
        let found = if program.components().count() > 1 {
            is_program(program)
        } else {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|dir| is_program(&dir.join(program)))
        };
        if found {
            return Ok(());
        }
        Err(format!(
            "hsm: there is no program {}; build or install strongroom-hsm, or set `hsm` to where \
             it is",
            program.display()
        ))
    }
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    let about = std::fs::metadata(path);
    about.is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

/// Starts the HSM process. A call that it does not answer within `silence` gives it up.
///
/// # Errors
/// Those of starting a process.
pub fn start(
    command: &HsmCommand,
    dir: &Path,
    silence: Duration,
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
        // A signal from the terminal is for the node; the HSM ends when its socket does.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let link = Link::over(UnixStream::from_std(ours)?, silence, recorder);
    Ok((link, child))
}

/// Frames written in one call at most.
const FRAMES_TOGETHER: usize = 32;

async fn receive(mut stream: BufReader<OwnedReadHalf>, link: Link) {
    while let Some((sequence, response)) = next_frame(&mut stream, &link.0.recorder).await {
        let sender = link.waiting().as_mut().and_then(|w| w.remove(&sequence));
        let unwanted = match sender {
            Some(sender) => sender.send(response).err(),
            None => Some(response),
        };
        // A caller that went away does not want it; the HSM must not keep it either.
        if let Some(Response::Opened { handle, .. }) = unwanted {
            link.forget(handle);
        }
    }
    link.close();
}

async fn next_frame(
    stream: &mut BufReader<OwnedReadHalf>,
    recorder: &Recorder,
) -> Option<(u64, Response)> {
    let length = usize::try_from(stream.read_u32().await.ok()?).ok()?;
    if !(8..=RESPONSE_BYTES_MAX).contains(&length) {
        return None;
    }
    let sequence = stream.read_u64().await.ok()?;
    let mut body = vec![0; length - 8];
    stream.read_exact(&mut body).await.ok()?;
    recorder.record(Seen::FromHsm, &body);
    Some((sequence, decode(&body).ok()?))
}

impl Link {
    fn over(stream: UnixStream, silence: Duration, recorder: Recorder) -> Self {
        let (read, mut write) = stream.into_split();
        let (out, mut frames) = mpsc::channel::<Vec<u8>>(1024);
        let link = Self(Arc::new(Inner {
            next: AtomicU64::new(1),
            waiting: Mutex::new(Some(HashMap::new())),
            out,
            closed: watch::Sender::new(false),
            silence,
            recorder,
        }));
        tokio::spawn(async move {
            let mut waiting = Vec::new();
            // What waits goes out together: fewer system calls here and inside.
            while frames.recv_many(&mut waiting, FRAMES_TOGETHER).await > 0 {
                let written = match &waiting[..] {
                    [one] => write.write_all(one).await,
                    several => write.write_all(&several.concat()).await,
                };
                if written.is_err() {
                    return;
                }
                waiting.clear();
            }
        });
        let reader = BufReader::with_capacity(1 << 16, read);
        tokio::spawn(receive(reader, link.clone()));
        link
    }

    /// Sends a request and waits for its response.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn call(&self, request: &Request) -> Result<Response, LinkError> {
        let sequence = self.0.next.fetch_add(1, Ordering::Relaxed);
        let frame = self.frame(sequence, request)?;
        let response =
            match tokio::time::timeout(self.0.silence, self.answer(sequence, frame)).await {
                Ok(response) => response?,
                Err(_) => {
                    // One that hangs holds every place there is. The engine starts another.
                    self.close();
                    return Err(LinkError::Silent);
                }
            };
        match response {
            Response::Error(error) => {
                ::metrics::counter!(HSM_ERRORS, "error" => error.to_string()).increment(1);
                Err(LinkError::Hsm(error))
            }
            response => Ok(response),
        }
    }

    fn frame(&self, sequence: u64, request: &Request) -> Result<Vec<u8>, LinkError> {
        let body = encode(request);
        if body.len() + 8 > FRAME_BYTES_MAX {
            // What other hosts send may be so long; the HSM would end over it.
            return Err(LinkError::Hsm(HsmError::FrameTooLong));
        }
        self.0.recorder.record(Seen::ToHsm, &body);
        let length = u32::try_from(body.len() + 8).map_err(|_| LinkError::Unexpected)?;
        let mut frame = Vec::with_capacity(body.len() + 12);
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&sequence.to_be_bytes());
        frame.extend_from_slice(&body);
        Ok(frame)
    }

    async fn answer(&self, sequence: u64, frame: Vec<u8>) -> Result<Response, LinkError> {
        // The place first: between the two steps below nobody can be cancelled.
        let place = self.0.out.reserve().await;
        let place = place.map_err(|_| LinkError::Closed)?;
        let (sender, receiver) = oneshot::channel();
        let waits = self.waiting().as_mut().map(|w| w.insert(sequence, sender));
        waits.ok_or(LinkError::Closed)?;
        place.send(frame);
        receiver.await.map_err(|_| LinkError::Closed)
    }

    fn waiting(&self) -> MutexGuard<'_, Option<HashMap<u64, oneshot::Sender<Response>>>> {
        let waiting = self.0.waiting.lock();
        waiting.unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails every call, those that wait and those to come.
    fn close(&self) {
        self.waiting().take();
        self.0.closed.send_replace(true);
    }

    /// Until no call can succeed any more.
    pub async fn closed(&self) {
        // The sender is in `self`: it cannot be gone.
        let _ = self.0.closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// Opens an envelope.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn open(&self, envelope: Vec<u8>) -> Result<Opening, LinkError> {
        match self.call(&Request::Open { envelope }).await? {
            Response::Opened {
                handle,
                record,
                tenant,
            } => Ok(Opening::Opened {
                open: Open {
                    link: self.clone(),
                    handle,
                    settled: false,
                },
                record,
                tenant,
            }),
            Response::Evaluated {
                answer: Some(answer),
            } => Ok(Opening::Answered(answer.0)),
            _ => Err(LinkError::Unexpected),
        }
    }

    /// Has the HSM forget an operation, without waiting for it.
    fn forget(&self, handle: Handle) {
        // Without a runtime this process ends, and the HSM with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let link = self.clone();
            let handles = vec![handle];
            runtime.spawn(async move {
                // If it fails the HSM is gone, and the handle with it.
                let _ = link.call(&Request::Forget { handles }).await;
            });
        }
    }
}

/// What came of an envelope.
pub enum Opening {
    /// It is open inside.
    Opened {
        /// There.
        open: Open,
        /// Whose leaf to bring.
        record: RecordId,
        /// Whose leaf to bring; none for a finish.
        tenant: Option<TenantKey>,
    },
    /// It was answered at once: a refusal that needs no state.
    Answered(Vec<u8>),
}

/// An operation open inside the HSM. Dropped before it is settled, it is forgotten there: on every
/// way out, a client that hangs up among them.
pub struct Open {
    link: Link,
    handle: Handle,
    settled: bool,
}

impl Open {
    /// Its name inside.
    pub fn handle(&self) -> Handle {
        self.handle
    }

    /// Whether it is open in that process. Another process gave the same name to something else.
    pub fn is_on(&self, link: &Link) -> bool {
        Arc::ptr_eq(&self.link.0, &link.0)
    }

    /// The HSM answered it, and holds it no more.
    pub fn settle(mut self) {
        self.settled = true;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.settled {
            self.link.forget(self.handle);
        }
    }
}

#[cfg(test)]
mod tests;

//! The serve loop: frames from the host, answered by worker threads and one state thread.
//!
//! ```text
//! reader ──Open, Evaluate──▶ workers (N) ──▶ writer
//!    └────everything else──▶ state (1)  ──▶ writer
//! ```
//!
//! Queues are bounded: a host that sends faster than it is served is not read. A malformed message
//! inside a whole frame is answered by name; a broken frame ends the process, since nothing after
//! it can be trusted to begin where it says. A panic anywhere stops the process: half a step is
//! worse than none.

use std::io::{BufReader, ErrorKind, Read, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use strongroom_vault::{Desk, Platform, Preparer, Table, Vault};
use strongroom_wire::frame::{HsmError, Request, Response};
use strongroom_wire::limits::FRAME_BYTES_MAX;
use strongroom_wire::{decode, encode};

/// Frames waiting for the workers, and for the state thread.
const QUEUE: usize = 256;

/// Why serving ended.
#[derive(Debug)]
pub enum ServeError {
    /// The platform's contents are damaged.
    Start,
    /// The host broke the framing.
    Frames(&'static str),
    /// The socket failed.
    Io(std::io::Error),
}

impl std::fmt::Display for ServeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Start => f.write_str(
                "the stored keys or anchor are damaged or belong to another device; restore the \
                 directory, or replace this member",
            ),
            Self::Frames(what) => write!(f, "the host broke the framing: {what}"),
            Self::Io(error) => write!(f, "the socket to the host failed: {error}"),
        }
    }
}

struct Shared<P> {
    desk: Mutex<Desk>,
    preparer: RwLock<Option<Arc<Preparer<P>>>>,
    writer: Mutex<UnixStream>,
}

impl<P> Table for Shared<P> {
    fn with<R>(&self, f: impl FnOnce(&mut Desk) -> R) -> R {
        // A poisoned lock means that a thread panicked: the process is about to stop.
        f(&mut self.desk.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<P> Shared<P> {
    fn answer(&self, sequence: u64, response: &Response) {
        let frame = crate::link::frame(sequence, &encode(response));
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if writer.write_all(&frame).is_err() {
            // The host is gone; the reader sees the same and ends the process in order.
        }
    }
}

type Job = (u64, Request);

/// Serves the socket that the host gave as standard input, until it closes.
///
/// # Errors
/// [`ServeError`].
pub fn serve_stdin<P: Platform + 'static>(
    platform: &Arc<P>,
    threads: usize,
) -> Result<(), ServeError> {
    let stdin = std::io::stdin();
    let fd = stdin.as_fd().try_clone_to_owned().map_err(ServeError::Io)?;
    serve(UnixStream::from(fd), platform, threads)
}

/// Serves one connection until it closes.
///
/// # Errors
/// [`ServeError`].
pub fn serve<P: Platform + 'static>(
    stream: UnixStream,
    platform: &Arc<P>,
    threads: usize,
) -> Result<(), ServeError> {
    stop_on_panic();
    let vault = Vault::start(platform.clone()).map_err(|_| ServeError::Start)?;
    let shared = Arc::new(Shared {
        desk: Mutex::new(Desk::default()),
        preparer: RwLock::new(None),
        writer: Mutex::new(stream.try_clone().map_err(ServeError::Io)?),
    });
    let (to_state, state_jobs) = sync_channel::<Job>(QUEUE);
    let (to_workers, worker_jobs) = sync_channel::<Job>(QUEUE);
    let worker_jobs = Arc::new(Mutex::new(worker_jobs));
    for _ in 0..threads {
        let (shared, jobs) = (shared.clone(), worker_jobs.clone());
        std::thread::spawn(move || work(&shared, &jobs));
    }
    let state = {
        let shared = shared.clone();
        std::thread::spawn(move || decide(vault, &shared, &state_jobs))
    };
    let ended = read(
        BufReader::with_capacity(1 << 16, stream),
        &shared,
        &to_state,
        &to_workers,
    );
    drop(to_state);
    // What was begun is finished before the process ends.
    let _ = state.join();
    ended
}

fn stop_on_panic() {
    std::panic::set_hook(Box::new(|info| {
        // The place of our own assertion; never its values.
        let place = info
            .location()
            .map_or_else(String::new, ToString::to_string);
        eprintln!("strongroom-hsm: stopped by an assertion of its own at {place}");
        std::process::abort();
    }));
}

fn work<P: Platform>(shared: &Shared<P>, jobs: &Mutex<Receiver<Job>>) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((sequence, request)) = job else { return };
        let preparer = shared
            .preparer
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let response = match (preparer, request) {
            (Some(preparer), Request::Open { envelope }) => preparer.open(shared, &envelope),
            (
                Some(preparer),
                Request::Evaluate {
                    handle,
                    record,
                    tenant,
                },
            ) => preparer.evaluate(shared, handle, record, tenant),
            _ => Response::Error(HsmError::WrongPhase),
        };
        shared.answer(sequence, &response);
    }
}

fn decide<P: Platform>(mut vault: Vault<P>, shared: &Shared<P>, jobs: &Receiver<Job>) {
    while let Ok((sequence, request)) = jobs.recv() {
        let response = vault.handle(shared, request);
        if matches!(response, Response::Standing { .. }) {
            let mut preparer = shared
                .preparer
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            *preparer = vault.preparer();
        }
        shared.answer(sequence, &response);
    }
}

fn read<P>(
    mut stream: impl Read,
    shared: &Shared<P>,
    to_state: &SyncSender<Job>,
    to_workers: &SyncSender<Job>,
) -> Result<(), ServeError> {
    let mut greeted = false;
    loop {
        let mut length = [0; 4];
        match stream.read_exact(&mut length) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            read => read.map_err(ServeError::Io)?,
        }
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > FRAME_BYTES_MAX {
            shared.answer(0, &Response::Error(HsmError::FrameTooLong));
            return Err(ServeError::Frames("a frame is longer than FRAME_BYTES_MAX"));
        }
        let mut body = vec![0; length];
        match stream.read_exact(&mut body) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                return Err(ServeError::Frames("the last frame is cut short"));
            }
            read => read.map_err(ServeError::Io)?,
        }
        let Some((sequence, message)) = body.split_first_chunk::<8>() else {
            shared.answer(0, &Response::Error(HsmError::FrameMalformed));
            continue;
        };
        let sequence = u64::from_be_bytes(*sequence);
        let Ok(request) = decode::<Request>(message) else {
            shared.answer(sequence, &Response::Error(HsmError::FrameMalformed));
            continue;
        };
        let hello = matches!(request, Request::Hello { .. });
        if !greeted && !hello {
            shared.answer(sequence, &Response::Error(HsmError::WrongVersion));
            continue;
        }
        greeted |= hello;
        let last = matches!(request, Request::Shutdown);
        let queue = match request {
            Request::Open { .. } | Request::Evaluate { .. } => to_workers,
            _ => to_state,
        };
        if queue.send((sequence, request)).is_err() || last {
            return Ok(());
        }
    }
}

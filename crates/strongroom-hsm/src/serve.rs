//! The serve loop: a few equal threads take turns at the socket.
//!
//! ```text
//! thread: take the reader → read one frame → give the reader up → answer it → again
//! ```
//!
//! Whoever holds the reader reads one frame and, if it is for the state machine, draws a number;
//! state requests are then answered in the order of their numbers, one at a time. So what came
//! first is decided first, no queue stands between reading and working, and a host that sends
//! faster than it is served is not read.
//!
//! A malformed message inside a whole frame is answered by name; a broken frame ends the process,
//! since nothing after it can be trusted to begin where it says. A panic anywhere stops the
//! process: half a step is worse than none.

use std::io::{BufReader, ErrorKind, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use strongroom_vault::{Desk, Platform, Preparer, Table, Vault};
use strongroom_wire::frame::{FRAME_VERSION, HsmError, Request, Response};
use strongroom_wire::limits::FRAME_BYTES_MAX;
use strongroom_wire::{decode, encode};

/// Threads beside one for each core: one may wait for the disk under the anchor while the cores
/// compute.
const THREADS_WAITING: usize = 1;

/// Why serving ended.
#[derive(Debug)]
pub enum ServeError {
    /// The platform's contents are damaged.
    Start,
    /// The process could not give up what it does not need.
    Sandbox(String),
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
            Self::Sandbox(what) => f.write_str(what),
            Self::Frames(what) => write!(f, "the host broke the framing: {what}"),
            Self::Io(error) => write!(f, "the socket to the host failed: {error}"),
        }
    }
}

struct Shared<P> {
    reader: Mutex<Reader>,
    desk: Mutex<Desk>,
    preparer: RwLock<Option<Arc<Preparer<P>>>>,
    state: Turns<Vault<P>>,
    writer: Mutex<UnixStream>,
}

/// The host's side of the socket, and what has been seen there.
struct Reader {
    stream: BufReader<UnixStream>,
    greeted: bool,
    next_turn: u64,
    /// How reading ended, once it has.
    ended: Option<Result<(), ServeError>>,
}

/// A whole frame that is a request.
struct Job {
    sequence: u64,
    request: Request,
    /// Its number, if the state machine answers it.
    turn: Option<u64>,
}

/// Something used by one thread at a time, in the order of numbers drawn before.
struct Turns<T> {
    now: Mutex<(u64, T)>,
    moved: Condvar,
}

impl<T> Turns<T> {
    fn new(value: T) -> Self {
        Self {
            now: Mutex::new((0, value)),
            moved: Condvar::new(),
        }
    }

    /// Waits for the turn, uses the value, and passes it on.
    fn take<R>(&self, turn: u64, f: impl FnOnce(&mut T) -> R) -> R {
        let mut now = self
            .moved
            .wait_while(lock(&self.now), |(serving, _)| *serving != turn)
            .unwrap_or_else(PoisonError::into_inner);
        let result = f(&mut now.1);
        now.0 += 1;
        drop(now);
        self.moved.notify_all();
        result
    }
}

/// A poisoned lock means that a thread panicked: the process is about to stop.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<P> Table for Shared<P> {
    fn with<R>(&self, f: impl FnOnce(&mut Desk) -> R) -> R {
        f(&mut lock(&self.desk))
    }
}

/// Serves the socket that the host gave as standard input, until it closes. `close` gives up what
/// only starting threads needs; not one frame is read before.
///
/// # Errors
/// [`ServeError`].
pub fn serve_stdin<P: Platform + 'static>(
    platform: &Arc<P>,
    threads: usize,
    close: impl FnOnce() -> Result<(), String>,
) -> Result<(), ServeError> {
    let stdin = std::io::stdin();
    let fd = stdin.as_fd().try_clone_to_owned().map_err(ServeError::Io)?;
    serve(UnixStream::from(fd), platform, threads, close)
}

/// Serves one connection until it closes. What was begun is finished before this returns.
///
/// # Errors
/// [`ServeError`].
pub fn serve<P: Platform + 'static>(
    stream: UnixStream,
    platform: &Arc<P>,
    threads: usize,
    close: impl FnOnce() -> Result<(), String>,
) -> Result<(), ServeError> {
    stop_on_panic();
    let vault = Vault::start(platform.clone()).map_err(|_| ServeError::Start)?;
    let writer = stream.try_clone().map_err(ServeError::Io)?;
    let shared = Arc::new(Shared {
        reader: Mutex::new(Reader::new(stream)),
        desk: Mutex::new(Desk::default()),
        preparer: RwLock::new(None),
        state: Turns::new(vault),
        writer: Mutex::new(writer),
    });
    let mut reader = lock(&shared.reader);
    let threads: Vec<_> = (0..threads + THREADS_WAITING)
        .map(|_| {
            let shared = shared.clone();
            std::thread::spawn(move || shared.work())
        })
        .collect();
    let closed = close().map_err(ServeError::Sandbox);
    if closed.is_err() {
        reader.ended = Some(closed);
    }
    drop(reader);
    for thread in threads {
        // A panic has stopped the process by then.
        let _ = thread.join();
    }
    let ended = lock(&shared.reader).ended.take();
    ended.unwrap_or(Ok(()))
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

impl<P: Platform> Shared<P> {
    fn work(&self) {
        loop {
            let next = lock(&self.reader).next();
            match next {
                Next::Job(job) => self.serve(job),
                Next::Refused(sequence, error) => self.answer(sequence, &Response::Error(error)),
                Next::Ended => return,
            }
        }
    }

    fn serve(&self, job: Job) {
        let response = match job.turn {
            Some(turn) => self
                .state
                .take(turn, |vault| self.decide(vault, job.request)),
            None => self.prepare(job.request),
        };
        self.answer(job.sequence, &response);
    }

    fn prepare(&self, request: Request) -> Response {
        let preparer = self
            .preparer
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match (preparer, request) {
            (Some(preparer), Request::Open { envelope }) => preparer.open(self, &envelope),
            (
                Some(preparer),
                Request::Evaluate {
                    handle,
                    record,
                    tenant,
                },
            ) => preparer.evaluate(self, handle, record, tenant),
            _ => Response::Error(HsmError::WrongPhase),
        }
    }

    fn decide(&self, vault: &mut Vault<P>, request: Request) -> Response {
        let response = vault.handle(self, request);
        // Another one with every manifest in force; none for a member that halted or retired.
        let new = vault.preparer();
        let old = self.preparer.read();
        let old = old.unwrap_or_else(PoisonError::into_inner).clone();
        if new.as_ref().map(Arc::as_ptr) != old.as_ref().map(Arc::as_ptr) {
            let preparer = self.preparer.write();
            *preparer.unwrap_or_else(PoisonError::into_inner) = new;
        }
        response
    }

    fn answer(&self, sequence: u64, response: &Response) {
        let frame = crate::link::frame(sequence, &encode(response));
        // If it fails the host is gone; the reader sees the same and ends the process in order.
        let _ = lock(&self.writer).write_all(&frame);
    }
}

#[expect(clippy::large_enum_variant, reason = "one for each thread, moved once")]
enum Next {
    Job(Job),
    /// To be answered by name; the connection goes on (or has ended: the next read tells).
    Refused(u64, HsmError),
    Ended,
}

impl Reader {
    fn new(stream: UnixStream) -> Self {
        Self {
            stream: BufReader::with_capacity(1 << 16, stream),
            greeted: false,
            next_turn: 0,
            ended: None,
        }
    }

    fn next(&mut self) -> Next {
        if self.ended.is_some() {
            return Next::Ended;
        }
        match self.read_frame() {
            Ok(Some(body)) => self.parse(&body),
            Ok(None) => self.end(Ok(())),
            Err(error) => {
                let too_long = matches!(error, ServeError::Frames(TOO_LONG));
                let ended = self.end(Err(error));
                if too_long {
                    return Next::Refused(0, HsmError::FrameTooLong);
                }
                ended
            }
        }
    }

    fn end(&mut self, how: Result<(), ServeError>) -> Next {
        self.ended = Some(how);
        Next::Ended
    }

    /// One frame behind its length; none where the host closed between two.
    fn read_frame(&mut self) -> Result<Option<Vec<u8>>, ServeError> {
        let mut length = [0; 4];
        match self.stream.read_exact(&mut length) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            read => read.map_err(ServeError::Io)?,
        }
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > FRAME_BYTES_MAX {
            return Err(ServeError::Frames(TOO_LONG));
        }
        let mut body = vec![0; length];
        match self.stream.read_exact(&mut body) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Err(ServeError::Frames("the last frame is cut short"))
            }
            read => read.map(|()| Some(body)).map_err(ServeError::Io),
        }
    }

    fn parse(&mut self, body: &[u8]) -> Next {
        let Some((sequence, message)) = body.split_first_chunk::<8>() else {
            return Next::Refused(0, HsmError::FrameMalformed);
        };
        let sequence = u64::from_be_bytes(*sequence);
        let Ok(request) = decode::<Request>(message) else {
            return Next::Refused(sequence, HsmError::FrameMalformed);
        };
        let hello = matches!(request, Request::Hello { version } if version == FRAME_VERSION);
        if !self.greeted && !hello {
            // Also a greeting in another version.
            return Next::Refused(sequence, HsmError::WrongVersion);
        }
        self.greeted |= hello;
        if matches!(request, Request::Shutdown) {
            self.ended = Some(Ok(()));
        }
        let prepares = matches!(request, Request::Open { .. } | Request::Evaluate { .. });
        let turn = (!prepares).then(|| {
            let turn = self.next_turn;
            self.next_turn += 1;
            turn
        });
        Next::Job(Job {
            sequence,
            request,
            turn,
        })
    }
}

const TOO_LONG: &str = "a frame is longer than FRAME_BYTES_MAX";

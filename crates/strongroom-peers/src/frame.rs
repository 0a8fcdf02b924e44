//! Frames: length (4 bytes, of what follows) ‖ lane (1) ‖ correlation id (8) ‖ body.

use crate::counts::{Counts, Event};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufWriter};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// Lane and correlation id.
pub(crate) const HEAD_BYTES: usize = 9;

/// What is read or written in one call at least, if there is so much.
pub(crate) const BUFFER_BYTES: usize = 1 << 16;

/// Frames taken from a queue at once at most.
const FRAMES_TOGETHER: usize = 32;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// From the dialled end, first: the dialling end is known here. In TLS 1.3 a client does not
    /// learn from the handshake that its key was taken.
    Hello = 1,
    /// One way.
    Message = 2,
    /// Wants a response with the same correlation id.
    Request = 3,
    /// To a request.
    Response = 4,
    /// To a request that nobody will answer.
    Refusal = 5,
}

impl Lane {
    fn of(byte: u8) -> Option<Self> {
        [
            Self::Hello,
            Self::Message,
            Self::Request,
            Self::Response,
            Self::Refusal,
        ]
        .into_iter()
        .find(|lane| *lane as u8 == byte)
    }
}

/// A frame to send, and the room that it takes until it is written.
pub(crate) struct Frame {
    pub(crate) lane: Lane,
    pub(crate) correlation: u64,
    pub(crate) body: Vec<u8>,
    pub(crate) _room: Option<OwnedSemaphorePermit>,
}

impl Frame {
    pub(crate) fn hello() -> Self {
        Self {
            lane: Lane::Hello,
            correlation: 0,
            body: Vec::new(),
            _room: None,
        }
    }
}

/// How a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    /// The socket or TLS.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Closed here: another set of peers, a newer connection, the end of the program.
    #[error("closed here")]
    Here,
    /// A lane that this end of a connection does not get.
    #[error("misbehaved: a frame on lane {0:?} from the wrong end")]
    Misplaced(Lane),
    /// Too long.
    #[error("misbehaved: a frame of {length} bytes, of {most} at most")]
    Oversized { length: usize, most: usize },
    /// Shorter than its head.
    #[error("misbehaved: a frame of {0} bytes, shorter than its head")]
    Short(usize),
    /// No such lane.
    #[error("misbehaved: a frame on lane {0}, which there is not")]
    UnknownLane(u8),
}

impl End {
    pub(crate) fn count(&self, counts: &Counts) {
        match self {
            Self::Io(_) | Self::Here => {}
            Self::Misplaced(_) | Self::Oversized { .. } | Self::Short(_) | Self::UnknownLane(_) => {
                counts.count(Event::Misbehaved);
            }
        }
    }
}

/// The head of a frame whose body is still to be read.
pub(crate) struct Head {
    pub(crate) lane: Lane,
    pub(crate) correlation: u64,
    pub(crate) length: usize,
}

/// Reads a head. No byte of the body is waited for, or given room, before it is checked.
pub(crate) async fn read_head(
    stream: &mut (impl AsyncRead + Unpin),
    body_bytes_max: usize,
) -> Result<Head, End> {
    let length = stream.read_u32().await?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let most = body_bytes_max + HEAD_BYTES;
    if length > most {
        return Err(End::Oversized { length, most });
    }
    let Some(body) = length.checked_sub(HEAD_BYTES) else {
        return Err(End::Short(length));
    };
    let lane = stream.read_u8().await?;
    let lane = Lane::of(lane).ok_or(End::UnknownLane(lane))?;
    let correlation = stream.read_u64().await?;
    Ok(Head {
        lane,
        correlation,
        length: body,
    })
}

pub(crate) async fn read_body(
    stream: &mut (impl AsyncRead + Unpin),
    length: usize,
) -> Result<Vec<u8>, End> {
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

/// Reads a body that nobody wants.
pub(crate) async fn skip_body(
    stream: &mut (impl AsyncRead + Unpin),
    length: usize,
) -> Result<(), End> {
    let length = u64::try_from(length).unwrap_or(u64::MAX);
    let read = tokio::io::copy(&mut stream.take(length), &mut tokio::io::sink()).await?;
    if read < length {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(())
}

/// Writes what comes by a queue, as long as it is still wanted. What waits goes out together: fewer
/// records and system calls, here and at the other end.
pub(crate) async fn write_frames(
    stream: impl AsyncWrite + Unpin,
    queue: &mut mpsc::Receiver<Frame>,
    wanted: impl Fn(&Frame) -> bool,
) -> End {
    let mut stream = BufWriter::with_capacity(BUFFER_BYTES, stream);
    let mut waiting = Vec::new();
    while queue.recv_many(&mut waiting, FRAMES_TOGETHER).await > 0 {
        for frame in waiting.drain(..).filter(|frame| wanted(frame)) {
            if let Err(error) = write_frame(&mut stream, &frame).await {
                return error.into();
            }
        }
        if let Err(error) = stream.flush().await {
            return error.into();
        }
    }
    End::Here
}

async fn write_frame(stream: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> io::Result<()> {
    let length = u32::try_from(frame.body.len() + HEAD_BYTES);
    let length = length.map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut head = [0; 4 + HEAD_BYTES];
    head[..4].copy_from_slice(&length.to_be_bytes());
    head[4] = frame.lane as u8;
    head[5..].copy_from_slice(&frame.correlation.to_be_bytes());
    stream.write_all(&head).await?;
    stream.write_all(&frame.body).await
}

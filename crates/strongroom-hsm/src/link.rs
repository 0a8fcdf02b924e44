//! A synchronous link to an HSM process: for tools and tests. The node has its own, asynchronous
//! one.

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use strongroom_wire::frame::{Request, Response};
use strongroom_wire::limits::RESPONSE_BYTES_MAX;
use strongroom_wire::{decode, encode};

/// A running HSM process and the socket to it. Dropping it kills the process.
pub struct Link {
    child: Child,
    stream: UnixStream,
    sequence: u64,
}

/// One frame's bytes: length (4) ‖ sequence (8) ‖ message.
pub fn frame(sequence: u64, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len() + 8).expect("messages are below FRAME_BYTES_MAX");
    let mut out = Vec::with_capacity(message.len() + 12);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&sequence.to_be_bytes());
    out.extend_from_slice(message);
    out
}

impl Link {
    /// Starts the program with a socket as its standard input.
    ///
    /// # Errors
    /// Those of starting a process.
    pub fn spawn(program: &Path, dir: &Path) -> std::io::Result<Self> {
        let (stream, theirs) = UnixStream::pair()?;
        let child = Command::new(program)
            .arg("--dir")
            .arg(dir)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()?;
        Ok(Self {
            child,
            stream,
            sequence: 0,
        })
    }

    /// The socket, for tests that send what no host should.
    pub fn stream(&mut self) -> &mut UnixStream {
        &mut self.stream
    }

    /// The process, for tests that kill it.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends a request and waits for its response.
    ///
    /// # Errors
    /// Those of the socket; `InvalidData` for a response that is none.
    pub fn call(&mut self, request: &Request) -> std::io::Result<Response> {
        self.sequence += 1;
        self.stream
            .write_all(&frame(self.sequence, &encode(request)))?;
        loop {
            let (sequence, response) = self.receive()?;
            if sequence == self.sequence {
                return Ok(response);
            }
        }
    }

    /// Waits for any response.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn receive(&mut self) -> std::io::Result<(u64, Response)> {
        let invalid = || std::io::Error::from(std::io::ErrorKind::InvalidData);
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = usize::try_from(u32::from_be_bytes(length)).map_err(|_| invalid())?;
        if !(8..=RESPONSE_BYTES_MAX).contains(&length) {
            return Err(invalid());
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        let (sequence, message) = body.split_first_chunk::<8>().ok_or_else(invalid)?;
        let response = decode(message).map_err(|_| invalid())?;
        Ok((u64::from_be_bytes(*sequence), response))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

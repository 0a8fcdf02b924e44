//! The joint between the thread that works on a stream and the task that moves it.
//!
//! Memory is bounded by the channel: the thread waits when the network is slow, the task waits when
//! the thread is slow. Either side may vanish; the other then sees a broken pipe or the end.

use std::io::{self, Read, Write};
use tokio::sync::mpsc::{Receiver, Sender};

/// Parts that wait in the channel. Each side holds one more, and uploads hold theirs.
pub(crate) const WAITING_MAX: usize = 1;

/// Collects written bytes into parts of one size and sends them. For a thread, not for a task.
pub(crate) struct PartWriter {
    sender: Sender<Vec<u8>>,
    part: Vec<u8>,
    part_bytes: usize,
}

impl PartWriter {
    pub(crate) fn new(sender: Sender<Vec<u8>>, part_bytes: usize) -> Self {
        Self {
            sender,
            part: Vec::new(),
            part_bytes,
        }
    }

    /// Sends what is left. A writer that is dropped instead sends no more.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        if self.part.is_empty() {
            return Ok(());
        }
        self.send()
    }

    fn send(&mut self) -> io::Result<()> {
        let part = std::mem::take(&mut self.part);
        // The receiver knows better than we do why it stopped.
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.sender.blocking_send(part).map_err(gone)
    }
}

impl Write for PartWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.part.capacity() == 0 {
            // At once, instead of doubling: this is where the memory goes.
            self.part.reserve_exact(self.part_bytes);
        }
        let taken = bytes.len().min(self.part_bytes - self.part.len());
        self.part.extend_from_slice(&bytes[..taken]);
        if self.part.len() == self.part_bytes {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads the parts that a task sends. Ends when the task is done *or failed*: the caller asks it.
pub(crate) struct PartReader<B> {
    receiver: Receiver<B>,
    part: Option<B>,
    at: usize,
}

impl<B: AsRef<[u8]>> PartReader<B> {
    pub(crate) fn new(receiver: Receiver<B>) -> Self {
        Self {
            receiver,
            part: None,
            at: 0,
        }
    }
}

impl<B: AsRef<[u8]>> Read for PartReader<B> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let rest = self.part.as_ref().map(|part| &part.as_ref()[self.at..]);
            if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
                let taken = rest.len().min(into.len());
                into[..taken].copy_from_slice(&rest[..taken]);
                self.at += taken;
                return Ok(taken);
            }
            // Freed before waiting for the next.
            self.part = None;
            self.at = 0;
            self.part = self.receiver.blocking_recv();
            if self.part.is_none() {
                return Ok(0);
            }
        }
    }
}

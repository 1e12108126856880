//! What a child process says: news on its standard output, text for the log on its standard error.
//!
//! Both are read as they come, so a child never waits for them, and neither can flood anything: of a log
//! the beginning and the end are kept, of progress the newest, of warnings the first ones.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::process::{ChildStderr, ChildStdout};
use std::time::{Duration, Instant};

use super::child::Peak;
use crate::stage::{Progress, Update};
use crate::text::bytes;

/// The most bytes of a log at its beginning, and at its end.
const HEAD: u64 = 16 << 20;
const TAIL: usize = 64 << 10;
/// A longer line is no news.
const LINE: usize = 1 << 20;
/// Progress is told so often at most.
const OFTEN: Duration = Duration::from_millis(20);
/// How long what is left in the pipes of a child that has ended may take.
const REST: Duration = Duration::from_secs(2);
/// More warnings of a stage are in its log only.
const WARNINGS: usize = 100;

/// The two pipes of a child.
pub(super) struct Output {
    news: ChildStdout,
    text: ChildStderr,
    /// Whether each of them is open.
    open: [bool; 2],
    buffer: Vec<u8>,
    log: Log,
    /// Progress that is not told yet, and when some was told last.
    held: Option<Update>,
    told: Option<Instant>,
    warnings: usize,
    /// The most memory that the child says to have had.
    pub peak: Option<Peak>,
}

impl Output {
    pub fn new(news: ChildStdout, text: ChildStderr, log: File) -> io::Result<Output> {
        for pipe in [news.as_raw_fd(), text.as_raw_fd()] {
            // SAFETY: plain system calls on an open descriptor.
            let set = unsafe { libc::fcntl(pipe, libc::F_SETFL, libc::fcntl(pipe, libc::F_GETFL) | libc::O_NONBLOCK) };
            if set == -1 {
                return Err(io::Error::last_os_error());
            }
        }
        let (buffer, log) = (Vec::new(), Log { file: log, written: 0, left_out: 0, tail: VecDeque::new() });
        Ok(Output { news, text, open: [true; 2], buffer, log, held: None, told: None, warnings: 0, peak: None })
    }

    /// Waits for something to be said, and passes it on. Returns whether more may come.
    pub fn pass_on(&mut self, patience: Duration, progress: &dyn Progress) -> io::Result<bool> {
        if self.open == [false; 2] {
            return Ok(false);
        }
        let pipe = |fd, open| libc::pollfd { fd: if open { fd } else { -1 }, events: libc::POLLIN, revents: 0 };
        let mut polls = [pipe(self.news.as_raw_fd(), self.open[0]), pipe(self.text.as_raw_fd(), self.open[1])];
        // SAFETY: the pointer is to two pollfds that outlive the call.
        unsafe { libc::poll(polls.as_mut_ptr(), 2, patience.as_millis() as libc::c_int) };
        self.read(progress)?;
        Ok(self.open != [false; 2])
    }

    /// Passes on what is left in the pipes. Should someone have got away who still writes, not for ever.
    pub fn finish(&mut self, progress: &dyn Progress) -> io::Result<()> {
        let since = Instant::now();
        while self.read(progress)? && since.elapsed() < REST {}
        if !self.buffer.is_empty() {
            let rest = std::mem::take(&mut self.buffer);
            self.line(&rest, progress);
        }
        self.tell(progress);
        Ok(())
    }

    /// Reads once from each pipe without waiting. Returns whether there was something.
    fn read(&mut self, progress: &dyn Progress) -> io::Result<bool> {
        let mut chunk = [0; 1 << 16];
        let mut any = false;
        if self.open[1] {
            let read = once(&mut self.text, &mut chunk)?;
            self.open[1] = read != Some(0);
            self.log.write(&chunk[..read.unwrap_or(0)]);
            any |= read.unwrap_or(0) > 0;
        }
        if self.open[0] {
            let read = once(&mut self.news, &mut chunk)?;
            self.open[0] = read != Some(0);
            self.buffer.extend_from_slice(&chunk[..read.unwrap_or(0)]);
            any |= read.unwrap_or(0) > 0;
            self.lines(progress);
        }
        if self.told.is_none_or(|told| told.elapsed() >= OFTEN) {
            self.tell(progress);
        }
        Ok(any)
    }

    fn lines(&mut self, progress: &dyn Progress) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut start = 0;
        while let Some(end) = memchr::memchr(b'\n', &buffer[start..]).map(|end| start + end + 1) {
            self.line(&buffer[start..end], progress);
            start = end;
        }
        if buffer.len() - start > LINE {
            self.log.write(&buffer[start..]);
            start = buffer.len();
        }
        drop(buffer.drain(..start));
        self.buffer = buffer;
    }

    /// Reports an update; what is none belongs in the log.
    fn line(&mut self, line: &[u8], progress: &dyn Progress) {
        match serde_json::from_slice::<Update>(line) {
            Ok(update @ Update::Progress { .. }) => {
                self.held = Some(update);
                if self.told.is_none() {
                    self.tell(progress);
                }
            }
            Ok(Update::Warning(message)) => {
                self.tell(progress);
                self.warnings += 1;
                match self.warnings {
                    1..=WARNINGS => progress.update(Update::Warning(message)),
                    _ => self.log.write(format!("warning: {message}\n").as_bytes()),
                }
            }
            Err(_) => match serde_json::from_slice::<Peak>(line) {
                Ok(peak) => self.peak = Some(peak),
                Err(_) => self.log.write(line),
            },
        }
    }

    /// Tells the progress that is held.
    fn tell(&mut self, progress: &dyn Progress) {
        if let Some(update) = self.held.take() {
            progress.update(update);
            self.told = Some(Instant::now());
        }
    }
}

/// Reads what is there: `None` if nothing is yet.
fn once(pipe: &mut impl Read, chunk: &mut [u8]) -> io::Result<Option<usize>> {
    match pipe.read(chunk) {
        Ok(read) => Ok(Some(read)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A file that does not grow beyond measure.
struct Log {
    file: File,
    written: u64,
    /// Bytes that are in neither the file nor the tail.
    left_out: u64,
    tail: VecDeque<u8>,
}

impl Log {
    /// A log that cannot be written, on a full disk perhaps, is no reason to stop the stage.
    fn write(&mut self, text: &[u8]) {
        let room = HEAD.saturating_sub(self.written).min(text.len() as u64) as usize;
        let (head, rest) = text.split_at(room);
        let _ = self.file.write_all(head);
        self.written += room as u64;
        let rest_kept = &rest[rest.len().saturating_sub(TAIL)..];
        let surplus = (self.tail.len() + rest_kept.len()).saturating_sub(TAIL);
        self.left_out += (surplus + rest.len() - rest_kept.len()) as u64;
        drop(self.tail.drain(..surplus));
        self.tail.extend(rest_kept);
    }
}

impl Drop for Log {
    /// The end of a log says most.
    fn drop(&mut self) {
        if self.left_out > 0 {
            let note = format!("\n… {} are left out here …\n", bytes(self.left_out));
            let _ = self.file.write_all(note.as_bytes());
        }
        let (one, two) = self.tail.as_slices();
        let _ = self.file.write_all(one).and_then(|()| self.file.write_all(two));
    }
}

//! A process that stage processes are forked from: short stages take less time than a program takes to start.
//!
//! It is forked from this one before there is any other thread, and does nothing but wait. Asked for a
//! stage, it forks a process that is a child of the asking process, not its own, so that whoever waits for a
//! stage, measures it and stops it does so as with any other child. A stage in it is as alone as in a
//! process that was started: it has its own memory, process group and standard streams, and the same small
//! environment. The nursery ends with the process that started it; should it end before, stages are
//! started the other way. Only Linux has what this needs.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::Duration;

use super::child::{PARENT, THREADS, is_passed};
use super::orphans::{EXECUTION, described};

/// The longest call, in bytes: the system takes no much longer messages.
pub(super) const LONGEST: usize = 64 << 10;
/// How long the nursery may take to fork before it is given up, stopped by somebody perhaps.
const PATIENCE: Duration = Duration::from_secs(10);
/// The status of a stage that panicked.
const PANICKED: i32 = 101;

/// What the nursery is asked for.
pub(super) struct Request<'r> {
    /// The call of the stage, in JSON.
    pub call: &'r [u8],
    /// Threads that it computes with.
    pub threads: usize,
    /// What its execution is told apart by (`orphans.rs`).
    pub mark: u64,
}

/// The nursery, as the process sees it that started it.
pub struct Nursery {
    /// One request and its answer at a time. `None` after one that came to nothing: nobody knows whether an
    /// answer is still to come.
    socket: Mutex<Option<OwnedFd>>,
    id: libc::pid_t,
}

impl Nursery {
    /// Forks the nursery. `run` executes the stage of a call in JSON, and returns the exit status.
    /// `None` where that cannot be done, or where there are other threads, whose locks a fork would copy.
    pub fn start(run: impl Fn(&[u8]) -> i32) -> Option<Nursery> {
        if !cfg!(target_os = "linux") || std::fs::read_dir("/proc/self/task").ok()?.count() != 1 {
            return None;
        }
        let (ours, theirs) = sockets().ok()?;
        be_patient(&ours, PATIENCE).ok()?;
        // SAFETY: there are no other threads, so the copy may do all that this process may.
        match unsafe { libc::fork() } {
            -1 => None,
            0 => {
                drop(ours);
                // Nothing may unwind into what the copy has of its caller.
                let _ = catch_unwind(AssertUnwindSafe(|| serve(&theirs, run)));
                // SAFETY: ends the process without the exit handlers of the one that it is a copy of.
                unsafe { libc::_exit(0) }
            }
            id => Some(Nursery { socket: Mutex::new(Some(ours)), id }),
        }
    }

    /// Starts a process for a stage, and returns its id. It writes to these pipes.
    ///
    /// # Errors
    ///
    /// If the nursery is gone, or the system has no room for a process.
    pub(super) fn begin(&self, request: &Request<'_>, news: &OwnedFd, text: &OwnedFd) -> io::Result<libc::pid_t> {
        // Without its reply nobody knows of a process, and it must not begin: another one is started then.
        let (start, mut go) = io::pipe()?;
        let Request { call, threads, mark } = request;
        let message = [&threads.to_le_bytes(), &mark.to_le_bytes(), *call].concat();
        let mut lock = self.socket.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let socket = lock.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let mut room = [0; 16];
        let asked = send(socket, &message, &[&start.into(), news, text]).and_then(|()| receive(socket, &mut room));
        let answer = asked.ok().and_then(|(answer, _)| answer.first_chunk().copied());
        let Some(answer) = answer else {
            *lock = None;
            return Err(io::ErrorKind::ConnectionAborted.into());
        };
        drop(lock);
        match libc::pid_t::from_le_bytes(answer) {
            error if error < 0 => Err(io::Error::from_raw_os_error(-error)),
            id => {
                // Should it be gone already, whoever waits for it finds out.
                let _ = go.write_all(&[0]);
                Ok(id)
            }
        }
    }
}

impl Drop for Nursery {
    /// There is nothing that the nursery would still have to do.
    fn drop(&mut self) {
        // SAFETY: plain system calls on a child that was not waited for yet; a null status is allowed.
        unsafe {
            libc::kill(self.id, libc::SIGKILL);
            libc::waitpid(self.id, std::ptr::null_mut(), 0);
        }
    }
}

/// What the nursery does until nobody can ask any more.
fn serve(socket: &OwnedFd, run: impl Fn(&[u8]) -> i32) -> io::Result<()> {
    // SAFETY: plain system calls; the parent is the process that forked this one.
    let parent = unsafe {
        libc::setpgid(0, 0);
        #[cfg(target_os = "linux")]
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        #[cfg(target_os = "linux")]
        libc::prctl(libc::PR_SET_NAME, c"runner-nursery".as_ptr());
        libc::getppid()
    };
    let nothing: OwnedFd = std::fs::File::options().read(true).write(true).open("/dev/null")?.into();
    (0..3).try_for_each(|stream| replace(&nothing, stream))?;
    let strange: Vec<OsString> = std::env::vars_os().map(|(name, _)| name).filter(|name| !is_passed(name)).collect();
    // SAFETY: this process has one thread.
    unsafe {
        strange.iter().for_each(|name| std::env::remove_var(name));
        std::env::set_var(PARENT, parent.to_string());
    }
    let mut room = vec![0; size_of::<usize>() + size_of::<u64>() + LONGEST];
    loop {
        let (request, pipes) = receive(socket, &mut room)?;
        let Some((threads, rest)) = request.split_first_chunk() else { return Ok(()) };
        let Some((mark, call)) = rest.split_first_chunk() else { return Ok(()) };
        let id = fork_sibling();
        if id != 0 {
            let answer = if id > 0 { id } else { -io::Error::last_os_error().raw_os_error().unwrap_or(libc::EAGAIN) };
            send(socket, &answer.to_le_bytes(), &[])?;
            continue;
        }
        // SAFETY: this process has one thread.
        unsafe {
            libc::setpgid(0, 0);
            #[cfg(target_os = "linux")]
            libc::prctl(libc::PR_SET_NAME, c"runner-stage".as_ptr());
            std::env::set_var(THREADS, usize::from_le_bytes(*threads).to_string());
            std::env::set_var(EXECUTION, described(parent as u32, u64::from_le_bytes(*mark)));
        }
        let prepare = move || -> io::Result<()> {
            // SAFETY: the descriptor is not used any more: the process ends below.
            unsafe { libc::close(socket.as_raw_fd()) };
            let [start, news, text] = <[OwnedFd; 3]>::try_from(pipes).map_err(|_| io::ErrorKind::InvalidInput)?;
            replace(&news, 1)?;
            replace(&text, 2)?;
            std::fs::File::from(start).read_exact(&mut [0])
        };
        let status = match prepare() {
            Ok(()) => catch_unwind(AssertUnwindSafe(|| run(call))).unwrap_or(PANICKED),
            Err(_) => PANICKED,
        };
        std::process::exit(status);
    }
}

/// Forks a process that is a child of this one's parent. Returns 0 in it, and its id, or -1, in this one.
fn fork_sibling() -> libc::pid_t {
    #[cfg(target_os = "linux")]
    {
        let flags = libc::CLONE_PARENT | libc::SIGCHLD;
        // SAFETY: without a stack of its own the copy goes on here, as after a fork; there is one thread.
        unsafe { libc::syscall(libc::SYS_clone, flags as libc::c_long, 0, 0, 0, 0) as libc::pid_t }
    }
    #[cfg(not(target_os = "linux"))]
    {
        -1
    }
}

fn replace(descriptor: &OwnedFd, stream: libc::c_int) -> io::Result<()> {
    // SAFETY: a plain system call on an open descriptor.
    match unsafe { libc::dup2(descriptor.as_raw_fd(), stream) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Two ends of a connection that keeps messages apart.
fn sockets() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: the pointer is to two descriptors, which nobody else has once they are made.
    unsafe {
        if libc::socketpair(libc::AF_UNIX, libc::SOCK_SEQPACKET | CLOSE_ON_EXEC, 0, ends.as_mut_ptr()) == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok((OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])))
    }
}

/// Lets nobody wait for longer at a socket, to send or to receive.
fn be_patient(socket: &OwnedFd, patience: Duration) -> io::Result<()> {
    let time = libc::timeval { tv_sec: patience.as_secs() as libc::time_t, tv_usec: 0 };
    let size = size_of::<libc::timeval>() as libc::socklen_t;
    for option in [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO] {
        // SAFETY: the pointer is to a variable that outlives the call.
        let set =
            unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, (&raw const time).cast(), size) };
        if set == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

#[cfg(target_os = "linux")]
const CLOSE_ON_EXEC: libc::c_int = libc::SOCK_CLOEXEC;
#[cfg(not(target_os = "linux"))]
const CLOSE_ON_EXEC: libc::c_int = 0;

/// Room for the descriptors of a message, aligned as its header must be.
#[repr(align(8))]
struct Room([u8; 64]);

/// Sends a message with descriptors.
fn send(socket: &OwnedFd, message: &[u8], descriptors: &[&OwnedFd]) -> io::Result<()> {
    let mut part = libc::iovec { iov_base: message.as_ptr().cast_mut().cast(), iov_len: message.len() };
    let mut room = Room([0; 64]);
    let size = descriptors.len() * size_of::<libc::c_int>();
    // SAFETY: all pointers are to variables that outlive the call; there is room for all descriptors
    // that are sent.
    let sent = unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        (header.msg_iov, header.msg_iovlen) = (&mut part, 1);
        if !descriptors.is_empty() {
            header.msg_control = room.0.as_mut_ptr().cast();
            header.msg_controllen = libc::CMSG_SPACE(size as u32) as _;
            let control = libc::CMSG_FIRSTHDR(&header);
            (*control).cmsg_level = libc::SOL_SOCKET;
            (*control).cmsg_type = libc::SCM_RIGHTS;
            (*control).cmsg_len = libc::CMSG_LEN(size as u32) as _;
            let places = libc::CMSG_DATA(control).cast::<libc::c_int>();
            for (place, descriptor) in descriptors.iter().enumerate() {
                places.add(place).write_unaligned(descriptor.as_raw_fd());
            }
        }
        libc::sendmsg(socket.as_raw_fd(), &header, libc::MSG_NOSIGNAL)
    };
    if sent == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Waits for a message, for which there is room. It is empty when the other end is gone.
fn receive<'m>(socket: &OwnedFd, message: &'m mut [u8]) -> io::Result<(&'m [u8], Vec<OwnedFd>)> {
    let mut part = libc::iovec { iov_base: message.as_mut_ptr().cast(), iov_len: message.len() };
    let mut room = Room([0; 64]);
    let mut descriptors = Vec::new();
    // SAFETY: all pointers are to variables that outlive the call; the system says how many descriptors
    // there are, and nobody else has them.
    let received = unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        (header.msg_iov, header.msg_iovlen) = (&mut part, 1);
        header.msg_control = room.0.as_mut_ptr().cast();
        header.msg_controllen = room.0.len() as _;
        let received = loop {
            match libc::recvmsg(socket.as_raw_fd(), &mut header, RECEIVE) {
                -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                received => break received,
            }
        };
        let control = libc::CMSG_FIRSTHDR(&header);
        if received > 0 && !control.is_null() && (*control).cmsg_type == libc::SCM_RIGHTS {
            let size = (*control).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
            let places = libc::CMSG_DATA(control).cast::<libc::c_int>();
            for place in 0..size / size_of::<libc::c_int>() {
                descriptors.push(OwnedFd::from_raw_fd(places.add(place).read_unaligned()));
            }
        }
        received
    };
    match usize::try_from(received) {
        Err(_) => Err(io::Error::last_os_error()),
        Ok(length) => Ok((&message[..length], descriptors)),
    }
}

#[cfg(target_os = "linux")]
const RECEIVE: libc::c_int = libc::MSG_CMSG_CLOEXEC;
#[cfg(not(target_os = "linux"))]
const RECEIVE: libc::c_int = 0;

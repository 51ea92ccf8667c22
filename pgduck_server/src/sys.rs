//! System calls that the standard library does not offer, as safe functions.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Turns a system call's result into a `Result`.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// An anonymous file in memory, closed on exec.
pub fn memory_file(name: &str) -> io::Result<OwnedFd> {
    let name = CString::new(name)?;
    // SAFETY: the name is a valid C string; the descriptor returned is new and ours.
    unsafe {
        Ok(OwnedFd::from_raw_fd(check(libc::memfd_create(
            name.as_ptr(),
            libc::MFD_CLOEXEC,
        ))?))
    }
}

/// A pipe of about `bytes` capacity: (read end, which blocks; write end, which does not).
pub fn pipe(bytes: usize) -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0 as RawFd; 2];
    // SAFETY: `ends` has room for two descriptors, which are new and ours.
    let (read, write) = unsafe {
        check(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC))?;
        (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
    };
    // SAFETY: `write` is an open descriptor; only its file status flags change.
    unsafe {
        check(libc::fcntl(
            write.as_raw_fd(),
            libc::F_SETFL,
            libc::O_NONBLOCK,
        ))?
    };
    // A smaller pipe (the per-user limit may be used up) is slower and works as well.
    let size = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    // SAFETY: `write` is an open pipe.
    unsafe { libc::fcntl(write.as_raw_fd(), libc::F_SETPIPE_SZ, size) };
    Ok((read, write))
}

/// A timer that one thread waits for, and others set.
#[derive(Debug)]
pub struct Timer(OwnedFd);

impl Timer {
    /// A timer that is not set.
    pub fn new() -> io::Result<Timer> {
        // SAFETY: takes no memory; the descriptor returned is new and ours.
        let timer = unsafe {
            OwnedFd::from_raw_fd(check(libc::timerfd_create(
                libc::CLOCK_MONOTONIC,
                libc::TFD_CLOEXEC,
            ))?)
        };
        Ok(Timer(timer))
    }

    /// Makes it go off once, after this time.
    pub fn set(&self, after: Duration) {
        let zero = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let value = libc::timespec {
            tv_sec: after.as_secs() as libc::time_t,
            tv_nsec: libc::c_long::from(after.subsec_nanos() as i32),
        };
        let time = libc::itimerspec {
            it_interval: zero,
            it_value: value,
        };
        // SAFETY: the timer is open and `time` valid for reading; with valid times the call does not fail.
        unsafe { libc::timerfd_settime(self.0.as_raw_fd(), 0, &time, std::ptr::null_mut()) };
    }

    /// Keeps it from going off.
    pub fn clear(&self) {
        self.set(Duration::ZERO);
    }

    /// Waits until it goes off.
    pub fn wait(&self) {
        let mut times = 0u64;
        // SAFETY: a timer is read into eight bytes. Without success the caller looks once too often.
        unsafe {
            libc::read(
                self.0.as_raw_fd(),
                (&raw mut times).cast(),
                size_of::<u64>(),
            )
        };
    }
}

/// Makes `target` refer to what `source` refers to, in one step; the old file of `target` is closed.
pub fn replace_descriptor(source: OwnedFd, target: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: both descriptors are open and different, and `target` stays owned by its owner.
    unsafe {
        check(libc::dup3(
            source.as_raw_fd(),
            target.as_raw_fd(),
            libc::O_CLOEXEC,
        ))
        .map(|_| ())
    }
}

/// Sends what a socket takes at once.
pub fn send(socket: &impl AsRawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the socket is open, and `bytes` is valid for its length.
    let sent = unsafe {
        libc::send(
            socket.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Waits until a socket takes data or is closed, or until the time is over.
pub fn wait_until_writable(socket: &impl AsRawFd, timeout: Duration) {
    poll(socket, libc::POLLOUT, timeout);
}

/// Whether the other side of a socket has closed it, or half of it. Unread data does not hide that.
pub fn peer_has_closed(socket: &impl AsRawFd) -> bool {
    let closed = libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR;
    poll(socket, libc::POLLRDHUP, Duration::ZERO) & closed != 0
}

/// Waits for events of a descriptor, and returns those that came.
fn poll(descriptor: &impl AsRawFd, events: libc::c_short, timeout: Duration) -> libc::c_short {
    let mut entry = libc::pollfd {
        fd: descriptor.as_raw_fd(),
        events,
        revents: 0,
    };
    let milliseconds = libc::c_int::try_from(timeout.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: `entry` is valid for reading and writing. A failure leaves it without events.
    unsafe { libc::poll(&mut entry, 1, milliseconds) };
    entry.revents
}

/// Sets the mask of permission bits that new files and directories do not get.
pub fn set_umask(mask: u32) {
    // SAFETY: cannot fail, and touches no memory.
    unsafe { libc::umask(mask) };
}

/// Raises the number of files that this process may open as far as it is allowed to.
pub fn raise_open_file_limit() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is valid for reading and writing.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}

/// The numeric id of a group, given by name or number.
pub fn group_id(group: &str) -> io::Result<u32> {
    if let Ok(id) = group.parse() {
        return Ok(id);
    }
    let name = CString::new(group)?;
    // SAFETY: the name is a valid C string; the result is read before any other call of this family, and only
    // start-up, which has one thread, calls this.
    unsafe {
        let entry = libc::getgrnam(name.as_ptr());
        if entry.is_null() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("no group \"{group}\""),
            ));
        }
        Ok((*entry).gr_gid)
    }
}

/// Bytes from the kernel's random number generator.
pub fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    // SAFETY: `bytes` is valid for `N` bytes; up to 256 bytes come in one piece.
    let read = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), N, 0) };
    if read == N as isize {
        Ok(bytes)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Switches on TCP keepalive with times that notice a dead peer within about two minutes.
pub fn set_keepalive(socket: &impl AsRawFd) {
    let options = [
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1),
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, 60),
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, 15),
        (libc::IPPROTO_TCP, libc::TCP_KEEPCNT, 4),
    ];
    for (level, name, value) in options {
        let value: libc::c_int = value;
        // SAFETY: the socket is open and the value an int, as all these options want. A failure costs only the feature.
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                level,
                name,
                (&raw const value).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            );
        }
    }
}

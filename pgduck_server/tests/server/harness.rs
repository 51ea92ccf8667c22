//! Starts a server on a free port, with a directory of its own, and removes everything at the end.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::wire_client::Client;

/// Numbers the directories of one test process.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A running server.
pub struct TestServer {
    child: Child,
    /// Its TCP port.
    pub port: u16,
    /// Its directory: socket, and whatever a test writes.
    pub directory: PathBuf,
}

impl TestServer {
    /// Starts a server with two DuckDB threads.
    pub fn start() -> TestServer {
        TestServer::start_with(&[])
    }

    /// Starts a server with further flags.
    pub fn start_with(flags: &[&str]) -> TestServer {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("pgduck_test_{}_{number}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        for _ in 0..5 {
            let port = free_port();
            let mut child = Command::new(env!("CARGO_BIN_EXE_pgduck_server"))
                .args([
                    "--listen_addresses",
                    "127.0.0.1",
                    "--port",
                    &port.to_string(),
                ])
                .args(["--threads", "2", "--memory_limit", "1GB"])
                .arg("--unix_socket_directory")
                .arg(&directory)
                .arg("--recv_dir")
                .arg(&directory)
                .args(flags)
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let deadline = Instant::now() + Duration::from_secs(20);
            while Instant::now() < deadline && child.try_wait().unwrap().is_none() {
                if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return TestServer {
                        child,
                        port,
                        directory,
                    };
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("the server did not start");
    }

    /// A new session.
    pub fn connect(&self) -> Client {
        Client::connect(self.port)
    }

    /// A path in the server's directory.
    pub fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.pid().to_string())
            .status();
        assert!(status.unwrap().success());
    }

    /// Waits for the process to end by itself; its exit code.
    pub fn wait(&mut self, limit: Duration) -> Option<i32> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the server did not end within {limit:?}");
    }

    /// Names of all files below the directory, but for the socket.
    pub fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        let mut open = vec![self.directory.clone()];
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(&directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else if path.is_file() {
                    files.push(relative(&path, &self.directory));
                }
            }
        }
        files.sort();
        files
    }

    /// Open descriptors of the server.
    pub fn open_descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .unwrap()
            .count()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn relative(path: &Path, base: &Path) -> String {
    path.strip_prefix(base).unwrap().display().to_string()
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Polls until `due` says yes.
pub fn eventually(what: &str, mut due: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !due() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

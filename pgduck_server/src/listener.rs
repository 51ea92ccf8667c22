//! Listening sockets, and the loop that accepts clients.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};

use crate::cli::Config;
use crate::server::Server;
use crate::startup;
use crate::sys;
use crate::wire::transport::Transport;

/// Longest pause after a failed accept.
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// All sockets that the server listens on.
#[derive(Debug)]
pub struct Listeners {
    tcp: Vec<TcpListener>,
    unix: Option<(UnixListener, PathBuf)>,
}

impl Listeners {
    /// Opens the sockets that the configuration asks for.
    pub async fn open(config: &Config) -> Result<Listeners, String> {
        let mut tcp = Vec::new();
        for address in tcp_addresses(config)? {
            let listener = TcpListener::bind(address)
                .await
                .map_err(|error| format!("could not listen on {address}: {error}"))?;
            tcp.push(listener);
        }
        let unix = match config.unix_socket_directory.as_str() {
            "" => None,
            directory => Some(open_unix(Path::new(directory), config).await?),
        };
        if tcp.is_empty() && unix.is_none() {
            return Err(
                "neither --listen_addresses nor --unix_socket_directory says where to listen"
                    .into(),
            );
        }
        Ok(Listeners { tcp, unix })
    }

    /// Where clients find the server, for the log.
    pub fn places(&self) -> Vec<String> {
        let tcp = self
            .tcp
            .iter()
            .filter_map(|listener| listener.local_addr().ok());
        let unix = self.unix.iter().map(|(_, path)| path.display().to_string());
        tcp.map(|address| address.to_string()).chain(unix).collect()
    }

    /// Accepts clients until the server stops. The sockets are closed, and the Unix socket's file removed, then.
    pub async fn accept_clients(self, server: &Arc<Server>) {
        let mut tasks = tokio::task::JoinSet::new();
        let mut unix_path = None;
        for listener in self.tcp {
            tasks.spawn(accept_tcp(listener, Arc::clone(server)));
        }
        if let Some((listener, path)) = self.unix {
            unix_path = Some(path);
            tasks.spawn(accept_unix(listener, Arc::clone(server)));
        }
        let mut shutdown = server.shutdown_signal();
        let _ = shutdown.wait_for(|stop| *stop).await;
        tasks.shutdown().await;
        if let Some(path) = unix_path {
            let _ = fs::remove_file(path);
        }
    }
}

/// The TCP addresses to listen on; anything but loopback needs the flag that says so.
fn tcp_addresses(config: &Config) -> Result<Vec<SocketAddr>, String> {
    let mut addresses = Vec::new();
    for name in config
        .listen_addresses
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
    {
        let found: Vec<SocketAddr> = if name == "*" {
            vec![SocketAddr::new(
                IpAddr::V4([0, 0, 0, 0].into()),
                config.port,
            )]
        } else {
            (name.trim_matches(['[', ']']), config.port)
                .to_socket_addrs()
                .map_err(|error| format!("could not resolve \"{name}\": {error}"))?
                .collect()
        };
        for address in found {
            if !address.ip().is_loopback() && !config.insecure_listen {
                return Err(format!(
                    "refusing to listen on {} without authentication: other machines can reach it \
                     (--insecure_listen allows it)",
                    address.ip()
                ));
            }
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    Ok(addresses)
}

/// Opens the Unix socket. A file of a server that is gone is replaced, a live server's is not.
async fn open_unix(directory: &Path, config: &Config) -> Result<(UnixListener, PathBuf), String> {
    let path = directory.join(format!(".s.PGSQL.{}", config.port));
    let failed = |error: io::Error| format!("could not listen on \"{}\": {error}", path.display());
    if path.exists() {
        if tokio::net::UnixStream::connect(&path).await.is_ok() {
            return Err(format!(
                "another server is listening on \"{}\"",
                path.display()
            ));
        }
        fs::remove_file(&path).map_err(failed)?;
    }
    let listener = UnixListener::bind(&path).map_err(failed)?;
    if !config.unix_socket_group.is_empty() {
        let group = sys::group_id(&config.unix_socket_group).map_err(failed)?;
        std::os::unix::fs::chown(&path, None, Some(group)).map_err(failed)?;
    }
    let permissions = fs::Permissions::from_mode(config.unix_socket_permissions);
    fs::set_permissions(&path, permissions).map_err(failed)?;
    Ok((listener, path))
}

/// Accepts clients of a TCP socket.
async fn accept_tcp(listener: TcpListener, server: Arc<Server>) {
    let mut backoff = Backoff::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                backoff = Backoff::default();
                let _ = stream.set_nodelay(true);
                sys::set_keepalive(&stream);
                tokio::spawn(startup::serve(Arc::clone(&server), Transport::Tcp(stream)));
            }
            Err(error) => backoff.pause(&error).await,
        }
    }
}

/// Accepts clients of a Unix socket.
async fn accept_unix(listener: UnixListener, server: Arc<Server>) {
    let mut backoff = Backoff::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                backoff = Backoff::default();
                tokio::spawn(startup::serve(Arc::clone(&server), Transport::Unix(stream)));
            }
            Err(error) => backoff.pause(&error).await,
        }
    }
}

/// Growing pauses while accept fails, for instance because the process may open no more files.
#[derive(Debug)]
struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff(Duration::from_millis(5))
    }
}

impl Backoff {
    async fn pause(&mut self, error: &io::Error) {
        tracing::warn!(%error, "could not accept a connection");
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(MAX_BACKOFF);
    }
}

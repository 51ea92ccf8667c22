//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// A stateless DuckDB server that speaks the PostgreSQL protocol.
#[derive(Debug, Clone, Parser)]
#[command(name = "pgduck_server", version, about)]
pub struct Config {
    /// Directory of the Unix socket; empty for none
    #[arg(long = "unix_socket_directory", default_value = pgduck_protocol::DEFAULT_SOCKET_DIRECTORY)]
    pub unix_socket_directory: String,

    /// Group of the Unix socket
    #[arg(long = "unix_socket_group", default_value = "")]
    pub unix_socket_group: String,

    /// Permissions of the Unix socket, octal
    #[arg(long = "unix_socket_permissions", default_value = "0770", value_parser = octal)]
    pub unix_socket_permissions: u32,

    /// Port, for TCP and for the name of the Unix socket
    #[arg(long = "port", default_value_t = pgduck_protocol::DEFAULT_PORT)]
    pub port: u16,

    /// Addresses to listen on with TCP, separated by commas; empty for none
    #[arg(long = "listen_addresses", default_value = "")]
    pub listen_addresses: String,

    /// Listen on addresses that other machines can reach, although there is no authentication
    #[arg(long = "insecure_listen")]
    pub insecure_listen: bool,

    /// Most clients at a time
    #[arg(long = "max_clients", default_value_t = 10_000)]
    pub max_clients: usize,

    /// Memory that DuckDB may use, such as 4GB or 80%
    #[arg(long = "memory_limit", default_value = "80%")]
    pub memory_limit: String,

    /// Threads that DuckDB may use; 0 for one per processor
    #[arg(long = "threads", default_value_t = 0)]
    pub threads: usize,

    /// Database file of DuckDB
    #[arg(long = "duckdb_database_file_path", default_value = ":memory:")]
    pub duckdb_database_file_path: String,

    /// Directory of *.duckdb_extension files to load at start
    #[arg(long = "extensions_dir")]
    pub extensions_dir: Option<PathBuf>,

    /// Never install DuckDB extensions from the network
    #[arg(long = "no_extension_install")]
    pub no_extension_install: bool,

    /// File of SQL that is run at start
    #[arg(long = "init_file_path")]
    pub init_file_path: Option<PathBuf>,

    /// Most bytes of one RECEIVE stream; 0 for no limit
    #[arg(long = "recv_max_bytes", default_value_t = 0)]
    pub recv_max_bytes: u64,

    /// Most bytes of all RECEIVE streams that are open; 0 for no limit
    #[arg(long = "recv_total_max_bytes", default_value_t = 0)]
    pub recv_total_max_bytes: u64,

    /// Directory for RECEIVE streams of queries that cannot read a pipe
    #[arg(long = "recv_dir", default_value_os_t = std::env::temp_dir())]
    pub recv_dir: PathBuf,

    /// File to write the process id to
    #[arg(long = "pidfile")]
    pub pidfile: Option<PathBuf>,

    /// Check the command line and exit
    #[arg(long = "check_cli_params_only")]
    pub check_cli_params_only: bool,

    /// Log more
    #[arg(long = "verbose")]
    pub verbose: bool,

    /// Log much more
    #[arg(long = "debug")]
    pub debug: bool,
}

impl Config {
    /// Reads the command line. Flags may be written with hyphens too: `--listen-addresses`.
    pub fn from_command_line(
        arguments: impl Iterator<Item = String>,
    ) -> Result<Config, clap::Error> {
        Config::try_parse_from(arguments.map(with_underscores))
    }
}

/// Writes the name of a flag with underscores; its value, and everything that is no flag, stays.
fn with_underscores(argument: String) -> String {
    let Some(flag) = argument.strip_prefix("--") else {
        return argument;
    };
    match flag.split_once('=') {
        Some((name, value)) => format!("--{}={value}", name.replace('-', "_")),
        None => format!("--{}", flag.replace('-', "_")),
    }
}

/// Parses permission bits.
fn octal(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(bits) if bits <= 0o777 => Ok(bits),
        _ => Err(format!("\"{text}\" is not an octal number from 0 to 0777")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Config, clap::Error> {
        let all = std::iter::once("pgduck_server").chain(arguments.iter().copied());
        Config::from_command_line(all.map(str::to_owned))
    }

    #[test]
    fn flags_with_underscores_and_hyphens() {
        let config = parse(&[
            "--listen-addresses=127.0.0.1",
            "--recv_max_bytes",
            "5",
            "--max-clients",
            "7",
        ])
        .unwrap();
        assert_eq!(config.listen_addresses, "127.0.0.1");
        assert_eq!((config.recv_max_bytes, config.max_clients), (5, 7));
        let config = parse(&["--init_file_path=/a-b/c-d.sql"]).unwrap();
        assert_eq!(config.init_file_path, Some("/a-b/c-d.sql".into()));
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let config = parse(&[]).unwrap();
        assert_eq!(config.port, 5332);
        assert_eq!(config.unix_socket_directory, "/tmp");
        assert_eq!(config.unix_socket_permissions, 0o770);
        assert!(parse(&["--unix_socket_permissions", "999"]).is_err());
        assert!(parse(&["--no_such_flag"]).is_err());
    }
}

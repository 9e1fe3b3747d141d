//! What is listened on: addresses, Unix sockets, and sockets that a service manager has opened.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use listenfd::ListenFd;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

use super::{HttpError, Reach};

/// Connections that wait to be accepted, as the system keeps them.
const BACKLOG: i32 = 1_024;

/// A place to listen on, as it is written: an address with a port, `unix:/PATH`, or
/// `inherited`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address and a port; the port 0 is any that is free.
    Tcp(SocketAddr),
    /// A Unix socket, for this user only.
    Unix(PathBuf),
    /// The sockets that a service manager has opened (`LISTEN_FDS`).
    Inherited,
}

impl FromStr for Listen {
    type Err = HttpError;

    fn from_str(text: &str) -> Result<Listen, HttpError> {
        if text == "inherited" {
            return Ok(Listen::Inherited);
        }
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Listen::Unix(path.into()));
        }
        // The name of this machine for itself is no name that anybody else could answer for.
        let address = match text.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}").parse(),
            None => text.parse(),
        };
        address
            .map(Listen::Tcp)
            .map_err(|_| HttpError::Address(text.to_owned()))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(address) => address.fmt(f),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
            Listen::Inherited => f.write_str("inherited"),
        }
    }
}

/// An open socket that accepts connections.
pub(super) enum Listener {
    Tcp {
        listener: TcpListener,
        address: SocketAddr,
    },
    Unix {
        listener: UnixListener,
        path: Option<UnixPath>,
    },
}

/// The path of a socket that was made here; it goes with this.
pub(super) struct UnixPath(PathBuf);

impl Drop for UnixPath {
    fn drop(&mut self) {
        // Somebody may have removed it already.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A connection's bytes.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Who has connected, and to where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ends {
    /// The other side's address; none on a Unix socket.
    pub(super) remote: Option<SocketAddr>,
    /// This side's address.
    pub(super) local: Option<SocketAddr>,
}

impl Ends {
    /// Whether the other side is this machine.
    pub(super) fn within_machine(&self) -> bool {
        self.remote
            .is_none_or(|remote| remote.ip().to_canonical().is_loopback())
    }
}

impl Listen {
    /// Opens what is named here.
    pub(super) fn open(&self, reach: Reach) -> Result<Vec<Listener>, HttpError> {
        let refused = |error| HttpError::Bind {
            address: self.to_string(),
            error,
        };
        let listeners = match self {
            Listen::Tcp(address) => {
                check_reach(*address, reach)?;
                vec![bind_tcp(*address).map_err(refused)?]
            }
            Listen::Unix(path) => vec![bind_unix(path).map_err(refused)?],
            Listen::Inherited => inherited().map_err(refused)?,
        };
        if listeners.is_empty() {
            return Err(HttpError::NothingInherited);
        }
        for listener in &listeners {
            if let Listener::Tcp { address, .. } = listener {
                check_reach(*address, reach)?;
            }
        }
        Ok(listeners)
    }
}

fn check_reach(address: SocketAddr, reach: Reach) -> Result<(), HttpError> {
    if reach == Reach::Local && !address.ip().to_canonical().is_loopback() {
        return Err(HttpError::Remote(address.to_string()));
    }
    Ok(())
}

fn bind_tcp(address: SocketAddr) -> io::Result<Listener> {
    let socket = if address.is_ipv4() {
        tokio::net::TcpSocket::new_v4()?
    } else {
        tokio::net::TcpSocket::new_v6()?
    };
    // Else a host that starts again would wait for the last one's connections to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(u32::try_from(BACKLOG).unwrap_or(u32::MAX))?;
    let address = listener.local_addr()?;
    Ok(Listener::Tcp { listener, address })
}

/// Makes the socket for this user only, then moves it to its place, so that nobody else can
/// ever connect. One that nobody listens on any more is replaced; nothing else is.
fn bind_unix(path: &Path) -> io::Result<Listener> {
    if let Ok(there) = std::fs::symlink_metadata(path) {
        let dead = there.file_type().is_socket()
            && std::os::unix::net::UnixStream::connect(path)
                .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        if !dead {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "something else is there already; remove it, or choose another path",
            ));
        }
    }
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    // Of something that nobody has named, an error would say nothing.
    let unnamed = |error: io::Error| io::Error::from(error.kind());
    // No longer than the path itself would be: sockets' paths are short.
    let private = tempfile::Builder::new()
        .prefix(".")
        .rand_bytes(6)
        .tempdir_in(dir)
        .map_err(unnamed)?;
    let made = private.path().join("s");
    let listener = UnixListener::bind(&made)?;
    std::fs::set_permissions(&made, PermissionsExt::from_mode(0o600))?;
    std::fs::rename(&made, path)?;
    Ok(Listener::Unix {
        listener,
        path: Some(UnixPath(path.to_owned())),
    })
}

/// Every socket that a service manager handed over.
fn inherited() -> io::Result<Vec<Listener>> {
    let mut handed = ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..handed.len() {
        // It is one kind or the other; what is neither, is an error of the second.
        if let Ok(Some(listener)) = handed.take_tcp_listener(index) {
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            let address = listener.local_addr()?;
            listeners.push(Listener::Tcp { listener, address });
        } else if let Some(listener) = handed.take_unix_listener(index)? {
            listener.set_nonblocking(true)?;
            let listener = UnixListener::from_std(listener)?;
            listeners.push(Listener::Unix {
                listener,
                path: None,
            });
        }
    }
    Ok(listeners)
}

impl Listener {
    /// The protocol's endpoint here.
    pub(super) fn endpoint(&self, tls: bool) -> String {
        let scheme = if tls { "https" } else { "http" };
        match self {
            Listener::Tcp { address, .. } => format!("{scheme}://{address}/mcp"),
            Listener::Unix {
                path: Some(path), ..
            } => format!("unix:{} ({scheme}, /mcp)", path.0.display()),
            Listener::Unix { path: None, .. } => format!("an inherited socket ({scheme}, /mcp)"),
        }
    }

    /// Whether other machines can reach it.
    pub(super) fn is_remote(&self) -> bool {
        match self {
            Listener::Tcp { address, .. } => !address.ip().to_canonical().is_loopback(),
            Listener::Unix { .. } => false,
        }
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> io::Result<(Box<dyn Stream>, Ends)> {
        match self {
            Listener::Tcp { listener, .. } => {
                let (stream, remote) = listener.accept().await?;
                // Else answers wait for acknowledgements: 20 calls a second instead of 10,000.
                stream.set_nodelay(true)?;
                let ends = Ends {
                    remote: Some(remote),
                    local: stream.local_addr().ok(),
                };
                Ok((Box::new(stream), ends))
            }
            Listener::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                let ends = Ends {
                    remote: None,
                    local: None,
                };
                Ok((Box::new(stream), ends))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    #[test]
    fn addresses_are_read() {
        fn check(text: &str, expected: Expect) {
            let shown = match text.parse::<Listen>() {
                Ok(listen) => format!("{listen:?}"),
                Err(error) => error.to_string(),
            };
            expected.assert_eq(&shown);
        }
        check("127.0.0.1:8080", expect!["Tcp(127.0.0.1:8080)"]);
        check("[::1]:0", expect!["Tcp([::1]:0)"]);
        check("localhost:80", expect!["Tcp(127.0.0.1:80)"]);
        check("unix:/run/p.sock", expect![[r#"Unix("/run/p.sock")"#]]);
        check("inherited", expect!["Inherited"]);
        check(
            "unix:",
            expect![[
                r#""unix:" is no address to listen on: write "127.0.0.1:8080", "unix:/PATH", or "inherited" for the sockets of a service manager"#
            ]],
        );
        check(
            "8080",
            expect![[
                r#""8080" is no address to listen on: write "127.0.0.1:8080", "unix:/PATH", or "inherited" for the sockets of a service manager"#
            ]],
        );
        check(
            "example.com:80",
            expect![[
                r#""example.com:80" is no address to listen on: write "127.0.0.1:8080", "unix:/PATH", or "inherited" for the sockets of a service manager"#
            ]],
        );
    }

    #[tokio::test]
    async fn what_others_can_reach_must_be_asked_for() {
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
            let listen: Listen = address.parse().unwrap();
            let refused = listen.open(Reach::Local);
            assert!(matches!(refused, Err(HttpError::Remote(_))), "{address}");
        }
        let any: Listen = "0.0.0.0:0".parse().unwrap();
        assert!(any.open(Reach::Remote).unwrap()[0].is_remote());
        for address in ["127.0.0.1:0", "127.9.9.9:0", "localhost:0"] {
            let listen: Listen = address.parse().unwrap();
            assert!(!listen.open(Reach::Local).unwrap()[0].is_remote());
        }
    }

    #[tokio::test]
    async fn a_socket_is_this_users_and_replaces_only_dead_ones() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.sock");
        let listen = Listen::Unix(path.clone());
        let first = listen.open(Reach::Local).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(
            listen.open(Reach::Local),
            Err(HttpError::Bind { .. })
        ));
        drop(first);
        assert!(!path.exists());
        // One that was left behind.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(listen.open(Reach::Local).unwrap());
        std::fs::write(&path, "a file").unwrap();
        assert!(listen.open(Reach::Local).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"a file");
    }
}

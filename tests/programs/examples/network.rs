//! Tries to reach the network. Every tool answers `{"ok": …}` with what it got, or
//! `{"error": …}` with the refusal. Addresses are `HOST:PORT`.

use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};

use portreeve_test_programs::{Answer, json, structured, tools};

tools! {
    /// Connects to `address` by TCP.
    fn connect(address: String) -> Answer {
        report(TcpStream::connect(address).map(|_| "connected".to_owned()))
    }

    /// Listens on `address` by TCP.
    fn listen(address: String) -> Answer {
        report(TcpListener::bind(address).map(|_| "listening".to_owned()))
    }

    /// Sends a datagram from any port to `address` by UDP.
    fn send(address: String) -> Answer {
        let sent = UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.send_to(b"x", address));
        report(sent.map(|bytes| format!("sent {bytes}")))
    }

    /// Looks `name` up.
    fn resolve(name: String) -> Answer {
        report((name, 80).to_socket_addrs().map(|found| {
            found.map(|address| address.ip().to_string()).collect::<Vec<_>>().join(" ")
        }))
    }
}

fn report(result: std::io::Result<String>) -> Answer {
    Ok(structured(match result {
        Ok(value) => json!({"ok": value}),
        Err(error) => json!({"error": error.to_string()}),
    }))
}

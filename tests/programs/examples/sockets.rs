//! Uses sockets: connects, listens, sends datagrams, looks names up. Every tool answers
//! `{"ok": …}`, or `{"error": …, "host": …}` with what the host said of it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use portreeve_test_programs::{Answer, Value, failures, json, structured, tools};

tools! {
    /// Connects to `address` by TCP, sends `bytes` bytes, and reads as many. Answers how many
    /// came back the same.
    fn exchange(address: String, bytes: u64) -> Answer {
        report(exchanged(&address, bytes as usize).map(|same| json!(same)))
    }

    /// Connects to `address`, then sends a byte and reads one, `times` times with `pause_ms`
    /// between. Answers how often that worked before it failed.
    fn chat(address: String, times: u64, pause_ms: u64) -> Answer {
        let mut stream = match TcpStream::connect(address) {
            Ok(stream) => stream,
            Err(error) => return report(Err(error)),
        };
        let mut worked = 0;
        for _ in 0..times {
            let said = stream.write_all(b"x").and_then(|()| stream.read_exact(&mut [0]));
            if let Err(error) = said {
                let mut answer = refusal(&error);
                answer["worked"] = json!(worked);
                return Ok(structured(answer));
            }
            worked += 1;
            std::thread::sleep(Duration::from_millis(pause_ms));
        }
        report(Ok(json!(worked)))
    }

    /// Opens connections to `address` until there are no more, and keeps them; answers how many
    /// there were and what ended it. With `again` it drops them and opens one more.
    fn hoard(address: String, again: bool) -> Answer {
        let mut streams = Vec::new();
        let mut ended = loop {
            match TcpStream::connect(&address) {
                Ok(stream) => streams.push(stream),
                Err(error) => break refusal(&error),
            }
        };
        ended["opened"] = json!(streams.len());
        if again {
            drop(streams);
            ended["again"] = json!(TcpStream::connect(&address).is_ok());
        }
        Ok(structured(ended))
    }

    /// Listens on `address`, takes a connection and sends back what comes. Answers how many
    /// bytes that were.
    fn serve(address: String) -> Answer {
        report(served(&address).map(|bytes| json!(bytes)))
    }

    /// Sends `datagrams` datagrams of `bytes` bytes to `address` and waits for as many. Answers
    /// how many bytes came.
    fn datagrams(address: String, datagrams: u64, bytes: u64) -> Answer {
        report(sent(&address, datagrams, bytes as usize).map(|bytes| json!(bytes)))
    }

    /// Looks `name` up.
    fn look_up(name: String) -> Answer {
        report(looked_up(&name).map(|found| json!(found)))
    }

    /// Connects to the first address of `name` at `port`.
    fn look_up_and_connect(name: String, port: u64) -> Answer {
        report(TcpStream::connect((name.as_str(), port as u16)).map(|_| json!("connected")))
    }
}

fn refusal(error: &std::io::Error) -> Value {
    let host = failures::take_last().map(|failure| failure.message);
    json!({"error": error.to_string(), "kind": format!("{:?}", error.kind()), "host": host})
}

fn report(result: std::io::Result<Value>) -> Answer {
    Ok(structured(match result {
        Ok(value) => json!({"ok": value}),
        Err(error) => refusal(&error),
    }))
}

fn exchanged(address: &str, bytes: usize) -> std::io::Result<usize> {
    let mut stream = TcpStream::connect(address)?;
    let (mut same, mut left) = (0, bytes);
    while left > 0 {
        let now = left.min(4096);
        let chunk: Vec<u8> = (0..now).map(|at| at as u8).collect();
        stream.write_all(&chunk)?;
        let mut back = vec![0; now];
        stream.read_exact(&mut back)?;
        same += back.iter().zip(&chunk).filter(|(a, b)| a == b).count();
        left -= now;
    }
    Ok(same)
}

fn served(address: &str) -> std::io::Result<usize> {
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    let (mut stream, _) = listener.accept()?;
    let mut total = 0;
    let mut buffer = [0; 1024];
    loop {
        let bytes = stream.read(&mut buffer)?;
        if bytes == 0 {
            return Ok(total);
        }
        stream.write_all(&buffer[..bytes])?;
        total += bytes;
    }
}

fn sent(address: &str, datagrams: u64, bytes: usize) -> std::io::Result<usize> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let mut came = 0;
    let mut buffer = vec![0; bytes.max(1)];
    for _ in 0..datagrams {
        socket.send_to(&vec![b'x'; bytes], address)?;
        came += socket.recv_from(&mut buffer)?.0;
    }
    Ok(came)
}

fn looked_up(name: &str) -> std::io::Result<Vec<String>> {
    let found = (name, 80).to_socket_addrs()?;
    Ok(found.map(|address| address.ip().to_string()).collect())
}

//! The decoder of messages: whatever lines a client sends, each answer is one line of JSON-RPC,
//! and the connection ends with its client.
#![no_main]

mod host;

use libfuzzer_sys::fuzz_target;
use portreeve_core::Caller;
use tokio_util::sync::CancellationToken;

fuzz_target!(|input: &[u8]| {
    let fuzzed = host::fuzzed();
    let read = fuzzed.runtime.block_on(async {
        let (client, server) = tokio::io::duplex(64 << 10);
        let (reader, writer) = tokio::io::split(server);
        let caller = Caller::local("fuzz");
        let shutdown = CancellationToken::new();
        let served = portreeve_gateway::serve_connection(
            fuzzed.host.clone(),
            caller,
            reader,
            writer,
            shutdown,
        );
        let served = tokio::spawn(served);
        let read = host::exchange(client, input, true).await;
        served
            .await
            .unwrap()
            .expect("no input is a mistake of this program");
        read
    });
    for line in read
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let message: serde_json::Value = serde_json::from_slice(line).expect("a line is JSON");
        assert_eq!(message["jsonrpc"], "2.0");
    }
});

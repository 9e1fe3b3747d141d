//! What wasmtime generates from `wit/`: the host's side of each interface.
//!
//! The world below exists for the generator only. At run time each export is looked for
//! by itself, since every one of them is optional for the host.
#![allow(missing_docs, clippy::all, clippy::restriction, reason = "generated")]

wasmtime::component::bindgen!({
    path: [
        "../../wit/types",
        "../../wit/host",
        "../../wit/tools",
        "../../wit/lifecycle",
        "../../wit/ui",
        "../../wit/prompt",
        "../../wit/secrets",
        "../../wit/network",
        "../../wit/storage",
        "../../wit/directories",
        "../../wit/messages",
        "../../wit/client",
        "../../wit/content",
        "wit/keyvalue",
    ],
    inline: "
        package portreeve:host-side;
        world everything {
            import portreeve:host/context@0.1.0;
            import portreeve:host/config@0.1.0;
            import portreeve:ui/progress@0.1.0;
            import portreeve:prompt/notices@0.1.0;
            import portreeve:prompt/questions@0.1.0;
            import portreeve:secrets/store@0.1.0;
            import portreeve:secrets/inject@0.1.0;
            import portreeve:secrets/reveal@0.1.0;
            import portreeve:network/failures@0.1.0;
            import portreeve:storage/kv@0.1.0;
            import portreeve:directories/failures@0.1.0;
            import portreeve:messages/bus@0.1.0;
            import portreeve:messages/message@0.1.0;
            import portreeve:client/sampling@0.1.0;
            import portreeve:client/roots@0.1.0;
            import portreeve:client/log@0.1.0;
            import portreeve:client/inputs@0.1.0;
            import portreeve:content/changes@0.1.0;
            import wasi:keyvalue/store@0.2.0-draft;
            import wasi:keyvalue/atomics@0.2.0-draft;
            import wasi:keyvalue/batch@0.2.0-draft;
            export portreeve:tools/provider@0.1.0;
            export portreeve:lifecycle/lifecycle@0.1.0;
            export portreeve:messages/handler@0.1.0;
            export portreeve:messages/responder@0.1.0;
            export portreeve:content/resources@0.1.0;
            export portreeve:content/prompts@0.1.0;
            export portreeve:content/completion@0.1.0;
        }
    ",
    world: "portreeve:host-side/everything",
    imports: {
        "portreeve:prompt/notices": async,
        "portreeve:prompt/questions": async,
        "portreeve:secrets/store": async,
        "portreeve:secrets/inject": async,
        "portreeve:secrets/reveal": async,
        "portreeve:storage/kv": async,
        "portreeve:messages/bus": async | trappable,
        "portreeve:client/sampling": async,
        "portreeve:client/roots": async,
        "portreeve:client/inputs": async,
        "wasi:keyvalue/store": async,
        "wasi:keyvalue/atomics": async,
        "wasi:keyvalue/batch": async,
    },
    exports: { default: async },
    with: {
        "portreeve:secrets/store.secret": crate::capability::secrets::SecretHandle,
        "portreeve:messages/bus.options": crate::capability::messages::OptionsHandle,
        "wasi:keyvalue/store.bucket": crate::capability::keyvalue::BucketHandle,
    },
});

/// WASI's files: the interfaces of wasmtime's own version, with handles of ours behind them.
pub(crate) mod filesystem {
    wasmtime::component::bindgen!({
        path: "wit/filesystem",
        inline: "
            package portreeve:filesystem-side;
            world everything {
                import wasi:filesystem/types@0.2.12;
                import wasi:filesystem/preopens@0.2.12;
            }
        ",
        world: "portreeve:filesystem-side/everything",
        imports: {
            "wasi:filesystem/types": async | trappable,
            "wasi:filesystem/preopens": async | trappable,
        },
        trappable_error_type: {
            "wasi:filesystem/types.error-code" => crate::capability::directories::Stop,
        },
        with: {
            "wasi:io": wasmtime_wasi::p2::bindings::io,
            "wasi:filesystem/types.descriptor": crate::capability::directories::Handle,
            "wasi:filesystem/types.directory-entry-stream": crate::capability::directories::Entries,
        },
    });
}

//! Bindings generated from the `portreeve:*` packages in `wit/`.
//!
//! Two worlds, because a component must export all of the world it was built for, and
//! lifecycle is optional. Each world's exports are written out only where `plugin!` asks for
//! them; imports that a plugin doesn't use are left out when the component is made.
#![allow(
    missing_docs,
    unsafe_code,
    unreachable_pub,
    clippy::all,
    reason = "generated code"
)]

/// The world of a plugin that offers tools.
pub mod tools {
    wit_bindgen::generate!({
        path: [
            "../wit/types",
            "../wit/tools",
            "../wit/host",
            "../wit/lifecycle",
            "../wit/ui",
            "../wit/prompt",
            "../wit/secrets",
            "../wit/network",
            "../wit/storage",
            "../wit/directories",
            "../wit/messages",
            "../wit/client",
            "../wit/content",
            "../wit/plugin",
        ],
        world: "portreeve:plugin/tool-plugin",
        generate_all,
        generate_unused_types: true,
        pub_export_macro: true,
        export_macro_name: "export_tools",
    });
}

/// The lifecycle alone, to be exported beside the tools.
pub mod lifecycle {
    wit_bindgen::generate!({
        path: ["../wit/types", "../wit/lifecycle"],
        inline: "
            package portreeve:guest;

            world lifecycle-only {
                export portreeve:lifecycle/lifecycle@0.1.0;
            }
        ",
        with: {
            "portreeve:types/types@0.1.0": super::tools::portreeve::types::types,
            "portreeve:lifecycle/lifecycle@0.1.0": generate,
        },
        pub_export_macro: true,
        export_macro_name: "export_lifecycle",
    });
}

/// The handler of messages alone, to be exported beside the tools.
pub mod handler {
    wit_bindgen::generate!({
        path: ["../wit/types", "../wit/messages"],
        inline: "
            package portreeve:guest;

            world handler-only {
                export portreeve:messages/handler@0.1.0;
            }
        ",
        with: {
            "portreeve:types/types@0.1.0": super::tools::portreeve::types::types,
            "portreeve:messages/message@0.1.0": generate,
            "portreeve:messages/handler@0.1.0": generate,
        },
        pub_export_macro: true,
        export_macro_name: "export_handler",
    });
}

/// The one who answers requests alone, to be exported beside the tools.
pub mod responder {
    wit_bindgen::generate!({
        path: ["../wit/types", "../wit/messages"],
        inline: "
            package portreeve:guest;

            world responder-only {
                export portreeve:messages/responder@0.1.0;
            }
        ",
        with: {
            "portreeve:types/types@0.1.0": super::tools::portreeve::types::types,
            "portreeve:messages/bus@0.1.0": super::tools::portreeve::messages::bus,
            "portreeve:messages/message@0.1.0": super::handler::portreeve::messages::message,
            "portreeve:messages/responder@0.1.0": generate,
        },
        pub_export_macro: true,
        export_macro_name: "export_responder",
    });
}

/// Resources, prompts and completion, to be exported beside the tools.
pub mod content {
    wit_bindgen::generate!({
        path: ["../wit/types", "../wit/content"],
        inline: "
            package portreeve:guest;

            world content-only {
                export portreeve:content/resources@0.1.0;
                export portreeve:content/prompts@0.1.0;
                export portreeve:content/completion@0.1.0;
            }
        ",
        with: {
            "portreeve:types/types@0.1.0": super::tools::portreeve::types::types,
            "portreeve:content/resources@0.1.0": generate,
            "portreeve:content/prompts@0.1.0": generate,
            "portreeve:content/completion@0.1.0": generate,
        },
        pub_export_macro: true,
        export_macro_name: "export_content",
    });
}

//! The bindings to the contract, each exported interface by itself, so that a program
//! exports what it chooses.

#![allow(
    missing_docs,
    unsafe_code,
    unreachable_pub,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]

/// `portreeve:tools/provider`, and what plugins import.
pub mod provider {
    wit_bindgen::generate!({
        path: [
            "../../wit/types",
            "../../wit/tools",
            "../../wit/host",
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
            "../../wit/plugin",
        ],
        world: "portreeve:plugin/tool-plugin",
        pub_export_macro: true,
        export_macro_name: "export_provider",
        default_bindings_module: "portreeve_test_programs::provider",
        additional_derives: [PartialEq],
        generate_all,
    });
}

/// `portreeve:lifecycle/lifecycle`.
pub mod lifecycle_world {
    wit_bindgen::generate!({
        path: ["../../wit/types", "../../wit/lifecycle"],
        inline: "
            package portreeve-test:lifecycle;
            world lifecycle { export portreeve:lifecycle/lifecycle@0.1.0; }
        ",
        world: "portreeve-test:lifecycle/lifecycle",
        pub_export_macro: true,
        export_macro_name: "export_lifecycle",
        default_bindings_module: "portreeve_test_programs::lifecycle_world",
        with: { "portreeve:types/types@0.1.0": super::provider::portreeve::types::types },
    });
}

/// `portreeve:content/resources`, `/prompts` and `/completion`.
pub mod content_world {
    wit_bindgen::generate!({
        path: ["../../wit/types", "../../wit/content"],
        inline: "
            package portreeve-test:content;
            world content {
                export portreeve:content/resources@0.1.0;
                export portreeve:content/prompts@0.1.0;
                export portreeve:content/completion@0.1.0;
            }
        ",
        world: "portreeve-test:content/content",
        pub_export_macro: true,
        export_macro_name: "export_content",
        default_bindings_module: "portreeve_test_programs::content_world",
        with: { "portreeve:types/types@0.1.0": super::provider::portreeve::types::types },
    });
}

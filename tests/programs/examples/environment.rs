//! Says what it can see of the host.

use portreeve_test_programs::{Answer, json, structured, tools};

tools! {
    /// Its arguments, environment and directories:
    /// `{"args": […], "env": {…}, "preopens": […], "cwd": …}`.
    fn environment() -> Answer {
        let env: std::collections::BTreeMap<String, String> =
            std::env::vars_os().map(|(k, v)| (lossy(k), lossy(v))).collect();
        let preopens: Vec<String> = wasip2::filesystem::preopens::get_directories()
            .into_iter()
            .map(|(_, path)| path)
            .collect();
        Ok(structured(json!({
            "args": std::env::args_os().map(lossy).collect::<Vec<_>>(),
            "env": env,
            "preopens": preopens,
            "cwd": wasip2::cli::environment::initial_cwd(),
        })))
    }

    /// Whether its streams are terminals: `{"stdin": …, "stdout": …, "stderr": …}`.
    fn terminals() -> Answer {
        use std::io::IsTerminal as _;
        Ok(structured(json!({
            "stdin": std::io::stdin().is_terminal(),
            "stdout": std::io::stdout().is_terminal(),
            "stderr": std::io::stderr().is_terminal(),
        })))
    }
}

fn lossy(text: std::ffi::OsString) -> String {
    text.to_string_lossy().into_owned()
}

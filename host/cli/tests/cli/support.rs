//! A directory of its own for each test, and the real program in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A bare component: `add`, `refuse` (its result is an error), `fail` (traps), `spin`.
pub(crate) const CALCULATOR: &str = r#"
(component
  (core module $m
    (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)
    (func (export "refuse") (result i32) i32.const 1)
    (func (export "fail") unreachable)
    (func (export "spin") (loop br 0)))
  (core instance $i (instantiate $m))
  (func (export "add") (param "a" s32) (param "b" s32) (result s32) (canon lift (core func $i "add")))
  (func (export "refuse") (result (result)) (canon lift (core func $i "refuse")))
  (func (export "fail") (canon lift (core func $i "fail")))
  (func (export "spin") (canon lift (core func $i "spin"))))
"#;

/// What a run of the program left.
pub(crate) struct Ran {
    /// The exit code.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

impl Ran {
    fn new(output: Output) -> Ran {
        Ran {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Standard output as one JSON document.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("{error}: {}\n{}", self.out, self.err))
    }

    /// Checks the exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Ran {
        assert_eq!(
            self.code, code,
            "stdout:\n{}\nstderr:\n{}",
            self.out, self.err
        );
        self
    }

    /// Checks that standard error says each of `parts`.
    #[track_caller]
    pub(crate) fn says(self, parts: &[&str]) -> Ran {
        for part in parts {
            assert!(self.err.contains(part), "no `{part}` in:\n{}", self.err);
        }
        self
    }

    /// Checks that standard output shows each of `parts`.
    #[track_caller]
    pub(crate) fn shows(self, parts: &[&str]) -> Ran {
        for part in parts {
            assert!(self.out.contains(part), "no `{part}` in:\n{}", self.out);
        }
        self
    }
}

/// A directory of its own, with a cache and a state of its own.
pub(crate) struct Sandbox {
    dir: tempfile::TempDir,
}

impl Sandbox {
    /// Takes away what is compiled: the next use compiles it again, and says so.
    pub(crate) fn forget_compiled(&self) {
        std::fs::remove_dir_all(self.dir.path().join("cache")).unwrap();
    }

    /// An empty one.
    pub(crate) fn new() -> Sandbox {
        Sandbox {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// A project with the calculator as `calc`.
    pub(crate) fn with_calculator() -> Sandbox {
        let sandbox = Sandbox::new();
        sandbox.component("calculator.wasm", CALCULATOR);
        sandbox.run(&["init"]).exits(0);
        sandbox
            .run(&["add", "calculator.wasm", "--alias", "calc"])
            .exits(0);
        sandbox
    }

    /// A path in the project.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.project().join(name)
    }

    fn project(&self) -> PathBuf {
        let project = self.dir.path().join("project");
        std::fs::create_dir_all(&project).unwrap();
        project
    }

    /// Writes a file in the project.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Reads a file of the project.
    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Writes a component, given as text.
    pub(crate) fn component(&self, name: &str, text: &str) {
        self.write(name, wat::parse_str(text).unwrap());
    }

    /// The program with these arguments, in the project.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
        command
            .args(args)
            .current_dir(self.project())
            .stdin(Stdio::null())
            .env("PORTREEVE_CACHE_DIR", self.dir.path().join("cache"))
            .env("PORTREEVE_STATE_DIR", self.dir.path().join("state"));
        for inherited in ["PORTREEVE_PROJECT", "PORTREEVE_LOG", "PORTREEVE_COMPILER"] {
            command.env_remove(inherited);
        }
        command
    }

    /// Runs it.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran::new(self.command(args).output().unwrap())
    }

    /// Runs the program with something on its standard input.
    pub(crate) fn run_with(&self, args: &[&str], input: &str) -> Ran {
        use std::io::Write as _;
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may have ended without reading.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Ran::new(child.wait_with_output().unwrap())
    }

    /// Runs it elsewhere.
    pub(crate) fn run_in(&self, dir: &Path, args: &[&str]) -> Ran {
        Ran::new(self.command(args).current_dir(dir).output().unwrap())
    }
}

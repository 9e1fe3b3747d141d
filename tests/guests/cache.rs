//! The cache of compiled code: used when it can be believed, and only then.
//!
//! wassette ran a stale `.cwasm` after the `.wasm` was replaced, and loaded native code
//! unchecked.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use portreeve_manifest::limits::Limits;
use portreeve_runtime::{
    Arguments, CompileLimits, Error, Runtime, RuntimeConfig, Step, Target, Template,
};
use portreeve_supply::Digest;
use serde_json::json;

use crate::support::{Recorder, config, none, run, text};

/// Loads a component; says whether it was compiled.
fn load(runtime: &Runtime, path: &str) -> (Result<Template, Error>, bool) {
    let bytes = std::fs::read(path).unwrap();
    let digest = Digest::of(&bytes);
    let compiled = AtomicU32::new(0);
    let on_step = |step| {
        if step == Step::Compiling {
            compiled.fetch_add(1, Ordering::Relaxed);
        }
    };
    let loaded = run(runtime.load(
        digest.as_bytes(),
        Limits::default().stack,
        move || Ok(bytes),
        &on_step,
    ));
    (loaded, compiled.load(Ordering::Relaxed) > 0)
}

fn works(template: &Template) -> bool {
    let limits = Limits::default();
    let arguments = Arguments::new(json!({"a": 1}), &limits).unwrap();
    let context = Recorder::default().context();
    run(template.call(Target::Tool("echo"), &arguments, &limits, context))
        .result
        .is_ok()
}

struct Cached {
    _dir: tempfile::TempDir,
    config: RuntimeConfig,
}

impl Cached {
    /// A cache that holds `echo`.
    fn new() -> Cached {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path().to_owned());
        let (loaded, compiled) = load(
            &Runtime::new(config.clone()).unwrap(),
            portreeve_test_artifacts::ECHO,
        );
        assert!(works(&loaded.unwrap()) && compiled);
        Cached { _dir: dir, config }
    }

    /// What a new process finds: does `echo` work, and had it to be compiled?
    fn reopened(&self) -> (bool, bool) {
        let runtime = Runtime::new(self.config.clone()).unwrap();
        let (loaded, compiled) = load(&runtime, portreeve_test_artifacts::ECHO);
        (works(&loaded.unwrap()), compiled)
    }

    fn file(&self, ending: &str) -> PathBuf {
        let entries = std::fs::read_dir(&self.config.cache_dir).unwrap();
        let mut files = entries.map(|entry| entry.unwrap().path());
        files
            .find(|path| path.extension().is_some_and(|e| e == ending))
            .unwrap()
    }
}

#[test]
fn code_is_kept_and_found_again() {
    let cached = Cached::new();
    assert_eq!(cached.reopened(), (true, false));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&cached.config.cache_dir), 0o700);
    assert_eq!(mode(&cached.config.cache_key), 0o600);
    assert_eq!(mode(&cached.file("cwasm")), 0o600);
}

#[test]
fn edited_code_is_compiled_anew() {
    let cached = Cached::new();
    let path = cached.file("cwasm");
    let good = std::fs::read(&path).unwrap();
    for at in [0, good.len() / 2, good.len() - 1] {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(cached.reopened(), (true, true), "byte {at}");
        assert_eq!(cached.reopened(), (true, false), "and repaired");
    }
    for bytes in [&[][..], &good[..100]] {
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(cached.reopened(), (true, true), "{} bytes", bytes.len());
    }
}

#[test]
fn code_of_another_component_under_its_name_is_compiled_anew() {
    let cached = Cached::new();
    let echo = (cached.file("cwasm"), cached.file("mac"));
    let other = Cached::new();
    let runtime = Runtime::new(RuntimeConfig {
        cache_key: cached.config.cache_key.clone(),
        ..other.config.clone()
    })
    .unwrap();
    std::fs::remove_file(other.file("cwasm")).unwrap();
    std::fs::remove_file(other.file("mac")).unwrap();
    load(&runtime, portreeve_test_artifacts::STATE).0.unwrap();
    // Made by the same host with the same key, but of another component.
    std::fs::copy(other.file("cwasm"), &echo.0).unwrap();
    std::fs::copy(other.file("mac"), &echo.1).unwrap();
    assert_eq!(cached.reopened(), (true, true));
}

#[test]
fn without_its_mac_or_under_another_key_code_is_compiled_anew() {
    let cached = Cached::new();
    std::fs::remove_file(cached.file("mac")).unwrap();
    assert_eq!(cached.reopened(), (true, true));
    std::fs::remove_file(&cached.config.cache_key).unwrap();
    assert_eq!(cached.reopened(), (true, true));
    // A file that others could have written to.
    let path = cached.file("cwasm");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
    assert_eq!(cached.reopened(), (true, true));
}

#[test]
fn a_cache_that_others_can_write_to_is_refused() {
    let cached = Cached::new();
    let refused = |config: &RuntimeConfig| match Runtime::new(config.clone()) {
        Err(error @ Error::Untrusted { .. }) => error.to_string(),
        _ => panic!("it was taken"),
    };
    let dir = &cached.config.cache_dir;
    std::fs::set_permissions(dir, PermissionsExt::from_mode(0o777)).unwrap();
    assert!(refused(&cached.config).contains("chmod 700"));
    std::fs::set_permissions(dir, PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::set_permissions(&cached.config.cache_key, PermissionsExt::from_mode(0o644)).unwrap();
    assert!(refused(&cached.config).contains("can be read by other users"));
    std::fs::remove_file(&cached.config.cache_key).unwrap();
    let inside = RuntimeConfig {
        cache_key: dir.join("key"),
        ..cached.config.clone()
    };
    assert!(refused(&inside).contains("outside"));
    let moved = dir.with_file_name("moved");
    std::fs::rename(dir, &moved).unwrap();
    std::os::unix::fs::symlink(&moved, dir).unwrap();
    assert!(refused(&cached.config).contains("not a directory"));
}

#[test]
fn another_component_is_never_taken_for_the_one_that_was_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::new(config(dir.path().to_owned())).unwrap();
    let first = load(&runtime, portreeve_test_artifacts::ECHO).0.unwrap();
    let second = load(&runtime, portreeve_test_artifacts::SLEEP).0.unwrap();
    let call = |template: &Template, tool: &str, arguments| {
        run(template.call(
            Target::Tool(tool),
            &Arguments::new(arguments, &Limits::default()).unwrap(),
            &Limits::default(),
            Recorder::default().context(),
        ))
        .result
    };
    assert!(call(&first, "echo", none()).is_ok());
    assert_eq!(
        text(&call(&second, "sleep", json!({"ms": 0})).unwrap()),
        "slept"
    );
}

#[test]
fn old_code_makes_room() {
    let cached = Cached::new();
    let small = RuntimeConfig {
        cache_bytes_max: 1,
        ..cached.config.clone()
    };
    let runtime = Runtime::new(small).unwrap();
    load(&runtime, portreeve_test_artifacts::STATE).0.unwrap();
    let left = std::fs::read_dir(&cached.config.cache_dir).unwrap().count();
    assert_eq!(left, 2, "the new code and its MAC");
}

#[test]
fn the_compiler_is_bounded() {
    let limited = |compile_limits| {
        let dir = tempfile::tempdir().unwrap();
        let config = RuntimeConfig {
            compile_limits,
            ..config(dir.path().to_owned())
        };
        let runtime = Runtime::new(config).unwrap();
        let loaded = load(&runtime, portreeve_test_artifacts::ECHO).0;
        match loaded {
            Ok(_) => panic!("compiled within {compile_limits:?}"),
            Err(error) => error,
        }
    };
    let normal = CompileLimits::default();
    // Less than the program itself maps: the first allocation fails.
    let memory = limited(CompileLimits {
        memory_bytes: 1 << 20,
        ..normal
    });
    assert!(
        matches!(memory, Error::CompileLimit(_) | Error::Setup { .. }),
        "{memory}"
    );
    let output = limited(CompileLimits {
        output_bytes: 1_000,
        ..normal
    });
    assert!(matches!(output, Error::Compile(_)), "{output}");
    let input = limited(CompileLimits {
        input_bytes: 1_000,
        ..normal
    });
    assert!(matches!(input, Error::Compile(_)), "{input}");
    let wall = limited(CompileLimits {
        wall_seconds: 0,
        ..normal
    });
    assert!(matches!(wall, Error::CompileLimit(_)), "{wall}");
}

#[test]
fn a_compiler_that_is_not_there_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let config = RuntimeConfig {
        compiler: dir.path().join("none"),
        ..config(dir.path().to_owned())
    };
    let error = load(
        &Runtime::new(config).unwrap(),
        portreeve_test_artifacts::ECHO,
    )
    .0
    .map(|_| ())
    .unwrap_err();
    assert!(error.to_string().contains("none"), "{error}");
}

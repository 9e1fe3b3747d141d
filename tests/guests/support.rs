//! A runtime for all tests of this program, and guests in it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use portreeve_manifest::limits::Limits;
use portreeve_manifest::tool::Tool;
use portreeve_manifest::wit_type::BareFunction;
use portreeve_runtime::{
    Arguments, CallContext, CallError, ClientSource, CompileLimits, Config, Content,
    DirectorySource, ErrorCode, Failure, Finished, HttpSource, KvSource, LimitHit, NoClient,
    NoDirectories, NoHttp, NoKv, NoPrompt, NoSockets, Origin, Outcome, OutputSink, ProgressReport,
    ProgressSink, PromptSource, Runtime, RuntimeConfig, SecretSource, SecretSummary, SocketSource,
    Stream, Target, Template,
};
use portreeve_supply::{Digest, IntakeLimits, Package, Tools};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

/// Instances that live at once in these tests.
pub(crate) const INSTANCES: u32 = 16;

/// Where a runtime of tests keeps its things.
pub(crate) fn config(dir: PathBuf) -> RuntimeConfig {
    RuntimeConfig {
        cache_dir: dir.join("compiled"),
        cache_key: dir.join("state/cache.key"),
        cache_bytes_max: 1 << 30,
        compiler: env!("CARGO_BIN_EXE_portreeve-compile").into(),
        compile_limits: CompileLimits::default(),
        instances: INSTANCES,
    }
}

/// The runtime that the tests share, with a cache that outlives them.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("guests");
        Runtime::new(config(dir)).unwrap()
    })
}

/// Runs a test's future on threads that all tests share.
pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
    static THREADS: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    THREADS
        .get_or_init(|| tokio::runtime::Runtime::new().unwrap())
        .block_on(work)
}

/// A component, ready.
pub(crate) struct Guest {
    pub(crate) template: Template,
    pub(crate) package: Package,
}

/// Makes the component at `path` ready, with the default stack.
pub(crate) fn guest(path: &str) -> Guest {
    guest_with(path, &Limits::default()).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Makes the component at `path` ready for guests with these limits.
pub(crate) fn guest_with(path: &str, limits: &Limits) -> Result<Guest, String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let package = Package::read(&bytes, "test", &IntakeLimits::default())
        .map_err(|error| error.to_string())?;
    let digest = Digest::of(&bytes);
    let template = run(runtime().load(digest.as_bytes(), limits.stack, move || Ok(bytes), &|_| {}))
        .map_err(|error| error.to_string())?;
    Ok(Guest { template, package })
}

impl Guest {
    /// Calls a tool with the default limits.
    pub(crate) fn call(&self, tool: &str, arguments: Value) -> Finished<Outcome> {
        self.call_within(tool, arguments, &Limits::default())
    }

    /// Calls a tool with these limits.
    pub(crate) fn call_within(
        &self,
        tool: &str,
        arguments: Value,
        limits: &Limits,
    ) -> Finished<Outcome> {
        run(self.calling(tool, arguments, limits, &Recorder::default()))
    }

    /// Calls a tool and records what it does meanwhile.
    pub(crate) fn recorded(
        &self,
        tool: &str,
        arguments: Value,
        limits: &Limits,
    ) -> (Finished<Outcome>, Recorder) {
        let recorder = Recorder::default();
        (
            run(self.calling(tool, arguments, limits, &recorder)),
            recorder,
        )
    }

    /// The call itself.
    pub(crate) async fn calling(
        &self,
        tool: &str,
        arguments: Value,
        limits: &Limits,
        recorder: &Recorder,
    ) -> Finished<Outcome> {
        let function;
        let target = match self.function(tool) {
            Some(found) => {
                function = found;
                Target::Function(function)
            }
            None => Target::Tool(tool),
        };
        let arguments = match Arguments::new(arguments, limits) {
            Ok(arguments) => arguments,
            Err(error) => return Finished::refused(error),
        };
        self.template
            .call(target, &arguments, limits, recorder.context())
            .await
    }

    /// The bare function behind a tool.
    pub(crate) fn function(&self, tool: &str) -> Option<&BareFunction> {
        match &self.package.tools {
            Tools::Bare(functions) => functions.iter().find(|function| function.tool.name == tool),
            _ => None,
        }
    }

    /// The structured answer of a call that must succeed.
    pub(crate) fn structured(&self, tool: &str, arguments: Value) -> Value {
        let outcome = self.call(tool, arguments).result.unwrap();
        Value::Object(outcome.structured.expect("a structured answer"))
    }

    /// Asks for the tools.
    pub(crate) fn list(&self, limits: &Limits) -> Result<Vec<Tool>, CallError> {
        run(self.template.list_tools(limits, Recorder::default().shared)).result
    }
}

/// Records what a guest does: the second implementer of the runtime's outward traits.
#[derive(Clone, Default)]
pub(crate) struct Recorder {
    pub(crate) shared: Arc<Recorded>,
    pub(crate) config: Config,
    pub(crate) cancel: CancellationToken,
    /// Where requests go; without it nothing is granted.
    pub(crate) http: Option<Arc<dyn HttpSource>>,
    /// Who decides about sockets; without it nothing is granted.
    pub(crate) sockets: Option<Arc<dyn SocketSource>>,
    /// What keeps keys and values; without it nothing is granted.
    pub(crate) kv: Option<Arc<dyn KvSource>>,
    /// Who decides about directories; without it nothing is granted.
    pub(crate) directories: Option<Arc<dyn DirectorySource>>,
    /// Who is told and asked; without it nothing is granted.
    pub(crate) prompt: Option<Arc<dyn PromptSource>>,
    /// Who is the client of the call; without it nothing is granted.
    pub(crate) client: Option<Arc<dyn ClientSource>>,
}

#[derive(Default)]
pub(crate) struct Recorded {
    lines: Mutex<Vec<(Stream, String)>>,
    reports: Mutex<Vec<ProgressReport>>,
    refusal: Mutex<Option<Failure>>,
    secrets: Mutex<BTreeMap<String, String>>,
    revealed: Mutex<Vec<String>>,
}

impl Recorder {
    /// One that refuses progress reports.
    pub(crate) fn refusing(failure: Failure) -> Recorder {
        let recorder = Recorder::default();
        *recorder.shared.refusal.lock().unwrap() = Some(failure);
        recorder
    }

    /// One that has a secret, which it shows three times.
    pub(crate) fn with_secret(name: &str, value: &str) -> Recorder {
        let recorder = Recorder::default();
        let mut secrets = recorder.shared.secrets.lock().unwrap();
        secrets.insert(name.to_owned(), value.to_owned());
        drop(secrets);
        recorder
    }

    /// The names of the secrets that were shown.
    pub(crate) fn revealed(&self) -> Vec<String> {
        self.shared.revealed.lock().unwrap().clone()
    }

    pub(crate) fn context(&self) -> CallContext {
        CallContext {
            call_id: "call-1".to_owned(),
            caller: "tester".to_owned(),
            config: self.config.clone(),
            progress: self.shared.clone(),
            prompt: self.prompt.clone().unwrap_or_else(|| Arc::new(NoPrompt)),
            client: self.client.clone().unwrap_or_else(|| Arc::new(NoClient)),
            secrets: self.shared.clone(),
            http: self.http.clone().unwrap_or_else(|| Arc::new(NoHttp)),
            sockets: self.sockets.clone().unwrap_or_else(|| Arc::new(NoSockets)),
            messages: Arc::new(portreeve_runtime::NoMessages),
            kv: self.kv.clone().unwrap_or_else(|| Arc::new(NoKv)),
            directories: self
                .directories
                .clone()
                .unwrap_or_else(|| Arc::new(NoDirectories)),
            output: self.shared.clone(),
            cancel: self.cancel.clone(),
        }
    }

    /// What the guest wrote, as one text for each stream.
    pub(crate) fn lines(&self) -> Vec<(Stream, String)> {
        self.shared.lines.lock().unwrap().clone()
    }

    pub(crate) fn reports(&self) -> Vec<ProgressReport> {
        self.shared.reports.lock().unwrap().clone()
    }
}

impl OutputSink for Recorded {
    fn line(&self, stream: Stream, text: &str) {
        self.lines.lock().unwrap().push((stream, text.to_owned()));
    }
}

#[async_trait::async_trait]
impl SecretSource for Recorded {
    async fn find(&self, name: &str) -> Result<SecretSummary, Failure> {
        if self.secrets.lock().unwrap().contains_key(name) {
            return Ok(SecretSummary {
                kind: "bearer".to_owned(),
                expires_ms: Some(5_000),
            });
        }
        Err(Failure::new(
            ErrorCode::PermissionDenied,
            "not-granted",
            "not granted",
        ))
    }

    async fn placeholder(&self, name: &str) -> Result<String, Failure> {
        self.find(name).await?;
        Ok(format!("<{name}>"))
    }

    async fn reveal(&self, name: &str) -> Result<Zeroizing<String>, Failure> {
        self.find(name).await?;
        let mut revealed = self.revealed.lock().unwrap();
        revealed.push(name.to_owned());
        // What is revoked is refused from the next use on.
        let mut secrets = self.secrets.lock().unwrap();
        let value = match revealed.len() {
            1 | 2 => secrets.get(name).cloned(),
            _ => secrets.remove(name),
        };
        Ok(Zeroizing::new(value.unwrap()))
    }
}

impl ProgressSink for Recorded {
    fn permitted(&self) -> Result<(), Failure> {
        self.refusal.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    fn report(&self, report: ProgressReport) {
        self.reports.lock().unwrap().push(report);
    }
}

/// The text of an answer.
pub(crate) fn text(outcome: &Outcome) -> &str {
    match outcome.content.as_slice() {
        [Content::Text(text)] => text,
        other => panic!("not one text: {other:?}"),
    }
}

/// The limit that stopped a call, which the host must have said.
pub(crate) fn limit_of(finished: &Finished<Outcome>) -> LimitHit {
    let error = finished.result.as_ref().expect_err("it must be stopped");
    assert_eq!(error.origin, Origin::Host, "{error}");
    let hit = error
        .limit
        .clone()
        .unwrap_or_else(|| panic!("no limit: {error:?}"));
    assert_eq!(error.failure.reason, format!("limit-{}", hit.setting));
    for told in [&*hit.setting, &hit.allowed, &hit.used] {
        assert!(error.failure.message.contains(told), "{told:?} in {error}");
    }
    hit
}

/// No arguments.
pub(crate) fn none() -> Value {
    json!({})
}

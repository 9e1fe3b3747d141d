//! Starts the compiler process and takes its output.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::sync::Semaphore;

use crate::compile::{CompileLimits, EXIT_REFUSED};
use crate::error::Error;

/// Bytes of the compiler's complaint that are kept.
const COMPLAINT_BYTES_MAX: u64 = 4 * 1024;

/// Compiler processes that run at once: each uses all cores by itself.
const PROCESSES_MAX: usize = 2;

/// Compiles components in processes of their own.
pub(crate) struct Compiler {
    program: PathBuf,
    limits: CompileLimits,
    turn: Semaphore,
}

impl Compiler {
    pub(crate) fn new(program: PathBuf, limits: CompileLimits) -> Compiler {
        Compiler {
            program,
            limits,
            turn: Semaphore::new(PROCESSES_MAX),
        }
    }

    /// The native code of `component`. Dropping the future ends the process.
    pub(crate) async fn compile(&self, component: &[u8]) -> Result<Vec<u8>, Error> {
        let broken = |error: std::io::Error| Error::Setup {
            what: format!("the compiler {} can't be used", self.program.display()),
            error,
        };
        let _turn = self
            .turn
            .acquire()
            .await
            .map_err(|error| broken(std::io::Error::other(error)))?;
        let mut child = Command::new(&self.program)
            .args(self.limits.to_args())
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(broken)?;
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let exchange = async {
            let feed = async {
                if let Some(mut stdin) = stdin {
                    // A compiler that refuses early closes its end; its exit code says why.
                    let _ = stdin.write_all(component).await;
                }
            };
            let (_, code, complaint) = tokio::join!(
                feed,
                read(stdout, self.limits.output_bytes),
                read(stderr, COMPLAINT_BYTES_MAX),
            );
            let status = child.wait().await?;
            Ok::<_, std::io::Error>((code?, complaint?, status))
        };
        let wall = Duration::from_secs(self.limits.wall_seconds);
        let (code, complaint, status) = match tokio::time::timeout(wall, exchange).await {
            Ok(done) => done.map_err(broken)?,
            Err(_) => {
                return Err(Error::CompileLimit(format!(
                    "took longer than {} seconds",
                    self.limits.wall_seconds
                )));
            }
        };
        let complaint = String::from_utf8_lossy(&complaint).trim().to_owned();
        if status.success() {
            return Ok(code);
        }
        if status.code() == Some(EXIT_REFUSED.into()) {
            return Err(Error::Compile(complaint));
        }
        // Killed by the system: the CPU limit (SIGXCPU, SIGKILL), or an allocation that
        // failed and aborted.
        if status.code().is_none() {
            return Err(Error::CompileLimit(format!(
                "went over {} seconds of CPU time or {} bytes of memory ({status})",
                self.limits.cpu_seconds, self.limits.memory_bytes
            )));
        }
        Err(broken(std::io::Error::other(format!(
            "it ended with {status}: {complaint}"
        ))))
    }
}

/// All that comes, up to `bytes_max`; the rest is read and dropped, so that the writer does
/// not wait for ever.
async fn read(from: Option<impl AsyncRead + Unpin>, bytes_max: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        (&mut from).take(bytes_max).read_to_end(&mut bytes).await?;
        tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    }
    Ok(bytes)
}

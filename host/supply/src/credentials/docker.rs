//! The log-ins of docker and podman: their files, and the helper programs that these name.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use docker_credential::{CredentialRetrievalError, DockerCredential};
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use zeroize::Zeroizing;

use super::{RegistryCredential, RegistryCredentials};

/// Bytes of a file of log-ins.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Bytes that a helper may say.
const HELPER_BYTES_MAX: u64 = 64 << 10;

/// Time that a helper may take: some ask a person.
const HELPER_TIME_MAX: Duration = Duration::from_secs(60);

/// What docker calls its own registry in its files.
const DOCKER_HUB: (&str, &str) = ("docker.io", "index.docker.io");

/// What a user has logged in to with `docker login` or `podman login`.
#[derive(Clone, Debug)]
pub struct DockerCredentials {
    files: Vec<PathBuf>,
    helper_time: Duration,
}

impl DockerCredentials {
    /// The log-ins in these files; the first that has one for a registry counts.
    pub fn new(files: Vec<PathBuf>) -> DockerCredentials {
        DockerCredentials {
            files,
            helper_time: HELPER_TIME_MAX,
        }
    }

    /// The files of this user, in the order in which podman looks; `env` gives variables of the
    /// environment.
    pub fn of_user(env: impl Fn(&str) -> Option<OsString>) -> DockerCredentials {
        let at = |name: &str, path: &str| env(name).map(|dir| Path::new(&dir).join(path));
        let files = [
            env("REGISTRY_AUTH_FILE").map(PathBuf::from),
            at("XDG_RUNTIME_DIR", "containers/auth.json"),
            at("XDG_CONFIG_HOME", "containers/auth.json")
                .or_else(|| at("HOME", ".config/containers/auth.json")),
            at("DOCKER_CONFIG", "config.json").or_else(|| at("HOME", ".docker/config.json")),
        ];
        DockerCredentials::new(files.into_iter().flatten().collect())
    }

    /// The same with another time for helpers.
    #[must_use]
    pub fn with_helper_time(self, helper_time: Duration) -> DockerCredentials {
        DockerCredentials {
            helper_time,
            ..self
        }
    }

    /// What a file has for the first of these names.
    async fn of_file(
        &self,
        path: &Path,
        names: &[String],
    ) -> Result<Option<RegistryCredential>, String> {
        let wrong = |why: &str| format!("the log-ins in {} can't be used: {why}", path.display());
        let Some(text) = read(path).await.map_err(|why| wrong(&why))? else {
            return Ok(None);
        };
        let mut config: Value =
            serde_json::from_slice(&text).map_err(|_| wrong("they are no JSON"))?;
        let Some(config) = config.as_object_mut() else {
            return Err(wrong("they are no JSON object"));
        };
        // Helpers are run here, within bounds; the library reads the rest.
        let helpers = config.remove("credHelpers").unwrap_or_default();
        let store = config.remove("credsStore").unwrap_or_default();
        let rest = Zeroizing::new(serde_json::to_vec(config).unwrap_or_default());
        for name in names {
            if let Some(helper) = helpers.get(name).and_then(Value::as_str) {
                return self.ask(helper, name).await.map_err(|why| wrong(&why));
            }
            match docker_credential::get_credential_from_reader(&rest[..], name) {
                Ok(found) => return Ok(Some(found.into())),
                Err(CredentialRetrievalError::NoCredentialConfigured) => {}
                // Its other words may have what a helper said.
                Err(CredentialRetrievalError::CredentialDecodingError) => {
                    return Err(wrong("one is damaged"));
                }
                Err(CredentialRetrievalError::CredentialMismatchError) => {
                    return Err(wrong("one says two different things"));
                }
                Err(_) => return Err(wrong("they are not as docker writes them")),
            }
        }
        match (store.as_str(), names.last()) {
            (Some(helper), Some(name)) if !helper.is_empty() => {
                self.ask(helper, name).await.map_err(|why| wrong(&why))
            }
            _ => Ok(None),
        }
    }

    /// Asks a helper program (<https://github.com/docker/docker-credential-helpers>).
    async fn ask(&self, helper: &str, name: &str) -> Result<Option<RegistryCredential>, String> {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if helper.is_empty() || helper.len() > 64 || !helper.bytes().all(is_word) {
            return Err("they name a helper program that can't be one".to_owned());
        }
        self.run(&format!("docker-credential-{helper}"), name).await
    }

    async fn run(&self, program: &str, name: &str) -> Result<Option<RegistryCredential>, String> {
        let mut child = tokio::process::Command::new(program)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("the program {program} can't be run: {error}"))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let talk = async {
            if let Some(mut stdin) = stdin {
                // One that doesn't want to read it may answer nevertheless.
                let _ = stdin.write_all(name.as_bytes()).await;
            }
            let mut said = Zeroizing::new(Vec::new());
            if let Some(stdout) = stdout {
                let mut stdout = stdout.take(HELPER_BYTES_MAX + 1);
                stdout.read_to_end(&mut said).await?;
            }
            if said.len() as u64 > HELPER_BYTES_MAX {
                return Ok((None, said));
            }
            Ok::<_, std::io::Error>((Some(child.wait().await?), said))
        };
        let (status, said) = match tokio::time::timeout(self.helper_time, talk).await {
            Ok(Ok((Some(status), said))) => (status, said),
            Ok(Ok((None, _))) => return Err(format!("the program {program} says too much")),
            Ok(Err(error)) => return Err(format!("the program {program} failed: {error}")),
            Err(_) => {
                let secs = self.helper_time.as_secs();
                return Err(format!("the program {program} took longer than {secs} s"));
            }
        };
        if !status.success() {
            // This is how all of them say that they have none.
            return match String::from_utf8_lossy(&said).contains("not found") {
                true => Ok(None),
                false => Err(format!("the program {program} failed: {status}")),
            };
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Said {
            username: String,
            secret: String,
        }
        let said: Said = serde_json::from_slice(&said)
            .map_err(|_| format!("the program {program} says something else than a log-in"))?;
        Ok(Some(match said.username.as_str() {
            "<token>" => RegistryCredential::Identity(said.secret.into()),
            _ => RegistryCredential::Basic {
                user: said.username,
                password: said.secret.into(),
            },
        }))
    }
}

#[async_trait]
impl RegistryCredentials for DockerCredentials {
    async fn credential(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<Option<RegistryCredential>, String> {
        let names = names(registry, repository);
        for path in &self.files {
            if let Some(found) = self.of_file(path, &names).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

impl From<DockerCredential> for RegistryCredential {
    fn from(found: DockerCredential) -> RegistryCredential {
        match found {
            DockerCredential::IdentityToken(token) => RegistryCredential::Identity(token.into()),
            DockerCredential::UsernamePassword(user, password) => RegistryCredential::Basic {
                user,
                password: password.into(),
            },
        }
    }
}

/// What a log-in may be filed under: the repository, what it is in, the registry. The closest
/// counts.
fn names(registry: &str, repository: &str) -> Vec<String> {
    let (hub, filed) = DOCKER_HUB;
    let mut name = format!("{registry}/{repository}");
    let mut names = Vec::new();
    while let Some((outer, _)) = name.rsplit_once('/') {
        let outer = outer.to_owned();
        names.push(std::mem::replace(&mut name, outer));
    }
    names.push(match registry == hub {
        true => format!("https://{filed}/v1/"),
        false => registry.to_owned(),
    });
    names
}

async fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
    let file = match tokio::fs::File::open(path).await {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let mut text = Zeroizing::new(Vec::new());
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut text)
        .await
        .map_err(|error| error.to_string())?;
    match text.len() as u64 > FILE_BYTES_MAX {
        true => Err("the file is too large".to_owned()),
        false => Ok(Some(text)),
    }
}

#[cfg(test)]
mod tests;

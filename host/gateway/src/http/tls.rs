//! TLS as the settings want it, and the certificates that clients are shown; they are read
//! again when their files change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::{ArcSwap, ArcSwapOption};
use portreeve_manifest::settings::ServeTls;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

/// Why certificates can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file can't be read, or holds something else.
    #[error("`tls` under [serve]: {}: {why}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The key is another one's.
    #[error("`tls` under [serve]: the key in {} does not belong to the certificate in {}: {why}", key.display(), certificate.display())]
    Pair {
        /// The file of the certificates.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What the library said.
        why: String,
    },
    /// TLS can't be set up at all.
    #[error("TLS can't be set up: {0}")]
    Setup(String),
}

/// What tells a file from what it was.
type Stamp = Option<(SystemTime, u64)>;

/// What clients that connect from now on are met with: certificates, or none.
pub(super) struct Tls {
    /// Files are relative to it.
    dir: PathBuf,
    used: ArcSwapOption<Certificates>,
    /// Why the settings could not be taken up when that was last tried.
    failed: Mutex<Option<String>>,
}

impl Tls {
    pub(super) fn open(wanted: Option<&ServeTls>, dir: &Path) -> Result<Tls, TlsError> {
        let used = wanted.map(|tls| Certificates::open(tls, dir)).transpose()?;
        Ok(Tls {
            dir: dir.to_owned(),
            used: ArcSwapOption::new(used),
            failed: Mutex::default(),
        })
    }

    pub(super) fn is_used(&self) -> bool {
        self.used.load().is_some()
    }

    /// What takes the next connection's handshake.
    pub(super) fn acceptor(&self) -> Option<TlsAcceptor> {
        let used = self.used.load();
        used.as_ref().map(|shown| shown.config.clone().into())
    }

    /// Takes up what the settings say now, and files that have changed. What can't be used is
    /// logged once, and all stays as it was.
    pub(super) fn follow(&self, wanted: Option<&ServeTls>) {
        let used = self.used.load_full();
        if let Some(used) = &used {
            used.reload_if_changed();
        }
        let taken = match wanted {
            now if now == used.as_ref().map(|used| &used.files) => None,
            None => {
                self.used.store(None);
                tracing::warn!(
                    "`tls` is gone from [serve]: whoever connects now is served without TLS"
                );
                None
            }
            Some(tls) => match Certificates::open(tls, &self.dir) {
                Ok(certificates) => {
                    tracing::info!(file = %certificates.certificate.display(), "whoever connects now is served over TLS, with this certificate");
                    self.used.store(Some(certificates));
                    None
                }
                Err(error) => Some(error.to_string()),
            },
        };
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = taken.as_ref().filter(|_| *failed != taken) {
            let as_before = if used.is_some() {
                "over TLS with the former certificate"
            } else {
                "without TLS"
            };
            tracing::error!("clients are served {as_before}, as before: {why}");
        }
        *failed = taken;
    }

    /// Reads the certificates again, however new their files are.
    pub(super) fn reload(&self) {
        if let Some(used) = &*self.used.load() {
            used.reload();
        }
    }
}

/// A chain and its key, as they are now.
struct Certificates {
    /// As the settings name them.
    files: ServeTls,
    certificate: PathBuf,
    key: PathBuf,
    /// The two files as they were before they were last read.
    stamps: Mutex<[Stamp; 2]>,
    shown: Arc<Shown>,
    config: Arc<ServerConfig>,
}

/// What a handshake shows.
#[derive(Debug)]
struct Shown(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Certificates {
    /// Reads the files that `tls` names, relative to `dir`.
    fn open(tls: &ServeTls, dir: &Path) -> Result<Arc<Certificates>, TlsError> {
        let certificate = dir.join(tls.certificate.as_str());
        let key = dir.join(tls.key.as_str());
        let stamps = [stamp(&certificate), stamp(&key)];
        let shown = Arc::new(Shown(ArcSwap::new(read(&certificate, &key)?)));
        let provider = Arc::new(ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Setup(error.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(shown.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(Certificates {
            files: tls.clone(),
            certificate,
            key,
            stamps: Mutex::new(stamps),
            shown,
            config: Arc::new(config),
        }))
    }

    /// Reads the files again when they are not as they were.
    fn reload_if_changed(&self) {
        let now = [stamp(&self.certificate), stamp(&self.key)];
        let changed = now != *self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        // In between, a file that is being replaced may be missing.
        if changed && now.iter().all(Option::is_some) {
            self.reload();
        }
    }

    /// Reads the files again. What is wrong with them is logged; the old ones then stay.
    fn reload(&self) {
        let now = [stamp(&self.certificate), stamp(&self.key)];
        match read(&self.certificate, &self.key) {
            Ok(key) => {
                self.shown.0.store(key);
                tracing::info!(file = %self.certificate.display(), "the certificates were read again");
            }
            Err(error) => tracing::error!("the certificates stay as they were: {error}"),
        }
        *self.stamps.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

fn stamp(file: &Path) -> Stamp {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn read(certificate: &Path, key: &Path) -> Result<Arc<CertifiedKey>, TlsError> {
    let wrong = |file: &Path, why: String| TlsError::File {
        file: file.to_owned(),
        why,
    };
    let unread = |file: &Path, error: pem::Error| {
        let why = match error {
            pem::Error::Io(error) => format!(
                "{error}; name a file that this user can read, as its path is from the project's directory"
            ),
            error => format!("{error}; it must be PEM"),
        };
        wrong(file, why)
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| unread(certificate, error))?;
    if chain.is_empty() {
        let why = "there is no certificate in it; it must be PEM".to_owned();
        return Err(wrong(certificate, why));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unread(key, error))?;
    let private =
        ring::sign::any_supported_type(&private).map_err(|error| wrong(key, error.to_string()))?;
    let pair = CertifiedKey::new(chain, private);
    pair.keys_match().map_err(|error| TlsError::Pair {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        why: error.to_string(),
    })?;
    Ok(Arc::new(pair))
}

//! Minisign keys: made, read and used. The files are those of the `minisign` tool.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portreeve_manifest::id::PluginId;
use semver::Version;
use zeroize::Zeroizing;

use super::{Binding, SignatureFile, SignatureKind};

/// The longest key file, in bytes: a comment and 216 characters at most.
const FILE_BYTES_MAX: u64 = 4 << 10;
/// The longest passphrase, in bytes, which is that of the `minisign` tool.
const PASSPHRASE_BYTES_MAX: usize = 1_024;
/// What the `minisign` tool itself uses at most to derive a key from a passphrase.
const KDF_OPERATIONS_MAX: u64 = 33_554_432;
const KDF_BYTES_MAX: u64 = 1 << 30;

/// Why a key can't be made, read or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The operating system refused.
    #[error("`{path}` can't be {what}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// A file is there already.
    #[error("`{0}` exists already and is kept: choose another name, or move it away")]
    Exists(PathBuf),
    /// No public key.
    #[error(
        "this is no minisign public key: {0}; give the file that `portreeve keys new` or `minisign -G` wrote as public key, or its last line"
    )]
    NoPublicKey(&'static str),
    /// No secret key.
    #[error(
        "this is no minisign secret key: {0}; give the file that `portreeve keys new` or `minisign -G` wrote as secret key"
    )]
    NoSecretKey(&'static str),
    /// A passphrase is needed.
    #[error("the secret key is protected by a passphrase: give it")]
    PassphraseNeeded,
    /// A passphrase was given and is not the right one.
    #[error("the passphrase is not that of this secret key: try again")]
    WrongPassphrase,
    /// A passphrase was given to a key that has none.
    #[error("the secret key has no passphrase: give none")]
    NoPassphrase,
    /// A passphrase that protects nothing, or is too long.
    #[error(
        "a passphrase has 1 to {PASSPHRASE_BYTES_MAX} bytes; to keep the key without one, say so"
    )]
    BadPassphrase,
    /// The library failed.
    #[error("the key can't be used: {0}")]
    Failed(String),
}

/// The number of a key, as the `minisign` tool shows it.
pub(super) fn number(bytes: [u8; 8]) -> String {
    format!("{:016X}", u64::from_le_bytes(bytes))
}

/// A minisign public key.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// Algorithm, number and key.
    bytes: [u8; 42],
}

impl PublicKey {
    /// Reads the text of a public-key file, or its line of base64 alone.
    ///
    /// # Errors
    /// It is no public key.
    pub fn parse(text: &str) -> Result<PublicKey, KeyError> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let line = match (lines.next(), lines.next(), lines.next()) {
            (Some(line), None, None) => line,
            (Some(comment), Some(line), None) if comment.starts_with("untrusted comment:") => line,
            _ => {
                return Err(KeyError::NoPublicKey(
                    "it is not a comment and a line of base64",
                ));
            }
        };
        let decoded = STANDARD
            .decode(line)
            .map_err(|_| KeyError::NoPublicKey("it is no base64"))?;
        let mut bytes: [u8; 42] = decoded
            .try_into()
            .map_err(|_| KeyError::NoPublicKey("its length is not that of one"))?;
        match bytes.split_first_chunk_mut::<2>() {
            // Some tools write the mark of hashed signatures; the key is the same.
            Some((mark, _)) if matches!(&*mark, b"Ed" | b"ED") => *mark = *b"Ed",
            _ => return Err(KeyError::NoPublicKey("its algorithm is not Ed25519")),
        }
        Ok(PublicKey { bytes })
    }

    /// Reads a public-key file.
    ///
    /// # Errors
    /// The file can't be read or holds no public key.
    pub fn read(path: &Path) -> Result<PublicKey, KeyError> {
        PublicKey::parse(&read_text(path, KeyError::NoPublicKey)?)
    }

    /// The number of the key. It tells keys apart that were honestly made: whoever makes a
    /// key chooses it.
    pub fn id(&self) -> String {
        let bytes = self.bytes.get(2..10).and_then(|b| b.try_into().ok());
        number(bytes.unwrap_or_default())
    }

    /// The key in one line, as `minisign -P` takes it.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.bytes)
    }

    /// The text of a public-key file.
    pub fn to_text(&self) -> String {
        format!(
            "untrusted comment: minisign public key {}\n{}\n",
            self.id(),
            self.to_base64()
        )
    }

    /// Whether a signature was made with this key: over the bytes and the trusted comment.
    pub(super) fn verify(
        &self,
        artifact: &[u8],
        signature: &minisign_verify::Signature,
    ) -> Result<(), minisign_verify::Error> {
        minisign_verify::PublicKey::from_base64(&self.to_base64())?
            .verify(artifact, signature, true)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.to_base64())
    }
}

/// The texts of a new pair of keys.
pub struct NewKeyPair {
    /// The public key.
    pub public: PublicKey,
    /// The text of the secret-key file.
    secret: Zeroizing<String>,
}

impl NewKeyPair {
    /// Makes a pair of keys, the secret one protected by a passphrase, or by nothing where
    /// there is none.
    ///
    /// # Errors
    /// An empty or overlong passphrase; no randomness.
    pub fn generate(passphrase: Option<&str>) -> Result<NewKeyPair, KeyError> {
        let pair = match passphrase {
            None => minisign::KeyPair::generate_unencrypted_keypair(),
            Some(passphrase) => {
                minisign::KeyPair::generate_encrypted_keypair(Some(checked(passphrase)?.to_owned()))
            }
        }
        .map_err(failed)?;
        let comment = match passphrase {
            None => "minisign secret key",
            Some(_) => "minisign encrypted secret key",
        };
        let secret = pair.sk.to_box(Some(comment)).map_err(failed)?;
        Ok(NewKeyPair {
            public: PublicKey::parse(&pair.pk.to_base64())?,
            secret: Zeroizing::new(secret.into_string()),
        })
    }

    /// The text of the secret-key file.
    pub fn secret_text(&self) -> &str {
        &self.secret
    }

    /// Writes both files, the secret one readable by its owner only. Neither may exist.
    ///
    /// # Errors
    /// A file exists, or can't be written.
    pub fn write(&self, public: &Path, secret: &Path) -> Result<(), KeyError> {
        for path in [public, secret] {
            if fs::symlink_metadata(path).is_ok() {
                return Err(KeyError::Exists(path.to_owned()));
            }
        }
        create(secret, &self.secret, 0o600)?;
        create(public, &self.public.to_text(), 0o644).inspect_err(|_| {
            // A secret key without its public key is of no use to anybody.
            let _ = fs::remove_file(secret);
        })
    }
}

impl fmt::Debug for NewKeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewKeyPair({})", self.public.id())
    }
}

/// Writes a new file.
fn create(path: &Path, text: &str, mode: u32) -> Result<(), KeyError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let written = options.open(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => KeyError::Exists(path.to_owned()),
        _ => KeyError::Io {
            path: path.to_owned(),
            what: "written",
            error,
        },
    })
}

/// A secret key, ready to sign. It is never shown.
pub struct SecretKey {
    key: minisign::SecretKey,
    public: PublicKey,
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.public.id())
    }
}

impl SecretKey {
    /// Whether the text of a secret-key file is protected by a passphrase.
    ///
    /// # Errors
    /// It is no secret key.
    pub fn is_protected(text: &str) -> Result<bool, KeyError> {
        let bytes = decode(text)?;
        let number = |from: usize| {
            let bytes = bytes.get(from..from + 8).and_then(|b| b.try_into().ok());
            u64::from_le_bytes(bytes.unwrap_or([0xff; 8]))
        };
        match bytes.get(2..4) {
            Some([0, 0]) => Ok(false),
            Some(b"Sc") if number(38) <= KDF_OPERATIONS_MAX && number(46) <= KDF_BYTES_MAX => {
                Ok(true)
            }
            Some(b"Sc") => Err(KeyError::NoSecretKey(
                "it would take too much time or memory to derive its key from a passphrase",
            )),
            _ => Err(KeyError::NoSecretKey(
                "it is protected in a way that is not known",
            )),
        }
    }

    /// Reads the text of a secret-key file.
    ///
    /// # Errors
    /// It is no secret key, or the passphrase isn't its own.
    pub fn parse(text: &str, passphrase: Option<&str>) -> Result<SecretKey, KeyError> {
        let protected = SecretKey::is_protected(text)?;
        let key = match (protected, passphrase) {
            (true, None) => return Err(KeyError::PassphraseNeeded),
            (false, Some(_)) => return Err(KeyError::NoPassphrase),
            // Without a passphrase this function would ask for one at the terminal.
            (true, Some(passphrase)) => minisign::SecretKeyBox::from(text.to_owned())
                .into_secret_key(Some(checked(passphrase)?.to_owned()))
                .map_err(|_| KeyError::WrongPassphrase)?,
            // Not from the text: the tool writes no checksum for a key that isn't
            // protected, and the library wants one.
            (false, None) => minisign::SecretKey::from_bytes(&decode(text)?).map_err(failed)?,
        };
        let public = minisign::PublicKey::from_secret_key(&key).map_err(failed)?;
        let key = SecretKey {
            public: PublicKey::parse(&public.to_base64())?,
            key,
        };
        // A key that is damaged makes signatures that nobody accepts.
        let trial = key.sign_as(b"", "trial")?;
        let whole = minisign_verify::Signature::decode(&trial)
            .and_then(|trial| key.public.verify(b"", &trial));
        whole.map_err(|_| KeyError::NoSecretKey("it is damaged"))?;
        Ok(key)
    }

    /// The text of a secret-key file.
    ///
    /// # Errors
    /// The file can't be read or is too long.
    pub fn read_text(path: &Path) -> Result<Zeroizing<String>, KeyError> {
        read_text(path, KeyError::NoSecretKey).map(Zeroizing::new)
    }

    /// Its public key.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs a component as a plugin's version: the content of `FILE.minisig`.
    ///
    /// # Errors
    /// No randomness.
    pub fn sign(
        &self,
        artifact: &[u8],
        id: &PluginId,
        version: &Version,
    ) -> Result<SignatureFile, KeyError> {
        let binding = Binding {
            id: id.clone(),
            version: version.clone(),
        };
        Ok(SignatureFile {
            kind: SignatureKind::Minisign,
            bytes: self.sign_as(artifact, &binding.to_string())?.into_bytes(),
        })
    }

    /// Signs bytes with any trusted comment.
    fn sign_as(&self, artifact: &[u8], trusted: &str) -> Result<String, KeyError> {
        let comment = format!("signature by the minisign key {}", self.public.id());
        minisign::sign(None, &self.key, artifact, Some(trusted), Some(&comment))
            .map(minisign::SignatureBox::into_string)
            .map_err(failed)
    }
}

/// The bytes of a secret key: algorithms, how it is protected, number, key, checksum.
fn decode(text: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    const LENGTH: usize = 158;
    let line = text.lines().nth(1).unwrap_or_default().trim();
    let bytes = STANDARD
        .decode(line)
        .map(Zeroizing::new)
        .map_err(|_| KeyError::NoSecretKey("its second line is no base64"))?;
    if bytes.len() != LENGTH || !bytes.starts_with(b"Ed") {
        return Err(KeyError::NoSecretKey(
            "its length or algorithm is not that of one",
        ));
    }
    Ok(bytes)
}

fn checked(passphrase: &str) -> Result<&str, KeyError> {
    if (1..=PASSPHRASE_BYTES_MAX).contains(&passphrase.len()) {
        Ok(passphrase)
    } else {
        Err(KeyError::BadPassphrase)
    }
}

fn failed(error: minisign::PError) -> KeyError {
    KeyError::Failed(error.to_string())
}

/// Reads a small file of text.
fn read_text(path: &Path, refuse: fn(&'static str) -> KeyError) -> Result<String, KeyError> {
    let io = |error| KeyError::Io {
        path: path.to_owned(),
        what: "read",
        error,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(io)?;
    let mut bounded = file.take(FILE_BYTES_MAX + 1);
    bounded.read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(refuse("it is too long"));
    }
    String::from_utf8(bytes).map_err(|_| refuse("it is no text"))
}

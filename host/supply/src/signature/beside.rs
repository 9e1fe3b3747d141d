//! Signatures that lie beside a component's file.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::{SIGNATURE_BYTES_MAX, SignatureFile, SignatureKind};

/// Where a signature of a component's file lies: beside it, under its name and a suffix.
pub fn path_beside(component: &Path, kind: SignatureKind) -> PathBuf {
    let mut name = component.as_os_str().to_owned();
    name.push(kind.suffix());
    name.into()
}

/// The signatures that lie beside a component's file; none of a kind that isn't there.
///
/// # Errors
/// One is there and can't be read, or is longer than any.
pub fn read_beside(component: &Path) -> Result<Vec<SignatureFile>, String> {
    let mut found = Vec::new();
    for kind in SignatureKind::ALL {
        let path = path_beside(component, kind);
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| {
            let mut bounded = file.take(SIGNATURE_BYTES_MAX as u64 + 1);
            bounded.read_to_end(&mut bytes)
        });
        match read {
            Ok(_) if bytes.len() <= SIGNATURE_BYTES_MAX => {
                found.push(SignatureFile { kind, bytes });
            }
            Ok(_) => {
                return Err(format!(
                    "{} has more than {SIGNATURE_BYTES_MAX} bytes, and is no signature",
                    path.display()
                ));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{} can't be read: {error}", path.display())),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_beside_is_found_within_a_bound() {
        let dir = tempfile::tempdir().unwrap();
        let component = dir.path().join("a.wasm");
        assert_eq!(read_beside(&component).unwrap(), []);
        std::fs::write(dir.path().join("a.wasm.minisig"), "x").unwrap();
        let [found] = read_beside(&component).unwrap().try_into().unwrap();
        assert_eq!(
            (found.kind, found.bytes),
            (SignatureKind::Minisign, b"x".to_vec())
        );
        let long = vec![b'x'; SIGNATURE_BYTES_MAX + 1];
        std::fs::write(dir.path().join("a.wasm.sigstore.json"), long).unwrap();
        assert!(
            read_beside(&component)
                .unwrap_err()
                .contains("no signature")
        );
    }
}

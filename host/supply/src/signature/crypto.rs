//! The cryptography under Sigstore's verification: ring, SHA-2 and RustCrypto's ECDSA
//! instead of aws-lc, which is C with a build of its own.
//!
//! Sigstore verifies most signatures over a digest that it already has, which ring doesn't
//! offer; what remains for ring is what is signed as a whole.

use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use ring::signature::{
    ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    UnparsedPublicKey, VerificationAlgorithm,
};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use sigstore_verify::crypto::{
    CryptoProvider, Error, HashContext, KeyAlgorithm, Result, SigningScheme,
    install_default_provider,
};
use sigstore_verify::types::HashAlgorithm;

/// Makes it the one that Sigstore's crates use; without it they would panic. Another that
/// the process has installed before stays.
pub(crate) fn install() {
    let _ = install_default_provider(&Ours);
}

#[derive(Debug)]
struct Ours;

impl CryptoProvider for Ours {
    fn hash(&self, algorithm: HashAlgorithm) -> Result<Box<dyn HashContext>> {
        Ok(match algorithm {
            HashAlgorithm::Sha2256 => Box::new(Hashing(Sha256::new())),
            HashAlgorithm::Sha2384 => Box::new(Hashing(Sha384::new())),
            HashAlgorithm::Sha2512 => Box::new(Hashing(Sha512::new())),
            _ => return Err(unsupported(&format!("digests by {algorithm}"))),
        })
    }

    fn verify_raw(
        &self,
        scheme: SigningScheme,
        key: &[u8],
        data: &[u8],
        signature: &[u8],
    ) -> Result<()> {
        let whole: &dyn VerificationAlgorithm = match scheme {
            SigningScheme::Ed25519 => &ED25519,
            SigningScheme::RsaPssSha256 => &RSA_PSS_2048_8192_SHA256,
            SigningScheme::RsaPssSha384 => &RSA_PSS_2048_8192_SHA384,
            SigningScheme::RsaPssSha512 => &RSA_PSS_2048_8192_SHA512,
            SigningScheme::RsaPkcs1Sha256 => &RSA_PKCS1_2048_8192_SHA256,
            SigningScheme::RsaPkcs1Sha384 => &RSA_PKCS1_2048_8192_SHA384,
            SigningScheme::RsaPkcs1Sha512 => &RSA_PKCS1_2048_8192_SHA512,
            _ => {
                let algorithm = scheme
                    .hash_algorithm()
                    .ok_or_else(|| unsupported(scheme.name()))?;
                let mut hashing = self.hash(algorithm)?;
                hashing.update(data);
                return self.verify_prehashed(scheme, key, &hashing.finalize(), signature);
            }
        };
        UnparsedPublicKey::new(whole, key)
            .verify(data, signature)
            .map_err(|_| invalid(scheme))
    }

    fn verify_prehashed(
        &self,
        scheme: SigningScheme,
        key: &[u8],
        digest: &[u8],
        signature: &[u8],
    ) -> Result<()> {
        match scheme.key_algorithm() {
            KeyAlgorithm::EcdsaP256 => {
                let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(key);
                let signature = p256::ecdsa::Signature::from_der(signature);
                key.and_then(|key| key.verify_prehash(digest, &signature?))
            }
            KeyAlgorithm::EcdsaP384 => {
                let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(key);
                let signature = p384::ecdsa::Signature::from_der(signature);
                key.and_then(|key| key.verify_prehash(digest, &signature?))
            }
            _ => {
                return Err(unsupported(&format!(
                    "{} over a digest alone",
                    scheme.name()
                )));
            }
        }
        .map_err(|_| invalid(scheme))
    }
}

/// A digest on its way.
struct Hashing<D>(D);

impl<D: sha2::Digest + Send> HashContext for Hashing<D> {
    fn update(&mut self, data: &[u8]) {
        sha2::Digest::update(&mut self.0, data);
    }

    fn finalize(self: Box<Self>) -> Vec<u8> {
        sha2::Digest::finalize(self.0).to_vec()
    }
}

fn invalid(scheme: SigningScheme) -> Error {
    Error::Verification(format!("the {} signature is not valid", scheme.name()))
}

fn unsupported(what: &str) -> Error {
    Error::UnsupportedAlgorithm(format!("{what} is not supported by Portreeve"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use p256::ecdsa::signature::hazmat::PrehashSigner as _;

    #[test]
    fn digests_are_right() {
        for (algorithm, start) in [
            (HashAlgorithm::Sha2256, "ba7816bf"),
            (HashAlgorithm::Sha2384, "cb00753f"),
            (HashAlgorithm::Sha2512, "ddaf35a1"),
        ] {
            let mut hashing = Ours.hash(algorithm).unwrap();
            hashing.update(b"a");
            hashing.update(b"bc");
            let digest = hashing.finalize();
            let shown: String = digest.iter().take(4).map(|b| format!("{b:02x}")).collect();
            assert_eq!(shown, start);
        }
    }

    #[test]
    fn ring_and_we_agree() {
        use ring::signature::{self as ring_signature, EcdsaKeyPair, KeyPair as _};
        let random = ring::rand::SystemRandom::new();
        let data = b"the artifact";
        for (algorithm, scheme) in [
            (
                &ring_signature::ECDSA_P256_SHA256_ASN1_SIGNING,
                SigningScheme::EcdsaP256Sha256,
            ),
            (
                &ring_signature::ECDSA_P384_SHA384_ASN1_SIGNING,
                SigningScheme::EcdsaP384Sha384,
            ),
        ] {
            let pair = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
            let pair = EcdsaKeyPair::from_pkcs8(algorithm, pair.as_ref(), &random).unwrap();
            let signature = pair.sign(&random, data).unwrap();
            let (key, signature) = (pair.public_key().as_ref(), signature.as_ref());
            assert!(Ours.verify_raw(scheme, key, data, signature).is_ok());
            assert!(Ours.verify_raw(scheme, key, b"another", signature).is_err());
            for at in 0..signature.len() {
                let mut broken = signature.to_vec();
                broken[at] ^= 1;
                assert!(Ours.verify_raw(scheme, key, data, &broken).is_err(), "{at}");
            }
            assert!(Ours.verify_raw(scheme, &key[1..], data, signature).is_err());
            assert!(Ours.verify_raw(scheme, key, data, &[]).is_err());
        }
    }

    #[test]
    fn longer_and_shorter_digests_are_cut_as_the_standard_says() {
        let key = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
        let digest = Sha384::digest(b"the artifact");
        let signature: p256::ecdsa::Signature = key.sign_prehash(&digest).unwrap();
        let (der, point) = (
            signature.to_der(),
            key.verifying_key().to_encoded_point(false),
        );
        let scheme = SigningScheme::EcdsaP256Sha384;
        assert!(
            Ours.verify_raw(scheme, point.as_bytes(), b"the artifact", der.as_bytes())
                .is_ok()
        );
        let scheme = SigningScheme::EcdsaP256Sha256;
        assert!(
            Ours.verify_raw(scheme, point.as_bytes(), b"the artifact", der.as_bytes())
                .is_err()
        );
    }

    #[test]
    fn what_is_not_supported_is_an_error() {
        for scheme in [
            SigningScheme::MlDsa44,
            SigningScheme::Ed25519,
            SigningScheme::RsaPssSha256,
        ] {
            assert!(
                Ours.verify_prehashed(scheme, &[0; 32], &[0; 32], &[0; 64])
                    .is_err()
            );
        }
        assert!(
            Ours.verify_raw(SigningScheme::MlDsa65, &[0; 32], b"", &[0; 64])
                .is_err()
        );
    }
}

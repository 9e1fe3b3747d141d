//! What a component looks like in a registry: a manifest, a config, and one layer
//! (<https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/>).

use std::collections::BTreeMap;

use oci_spec::image::{
    Descriptor, DescriptorBuilder, ImageIndex, ImageIndexBuilder, ImageManifest,
    ImageManifestBuilder, MediaType,
};
use portreeve_manifest::integrity::Integrity;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::signature::SignatureKind;
use crate::{Digest, Package};

/// Bytes of a manifest or an index. Registries must take 4 MiB; ours have 2 KiB.
pub(super) const MANIFEST_BYTES_MAX: u64 = 1 << 20;

/// The kinds of manifests that are read.
pub(super) const ACCEPT: &str =
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json";

/// The config of a component.
const CONFIG: &str = "application/vnd.wasm.config.v0+json";

/// The one layer.
const LAYER: &str = "application/wasm";

/// A signature of minisign. It has no type of its own elsewhere.
const MINISIGN: &str = "application/vnd.portreeve.minisign.signature.v1";

/// A bundle of Sigstore, as cosign attaches it.
const SIGSTORE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// What every bundle of Sigstore's type begins and ends with.
const SIGSTORE_ANY: (&str, &str) = ("application/vnd.dev.sigstore.bundle.v0.", "+json");

/// When it was made: never. The same component has the same manifest, whoever publishes it
/// and when, so that to publish it twice is to publish it once.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// What is behind a reference.
pub(super) enum Document {
    Manifest(Box<ImageManifest>),
    Index(Box<ImageIndex>),
}

/// Reads a manifest or an index. One that is both is neither: two readers would take it for
/// two things.
///
/// # Errors
/// A sentence.
pub(super) fn read(bytes: &[u8], content_type: Option<&str>) -> Result<Document, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape {
        schema_version: u32,
        media_type: Option<String>,
        layers: Option<IgnoredAny>,
        manifests: Option<IgnoredAny>,
    }
    let wrong = |error: serde_json::Error| format!("its manifest can't be read: {error}");
    let shape: Shape = serde_json::from_slice(bytes).map_err(wrong)?;
    if shape.schema_version != 2 {
        return Err(format!(
            "its manifest is of schema {}, not 2",
            shape.schema_version
        ));
    }
    let sent_as = content_type
        .and_then(|kind| kind.split(';').next())
        .map(str::trim);
    let written = shape.media_type.as_deref();
    if let (Some(sent_as), Some(written)) = (sent_as, written)
        && sent_as != written
    {
        return Err(format!(
            "its manifest is sent as {sent_as}, and says that it is {written}"
        ));
    }
    let may_be = |kind: MediaType| written.is_none_or(|written| written == kind.as_ref());
    match (shape.layers, shape.manifests) {
        (Some(_), None) if may_be(MediaType::ImageManifest) => serde_json::from_slice(bytes)
            .map(Box::new)
            .map(Document::Manifest),
        (None, Some(_)) if may_be(MediaType::ImageIndex) => serde_json::from_slice(bytes)
            .map(Box::new)
            .map(Document::Index),
        _ => return Err("its manifest is neither of one thing nor of many".to_owned()),
    }
    .map_err(wrong)
}

/// The one layer of a component's manifest.
///
/// # Errors
/// What it is instead.
pub(super) fn component(manifest: &ImageManifest) -> Result<&Descriptor, String> {
    match manifest.layers().as_slice() {
        [only] if only.media_type().as_ref() == LAYER => Ok(only),
        [only] => Err(format!(
            "its layer is {}, where {LAYER} was looked for",
            only.media_type()
        )),
        layers => Err(format!(
            "it has {} layers, where a component has one",
            layers.len()
        )),
    }
}

/// The one component among what an index lists.
///
/// # Errors
/// When there is none, or more than one.
pub(super) fn chosen(index: &ImageIndex) -> Result<&Descriptor, String> {
    let is_component = |listed: &&Descriptor| {
        let kind = listed.artifact_type().as_ref().map(MediaType::as_ref);
        let platform = listed.platform().as_ref();
        kind == Some(CONFIG)
            || kind == Some(LAYER)
            || platform.is_some_and(|platform| platform.architecture().to_string() == "wasm")
    };
    let mut found = index.manifests().iter().filter(is_component);
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err("it is a list without a component in it".to_owned()),
        _ => Err("it is a list of several components; name one by its digest".to_owned()),
    }
}

/// A digest as it is checked.
///
/// # Errors
/// When it is of another algorithm.
pub(super) fn integrity(descriptor: &Descriptor) -> Result<Integrity, String> {
    let text = descriptor.digest().as_ref();
    match text.parse() {
        Ok(integrity) => Ok(integrity),
        Err(_) => Err(format!(
            "it names something by {text}, and sha256 and sha512 are what is checked"
        )),
    }
}

/// The kind of signature that a type stands for.
pub(super) fn signature_kind(media_type: &str) -> Option<SignatureKind> {
    let (start, end) = SIGSTORE_ANY;
    match media_type {
        MINISIGN => Some(SignatureKind::Minisign),
        other if other.starts_with(start) && other.ends_with(end) => {
            Some(SignatureKind::SigstoreBundle)
        }
        _ => None,
    }
}

/// Blobs, and the manifest over them.
pub(super) struct Artifact {
    pub(super) blobs: Vec<Vec<u8>>,
    pub(super) manifest: Vec<u8>,
    pub(super) descriptor: Descriptor,
}

/// The config of a component (specification, "Config").
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Config<'a> {
    created: &'static str,
    architecture: &'static str,
    os: &'static str,
    layer_digests: [String; 1],
    component: Interface<'a>,
}

#[derive(Serialize)]
struct Interface<'a> {
    exports: &'a [String],
    imports: &'a [String],
    target: Option<&'a str>,
}

/// A component, as it is published.
///
/// # Errors
/// A sentence; never for a package that was read.
pub(super) fn of_component(component: &[u8], package: &Package) -> Result<Artifact, String> {
    let digest = package.digest.to_string();
    let config = Config {
        created: CREATED,
        architecture: "wasm",
        os: "wasip2",
        layer_digests: [digest],
        component: Interface {
            exports: &package.surface.exports,
            imports: &package.surface.imports,
            target: None,
        },
    };
    let config = serde_json::to_vec(&config).map_err(|error| error.to_string())?;
    let manifest = &package.manifest;
    let annotation = |name: &str| format!("org.opencontainers.image.{name}");
    let mut annotations = BTreeMap::from([
        (annotation("title"), manifest.id.to_string()),
        (annotation("version"), manifest.version.to_string()),
    ]);
    annotations.extend(
        manifest
            .license
            .as_ref()
            .map(|licence| (annotation("licenses"), licence.to_string())),
    );
    let document = ImageManifestBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageManifest)
        .config(describe(CONFIG, &config)?)
        .layers(vec![describe(LAYER, component)?])
        .build()
        .map_err(|error| error.to_string())?;
    finish(document, annotations, vec![config, component.to_vec()])
}

/// A signature, as it is attached to the manifest of what it signs.
///
/// # Errors
/// A sentence; never in practice.
pub(super) fn of_signature(
    kind: SignatureKind,
    signature: &[u8],
    subject: &Descriptor,
) -> Result<Artifact, String> {
    let media_type = match kind {
        SignatureKind::Minisign => MINISIGN,
        SignatureKind::SigstoreBundle => SIGSTORE,
    };
    let empty = b"{}".to_vec();
    let document = ImageManifestBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageManifest)
        .artifact_type(media_type)
        .config(describe(MediaType::EmptyJSON.as_ref(), &empty)?)
        .layers(vec![describe(media_type, signature)?])
        .subject(subject.clone())
        .build()
        .map_err(|error| error.to_string())?;
    let mut artifact = finish(document, BTreeMap::new(), vec![empty, signature.to_vec()])?;
    artifact
        .descriptor
        .set_artifact_type(Some(media_type.into()));
    Ok(artifact)
}

/// The list of what refers to something, for registries that keep none themselves.
///
/// # Errors
/// A sentence; never in practice.
pub(super) fn of_index(manifests: Vec<Descriptor>) -> Result<Vec<u8>, String> {
    let index = ImageIndexBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageIndex)
        .manifests(manifests)
        .build()
        .map_err(|error| error.to_string())?;
    serde_json::to_vec(&index).map_err(|error| error.to_string())
}

fn finish(
    document: ImageManifest,
    annotations: BTreeMap<String, String>,
    blobs: Vec<Vec<u8>>,
) -> Result<Artifact, String> {
    let mut document = serde_json::to_value(document).map_err(|error| error.to_string())?;
    // In an order, so that the same component has the same manifest.
    if let (Some(document), false) = (document.as_object_mut(), annotations.is_empty()) {
        let annotations = serde_json::to_value(annotations).map_err(|error| error.to_string())?;
        document.insert("annotations".to_owned(), annotations);
    }
    let manifest = serde_json::to_vec(&document).map_err(|error| error.to_string())?;
    Ok(Artifact {
        blobs,
        descriptor: describe(MediaType::ImageManifest.as_ref(), &manifest)?,
        manifest,
    })
}

fn describe(media_type: &str, bytes: &[u8]) -> Result<Descriptor, String> {
    let digest: oci_spec::image::Digest = Digest::of(bytes)
        .to_string()
        .parse()
        .map_err(|error: oci_spec::OciSpecError| error.to_string())?;
    DescriptorBuilder::default()
        .media_type(media_type)
        .digest(digest)
        .size(bytes.len() as u64)
        .build()
        .map_err(|error| error.to_string())
}

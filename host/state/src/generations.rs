//! The generations of each plugin: the components that it had, each with its entry in the
//! operator's file and what was agreed to, so that it can be gone back to.

use async_trait::async_trait;

use crate::error::StateError;
use crate::rows::Holder;

/// A component that a plugin has or had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenerationRow {
    /// Whose it is.
    pub holder: Holder,
    /// Its number, one more than the highest that there was when the component came.
    pub number: i64,
    /// Since when it is, or was last, the one that is installed.
    pub since_ms: i64,
    /// Until when it was; none for the one that is.
    pub until_ms: Option<i64>,
    /// What it is.
    pub content: Generation,
}

/// What a generation is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// The digest of the component: there is one generation of each.
    pub digest: String,
    /// The plugin's table in the operator's file, as a text of its own.
    pub entry: String,
    /// What was agreed to, as JSON.
    pub locked: String,
}

/// How many generations are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GenerationKeep {
    /// Of one plugin, the one that is installed among them.
    pub rows_max: u32,
    /// Those that were last installed before this moment go.
    pub before_ms: i64,
}

/// Keeps generations.
#[async_trait]
pub trait GenerationStore: Send + Sync + std::fmt::Debug {
    /// Notes what is installed from now on, all or nothing of it: a component that was there
    /// before gets its number back, with this content. What is beyond `keep` goes, but never what
    /// is installed.
    async fn generations_put(
        &self,
        installed: Vec<(Holder, Generation)>,
        now_ms: i64,
        keep: GenerationKeep,
    ) -> Result<(), StateError>;

    /// The generations that are installed.
    async fn generations_installed(&self) -> Result<Vec<GenerationRow>, StateError>;

    /// The generations of a plugin: the one that is installed first, then the others, from the
    /// one that was last.
    async fn generations(&self, holder: &Holder) -> Result<Vec<GenerationRow>, StateError>;

    /// The digests of all components that there are generations of.
    async fn generation_digests(&self) -> Result<Vec<String>, StateError>;
}

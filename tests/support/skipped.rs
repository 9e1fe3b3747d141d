//! What a test says that can show nothing here, for want of a tool that somebody else made.
//! Test programs take this file in by its path.

/// Says so, aloud. Where `PORTREEVE_REQUIRE_TOOLS` is set, as in CI, it fails instead: there, all
/// of them are to be shown.
pub(crate) fn skipped(why: &str) {
    let required = std::env::var_os("PORTREEVE_REQUIRE_TOOLS").is_some_and(|set| !set.is_empty());
    assert!(!required, "PORTREEVE_REQUIRE_TOOLS is set, and {why}");
    eprintln!("SKIPPED, LOUDLY: {why}, so this case proves nothing here");
}

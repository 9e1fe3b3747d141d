//! What the crate promises about component files: good ones, bad ones, hostile ones.

// `cfg(test)` tells clippy that these are tests, their helpers included.
#[cfg(test)]
mod bare;
#[cfg(test)]
mod change;
#[cfg(test)]
mod common;
#[cfg(test)]
mod evidence;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod intake;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod licences;
#[cfg(test)]
mod minisign_tool;
#[cfg(test)]
mod pack;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod scan;
#[cfg(test)]
mod signature;
#[cfg(test)]
mod sigstore;
#[cfg(test)]
#[path = "../../../../tests/support/skipped.rs"]
mod skipped;

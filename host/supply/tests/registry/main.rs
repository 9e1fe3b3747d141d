//! Fetching and publishing, against web servers and registries on this machine: good ones,
//! such as break the rules, and a real one.

// `cfg(test)` tells clippy that these are tests, their helpers included.
#[cfg(test)]
mod advisories;
#[cfg(test)]
mod auth;
#[cfg(test)]
#[path = "../../../../tests/support/docker_registry.rs"]
mod docker_registry;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod https;
#[cfg(test)]
mod publish;
#[cfg(test)]
mod real;
#[cfg(test)]
#[path = "../../../../tests/support/skipped.rs"]
mod skipped;
#[cfg(test)]
mod support;

//! The guest test programs of `tests/programs`, compiled: a constant with the path of each.
//!
//! ```
//! let echo = std::fs::read(portreeve_test_artifacts::ECHO)?;
//! assert!(echo.starts_with(b"\0asm"));
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! A module of tests that must have one for each program (each provider of tools, each
//! bare component, each one assembled from text) calls the macro of that group with one
//! that names the test; it doesn't compile while one is missing:
//!
//! ```
//! macro_rules! assert_test_exists {
//!     ($name:ident) => {
//!         use self::$name as _;
//!     };
//! }
//! # macro_rules! test { ($name:ident) => { fn $name() {} }; }
//! # portreeve_test_artifacts::foreach_bare!(test);
//! portreeve_test_artifacts::foreach_bare!(assert_test_exists);
//! # fn main() {}
//! ```

#![deny(missing_docs)]

include!(concat!(env!("OUT_DIR"), "/programs.rs"));

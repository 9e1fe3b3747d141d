//! What licences are judged by: the operator's policy, and a table of what goes together.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use portreeve_manifest::policy::LicensePolicy;

use super::Compatibility;
use super::compatibility::TABLE_BYTES_MAX;

/// What licences are judged by.
#[derive(Debug, Default)]
pub struct Rules {
    policy: Option<LicensePolicy>,
    table: Option<Compatibility>,
}

impl Rules {
    /// Reads what the policy names; paths in it are relative to `project`.
    ///
    /// # Errors
    /// A table that can't be read, with its path and what to do.
    pub fn load(policy: Option<&LicensePolicy>, project: &Path) -> Result<Rules, String> {
        let table = match policy.and_then(|policy| policy.compatibility.as_ref()) {
            None => None,
            Some(file) => {
                let path = project.join(file);
                let table = read(&path).map_err(|why| {
                    format!(
                        "the table of licences {} can't be used: {why}; mend it, or take `compatibility` out of [policy.licenses]",
                        path.display()
                    )
                })?;
                Some(table)
            }
        };
        Ok(Rules {
            policy: policy.cloned(),
            table,
        })
    }

    /// The operator's policy; none where there is none.
    pub fn policy(&self) -> Option<&LicensePolicy> {
        self.policy.as_ref()
    }

    /// The table of what goes together.
    pub fn table(&self) -> &Compatibility {
        self.table
            .as_ref()
            .unwrap_or_else(|| Compatibility::carried())
    }
}

fn read(path: &Path) -> Result<Compatibility, String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(TABLE_BYTES_MAX + 1).read_to_string(&mut text))
        .map_err(|error| error.to_string())?;
    if text.len() as u64 > TABLE_BYTES_MAX {
        return Err(format!("it has more than {TABLE_BYTES_MAX} bytes"));
    }
    Compatibility::parse(&text, &path.display().to_string())
}

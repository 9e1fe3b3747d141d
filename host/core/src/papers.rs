//! Whether a component's papers are in order, as the operator's policy wants them.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use portreeve_manifest::id::Alias;
use portreeve_manifest::lock::LockedPlugin;
use portreeve_manifest::policy::{AdvisoryPolicy, Policy, ScanPolicy, SignaturePolicy};
use portreeve_supply::advisory::{self, AdvisoryStore, Database};
use portreeve_supply::licence::{self, Rules};
use portreeve_supply::scan::{self, Examined, Report};
use portreeve_supply::signature::{Demand, SignatureFile, Subject, Trust};
use portreeve_supply::{ArtifactStore, Package};

/// What was agreed to of a component that somebody had signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) digest: String,
    pub(crate) signer: String,
}

impl Agreed {
    /// What the lockfile says of it; none where nobody had signed it.
    pub(crate) fn of(locked: &LockedPlugin) -> Option<Agreed> {
        Some(Agreed {
            digest: locked.digest.clone(),
            signer: locked.signer.clone()?,
        })
    }
}

/// A component that is judged.
pub(crate) struct Cargo<'a> {
    pub(crate) package: &'a Package,
    pub(crate) bytes: &'a [u8],
    pub(crate) signatures: &'a [SignatureFile],
    /// Whether it came over a network.
    pub(crate) remote: bool,
}

/// The operator's policy, ready to judge by.
pub(crate) struct Desk {
    policy: SignaturePolicy,
    /// The signers that are listed, or why they can't be read.
    trust: Result<Trust, String>,
    /// What licences are judged by, or why it can't be read.
    licences: Result<Rules, String>,
    /// What a scan may find, or why that can't be read.
    scan: Result<Option<ScanPolicy>, String>,
    advisories: Option<AdvisoryPolicy>,
    /// Where known weaknesses are; nowhere, where nothing is held against them.
    weaknesses: Option<AdvisoryStore>,
    /// They, once somebody asks; or why they can't be read.
    database: OnceLock<Result<Option<Database>, String>>,
}

impl Desk {
    /// Reads what the policy names. What can't be read refuses only those components whose
    /// signatures would matter.
    pub(crate) fn open(
        policies: &Policy,
        project: &Path,
        weaknesses: Option<AdvisoryStore>,
    ) -> Arc<Desk> {
        let policy = policies.signatures();
        let licences = Rules::load(policies.licenses.as_ref(), project);
        let trust = Trust::load(&policy, project).map_err(|error| {
            tracing::error!("signatures can't be judged: {error}");
            error.to_string()
        });
        let scan = policies.scan.clone();
        let scan = scan.map(|policy| scan::check(&policy).map(|()| policy));
        Arc::new(Desk {
            policy,
            trust,
            licences,
            scan: scan.transpose(),
            advisories: policies.advisories.clone(),
            weaknesses,
            database: OnceLock::new(),
        })
    }

    /// Holds the packages that a component was made from against known weaknesses. Reads their
    /// database, the first time.
    pub(crate) fn advisories(&self, alias: &Alias, package: &Package) -> advisory::Report {
        let database = self.database.get_or_init(|| match &self.weaknesses {
            Some(store) => store.open().map_err(|error| error.to_string()),
            None => Ok(None),
        });
        let database = database.as_ref().map(Option::as_ref);
        let database = database.map_err(String::as_str);
        let policy = self.advisories.as_ref();
        advisory::examine(package, alias, database, policy, Timestamp::now())
    }

    /// Holds a component's licences against the policy.
    ///
    /// # Errors
    /// One that is not allowed, and what to do; a policy that can't be read.
    pub(crate) fn licences(
        &self,
        alias: &Alias,
        package: &Package,
    ) -> Result<licence::Report, String> {
        let rules = self.licences.as_ref().map_err(String::clone)?;
        let report = licence::judge(package, alias, rules);
        match report.refusal(alias).filter(|_| rules.policy().is_some()) {
            Some(why) => Err(why),
            None => Ok(report),
        }
    }

    /// Looks through a component, or takes what was found before. `signer` is who signed it,
    /// `licences` and `advisories` what is known of its parts.
    pub(crate) fn examine(
        &self,
        cargo: &Cargo<'_>,
        signer: Option<&str>,
        licences: &licence::Report,
        advisories: &advisory::Report,
        store: &ArtifactStore,
    ) -> Examined {
        let mut examined = scan::scan_once(store, cargo.bytes, cargo.package);
        if self.policy.lists_signers() {
            examined.signed(signer);
        }
        examined.licensed(licences);
        examined.advised(advisories);
        examined
    }

    /// Holds what was found about a component against the policy.
    ///
    /// # Errors
    /// What is not allowed, and what to do; a policy that can't be read.
    pub(crate) fn scan(&self, alias: &Alias, examined: Examined) -> Result<Box<Report>, String> {
        let policy = self.scan.as_ref().map_err(String::clone)?.as_ref();
        let report = Report::new(examined, policy, alias);
        match report.refusal {
            Some(why) => Err(why),
            None => Ok(Box::new(report)),
        }
    }

    /// Who signed a component, as the lockfile names them; none only where nobody needs to.
    ///
    /// # Errors
    /// A signature is required, and none counts; or somebody else signed what was agreed to.
    pub(crate) fn signer(
        &self,
        alias: &Alias,
        cargo: &Cargo<'_>,
        agreed: Option<&Agreed>,
    ) -> Result<Option<String>, String> {
        let Cargo {
            package,
            bytes,
            signatures,
            remote,
        } = *cargo;
        let required = self.policy.requires(remote);
        let trust = match &self.trust {
            Ok(trust) => trust,
            Err(_) if !required => return Ok(None),
            Err(why) => return Err(format!("its signature can't be judged: {why}")),
        };
        let subject = Subject {
            id: &package.manifest.id,
            version: &package.manifest.version,
            now: Timestamp::now(),
        };
        let signed = agreed.map(|agreed| agreed.signer.as_str());
        let same = agreed.is_some_and(|agreed| agreed.digest == package.digest.to_string());
        if let (true, Some(signer)) = (same, signed) {
            // The digest binds it: what matters is whether the signer still counts.
            let judged = trust.judge(signer, &subject, alias);
            return match judged {
                Ok(()) => Ok(Some(signer.to_owned())),
                Err(_) if !required => Ok(None),
                Err(refusal) => Err(refusal.to_string()),
            };
        }
        let demand = Demand {
            alias,
            required,
            agreed: signed,
        };
        let examined = trust
            .examine(bytes, signatures, &subject, &demand)
            .map_err(|refusal| refusal.to_string())?;
        for (kind, why) in &examined.passed_over {
            tracing::warn!(plugin = %alias, "a {kind} of its component doesn't count: {why}");
        }
        if let Some(turn) = trust.turn(signed, examined.signer.as_ref())
            && let Some(before) = &turn.before
        {
            let now = turn.now.as_deref().unwrap_or("nobody who is listed");
            let how = match remote {
                true => format!(
                    "`portreeve update {alias} --agree` takes it all the same, if you know why; the former one stays until then"
                ),
                false => format!(
                    "look at it with `portreeve inspect {alias}`, and agree to it with `portreeve grant {alias}`, or put the former component back"
                ),
            };
            return Err(format!(
                "signature: it was signed by {before} when it was agreed to, and is now by {now}: {how}"
            ));
        }
        Ok(examined.signer.map(|signer| signer.to_string()))
    }
}

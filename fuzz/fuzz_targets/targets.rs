//! Targets: whatever URL a guest writes, what is sent reads back as what was checked, without
//! dot segments, users and fragments, and the rule that is proposed for it allows it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portreeve_manifest::grant::{NetworkRule, Origin, Target};

fuzz_target!(|text: &str| {
    let Ok(target) = Target::new("GET", text) else {
        return;
    };
    let url = target.url();
    assert_eq!(Target::new("GET", url.as_str()), Ok(target.clone()));
    assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none());
    assert!(target.host().is_some() && target.port() > 0);
    assert!(
        !target
            .path()
            .split('/')
            .any(|segment| matches!(segment, "." | ".."))
    );
    assert!(!target.path().contains(['\\', '*']));
    assert_eq!(
        target.origin().to_string().parse::<Origin>(),
        Ok(target.origin())
    );
    let rule = target.rule();
    assert!(rule.matches(&target));
    assert_eq!(rule.to_string().parse::<NetworkRule>(), Ok(rule));
});

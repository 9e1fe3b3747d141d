//! The examples in the documentation of requests, grants and policies are read by the
//! parsers that they document.

use std::collections::BTreeSet;

use portreeve_manifest::feature::Feature;
use portreeve_manifest::grant::{Grants, Requests};
use portreeve_manifest::plugin::PluginManifest;
use portreeve_manifest::policy::Policy;
use portreeve_manifest::project::ProjectManifest;
use serde::Deserialize;

/// The TOML examples in the doc comments of the sources.
fn examples() -> Vec<String> {
    let sources = [
        include_str!("../src/grant/mod.rs"),
        include_str!("../src/grant/terms.rs"),
        include_str!("../src/plugin.rs"),
        include_str!("../src/policy.rs"),
        include_str!("../src/policy/advisories.rs"),
        include_str!("../src/policy/signatures.rs"),
    ];
    let mut examples = Vec::new();
    for source in sources {
        let mut example: Option<String> = None;
        for line in source.lines() {
            let Some(doc) = line.trim_start().strip_prefix("///") else {
                continue;
            };
            match (doc.trim(), example.take()) {
                ("```toml", None) => example = Some(String::new()),
                ("```", Some(text)) => examples.push(text),
                (_, Some(text)) => {
                    example = Some(format!("{text}{}\n", doc.strip_prefix(' ').unwrap_or(doc)))
                }
                (_, None) => {}
            }
        }
    }
    examples
}

#[test]
fn every_capability_has_an_example_of_its_request_and_its_grant() {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Granted {
        grants: Grants,
    }

    let mut requested = BTreeSet::new();
    let mut granted = BTreeSet::new();
    let mut others = 0;
    for example in examples() {
        if example.contains("[requests.") || example.contains("[config") {
            let text = format!(
                "schema = 1\nplugin = {{ id = 'a', version = '1.0.0', license = 'MIT' }}\n{example}"
            );
            let manifest =
                PluginManifest::parse("plugin.toml", &text).unwrap_or_else(|e| panic!("{e}"));
            requested.extend(manifest.requests.items().iter().map(|item| item.feature));
        } else if example.contains("grants.") {
            let granting: Granted = toml::from_str(&example).unwrap_or_else(|e| panic!("{e}"));
            granted.extend(granting.grants.features());
        } else {
            #[derive(Deserialize)]
            #[serde(deny_unknown_fields)]
            struct WithPolicy {
                #[serde(rename = "policy")]
                _policy: Policy,
            }
            toml::from_str::<WithPolicy>(&example).unwrap_or_else(|e| panic!("{e}"));
            others += 1;
        }
    }
    let capabilities: BTreeSet<Feature> = Feature::ALL
        .into_iter()
        .filter(|feature| *feature < Feature::InstancesResident)
        .collect();
    assert_eq!(requested, capabilities);
    assert_eq!(granted, capabilities);
    assert_eq!(others, 4, "one example for each policy");
}

#[test]
fn every_grant_is_enforced_or_refused() {
    #[derive(Deserialize)]
    struct Granted {
        grants: Grants,
    }

    for example in examples()
        .iter()
        .filter(|example| example.starts_with("grants."))
    {
        let granting: Granted = toml::from_str(example).unwrap();
        let text = format!("schema = 1\n[plugins.a]\nsource = 'a'\n{example}");
        let parsed = ProjectManifest::parse("portreeve.toml", &text);
        let unenforced: Vec<Feature> = granting
            .grants
            .features()
            .into_iter()
            .filter(|feature| !feature.enforced())
            .collect();
        match parsed {
            Ok(_) => assert!(unenforced.is_empty(), "{text}"),
            Err(errors) => {
                assert_eq!(errors.errors().len(), unenforced.len(), "{errors}");
                for (error, feature) in errors.errors().iter().zip(&unenforced) {
                    assert!(
                        error.message.starts_with("not enforced by this version"),
                        "{error:?}"
                    );
                    assert!(
                        errors.to_string().contains(&format!("grants.{feature}")),
                        "{errors}"
                    );
                }
            }
        }
    }
}

#[test]
fn requests_and_grants_survive_json() {
    for example in examples() {
        #[derive(Deserialize)]
        struct Both {
            #[serde(default)]
            requests: Requests,
            #[serde(default)]
            grants: Grants,
        }
        let both: Both = toml::from_str(&example).unwrap();
        let text = serde_json::to_string(&both.requests).unwrap();
        assert_eq!(
            serde_json::from_str::<Requests>(&text).unwrap(),
            both.requests
        );
        let text = serde_json::to_string(&both.grants).unwrap();
        assert_eq!(serde_json::from_str::<Grants>(&text).unwrap(), both.grants);
    }
}

#[test]
fn the_schemas_accept_the_examples() {
    let plugin =
        portreeve_manifest::schema::compile(&portreeve_manifest::schema::plugin_toml()).unwrap();
    let project =
        portreeve_manifest::schema::compile(&portreeve_manifest::schema::portreeve_toml()).unwrap();
    for example in examples() {
        let (validator, head) = if example.contains("[requests.") || example.contains("[config") {
            (
                &plugin,
                "schema = 1\nplugin = { id = 'a', version = '1.0.0', license = 'MIT' }\n",
            )
        } else if example.contains("grants.") {
            (&project, "schema = 1\n[plugins.a]\nsource = 'a'\n")
        } else {
            (&project, "schema = 1\n")
        };
        let value: serde_json::Value = toml::from_str(&format!("{head}{example}")).unwrap();
        let errors: Vec<String> = validator
            .iter_errors(&value)
            .map(|e| e.to_string())
            .collect();
        assert!(errors.is_empty(), "{example}\n{errors:?}");
        let wrong: serde_json::Value =
            toml::from_str(&format!("unknown = 1\n{head}{example}")).unwrap();
        assert!(!validator.is_valid(&wrong));
    }
}

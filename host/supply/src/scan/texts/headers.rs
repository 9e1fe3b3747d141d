//! Arguments that clients repeat in headers: what stands between reads headers and writes them
//! into its logs, so that no secret belongs there.

use portreeve_manifest::tool::HeaderArgument;
use serde_json::Value;

/// Words of names that secrets have.
const SECRET: [&str; 11] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "credentials",
    "apikey",
    "authorization",
    "bearer",
    "cookie",
];

/// Words that make a key a secret one, before it.
const KEYS: [&str; 4] = ["api", "access", "private", "secret"];

/// Why an argument looks like a secret, if it does.
pub(super) fn secret(argument: &HeaderArgument<'_>) -> Option<String> {
    let says = |keyword: &str| argument.schema.get(keyword);
    let name = argument.path.last()?;
    if says("writeOnly") == Some(&Value::Bool(true)) {
        return Some(format!("`{name}` is `writeOnly`"));
    }
    if says("format").and_then(Value::as_str) == Some("password") {
        return Some(format!("`{name}` has the format `password`"));
    }
    let is_text = says("type").and_then(Value::as_str) == Some("string");
    let header = argument.header.as_str().unwrap_or_default();
    let named = [*name, header].into_iter().find(|name| is_secret(name));
    named
        .filter(|_| is_text)
        .map(|named| format!("`{name}` is called `{named}`"))
}

/// Whether a name in any of the usual forms (`apiKey`, `api_key`, `API-Key`) is a secret's.
fn is_secret(name: &str) -> bool {
    let words = words(name);
    let key = |pair: &[String]| match pair {
        [first, second] => second == "key" && KEYS.contains(&first.as_str()),
        _ => false,
    };
    words.iter().any(|word| SECRET.contains(&word.as_str())) || words.windows(2).any(key)
}

fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut small = false;
    for c in name.chars() {
        let begins = !c.is_ascii_alphanumeric() || (small && c.is_ascii_uppercase());
        if begins {
            words.push(String::new());
        }
        small = c.is_ascii_lowercase();
        if let (true, Some(word)) = (c.is_ascii_alphanumeric(), words.last_mut()) {
            word.push(c.to_ascii_lowercase());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets() {
        for (name, expected) in [
            ("password", true),
            ("userPassword", true),
            ("access_token", true),
            ("API-Key", true),
            ("apiKey", true),
            ("api_key_id", true),
            ("Authorization", true),
            ("region", false),
            ("max_tokens", false),
            ("tokenizer", false),
            ("secretary", false),
            ("key", false),
            ("sort_key", false),
            ("keyboard", false),
            ("", false),
        ] {
            assert_eq!(is_secret(name), expected, "{name}");
        }
    }
}

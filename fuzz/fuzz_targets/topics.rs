//! Patterns of topics: what is shown reads back, a pattern covers itself, and one that covers
//! another matches whatever the other does. Scopes read back, too. One line for each.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portreeve_manifest::grant::{Topic, TopicPattern};
use portreeve_manifest::scope::Scope;

/// Lines that are looked at: they are held against each other.
const LINES_MAX: usize = 8;

fuzz_target!(|text: &str| {
    let mut patterns: Vec<TopicPattern> = Vec::new();
    let mut topics: Vec<Topic> = Vec::new();
    for line in text.lines().take(LINES_MAX) {
        if let Ok(pattern) = line.parse::<TopicPattern>() {
            assert_eq!(pattern.to_string(), line);
            assert!(pattern.covers(&pattern));
            patterns.push(pattern);
        }
        if let Ok(topic) = line.parse::<Topic>() {
            assert!(TopicPattern::from(&topic).matches(&topic));
            topics.push(topic);
        }
        if let Ok(scope) = line.parse::<Scope>() {
            assert_eq!(scope.to_string().parse(), Ok(scope));
        }
    }
    for a in &patterns {
        for b in patterns.iter().filter(|b| a.covers(b)) {
            for topic in topics.iter().filter(|topic| b.matches(topic)) {
                assert!(a.matches(topic), "{a} covers {b}, but not {topic}");
            }
        }
    }
});

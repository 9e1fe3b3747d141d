//! Forms and the cleaning of text: a message, a schema and an answer, a line each.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portreeve_manifest::clean;
use portreeve_manifest::form::Form;
use serde_json::Value;

fn is_clean(text: &str) -> bool {
    !text.chars().any(|c| clean::is_hostile(c) && c != '\n')
}

fuzz_target!(|text: &str| {
    for max in [0, 1, 7, 1_000] {
        let (line, lines) = (clean::line(text, max), clean::lines(text, max));
        assert!(is_clean(&line) && is_clean(&lines) && !line.contains('\n'));
        assert!(line.chars().count() <= max && lines.chars().count() <= max);
        assert_eq!(clean::line(&line, max), line);
    }
    let mut parts = text.splitn(3, '\n');
    let (message, schema) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let Ok(form) = Form::read(message, schema) else {
        return;
    };
    assert!(is_clean(&form.message));
    for field in &form.fields {
        assert!(is_clean(field.label()));
        assert!(field.description.as_deref().is_none_or(is_clean));
    }
    let shown = form.schema();
    let again = Form::read(&form.message, &shown.to_string()).expect("what is shown is a form");
    assert_eq!(again.schema(), shown);
    if let Ok(Value::Object(answer)) = serde_json::from_str(parts.next().unwrap_or("")) {
        if let Ok(checked) = form.check(&answer) {
            assert_eq!(form.check(&checked), Ok(checked));
        }
    }
});

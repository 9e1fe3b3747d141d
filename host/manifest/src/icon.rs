//! Pictures of tools, resources and prompts.

use serde::{Deserialize, Serialize};

use crate::content::check_mime_type;

/// Icons of one thing: a few sizes in two themes.
pub const ICONS_MAX: usize = 8;
/// The longest icon, in bytes of its `data:` address.
pub const ICON_BYTES_MAX: usize = 16 << 10;
/// The icons of one thing, in bytes. No model reads them, so that they come on top of what the
/// rest of a document may have.
pub const ICONS_BYTES_MAX: usize = ICONS_MAX * ICON_BYTES_MAX;

/// A picture for people. It brings its bytes along: a client that fetched one from elsewhere
/// would tell that server who looks at the list, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Icon {
    /// A `data:image/…` address.
    pub src: String,
    /// The media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Sizes, such as `48x48` or `any`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sizes: Vec<String>,
    /// What it is drawn for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub theme: Option<Theme>,
}

/// What an icon is drawn for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Theme {
    /// A light background.
    Light,
    /// A dark background.
    Dark,
}

/// Checks icons.
///
/// # Errors
/// What is wrong, and what would be right.
pub fn check_icons(icons: &[Icon]) -> Result<(), String> {
    if icons.len() > ICONS_MAX {
        return Err(format!(
            "it has {} icons, but at most {ICONS_MAX} are allowed",
            icons.len()
        ));
    }
    for icon in icons {
        if !icon.src.starts_with("data:image/") {
            return Err("an icon brings its bytes along, as `data:image/png;base64,…` does: one from elsewhere would tell that server who looks".into());
        }
        if icon.src.len() > ICON_BYTES_MAX {
            return Err(format!(
                "an icon has {} bytes, but at most {ICON_BYTES_MAX} are allowed",
                icon.src.len()
            ));
        }
        if !icon.src.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("an icon's address has other characters than printable ASCII".into());
        }
        check_mime_type(icon.mime_type.as_deref())?;
        if icon.sizes.len() > ICONS_MAX || !icon.sizes.iter().all(|size| is_size(size)) {
            return Err(format!(
                "an icon has up to {ICONS_MAX} sizes, which look as `48x48` or `any` do"
            ));
        }
    }
    Ok(())
}

fn is_size(text: &str) -> bool {
    let is_number =
        |text: &str| (1..=5).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let is_pair = |(width, height)| is_number(width) && is_number(height);
    text == "any" || text.split_once('x').is_some_and(is_pair)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn checked(icons: Value) -> Result<(), String> {
        let icons: Vec<Icon> = serde_json::from_value(icons).map_err(|error| error.to_string())?;
        check_icons(&icons)
    }

    #[test]
    fn icons_bring_their_bytes_along() {
        let src = "data:image/png;base64,AAAA";
        for icons in [
            json!([]),
            json!([{"src": src}]),
            json!([{"src": src, "mimeType": "image/png", "sizes": ["48x48", "any"], "theme": "dark", "later": 1}]),
            json!(vec![json!({"src": src}); ICONS_MAX]),
        ] {
            assert_eq!(checked(icons.clone()), Ok(()), "{icons}");
        }
        let long = format!("data:image/png,{}", "A".repeat(ICON_BYTES_MAX));
        for (icons, why) in [
            (json!([{"src": "https://example.com/i.png"}]), "bytes along"),
            (json!([{"src": "data:text/html,x"}]), "bytes along"),
            (json!([{"src": long}]), "16399 bytes"),
            (json!([{"src": "data:image/png,a b"}]), "printable ASCII"),
            (json!([{"src": src, "mimeType": "png"}]), "media type"),
            (json!([{"src": src, "theme": "blue"}]), "unknown variant"),
            (json!([{"src": src, "sizes": ["48"]}]), "`48x48`"),
            (json!([{"src": src, "sizes": ["48x"]}]), "`48x48`"),
            (json!([{"src": src, "sizes": ["a\u{1b}b"]}]), "`48x48`"),
            (json!([{"src": src, "sizes": vec!["any"; 9]}]), "8 sizes"),
            (json!(vec![json!({"src": src}); ICONS_MAX + 1]), "9 icons"),
        ] {
            let told = checked(icons.clone()).unwrap_err();
            assert!(told.contains(why), "{icons}: {told}");
        }
    }
}

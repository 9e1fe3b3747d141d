//! What becomes of the figures.

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints what was measured against what is asked.
pub(crate) fn report(what: &str, ratio: f64, at_most: f64, unit: &str) {
    let verdict = if ratio <= at_most { "ok" } else { "MISSED" };
    println!("{what}: {ratio:.2}{unit} (at most {at_most}{unit}) {verdict}");
}

//! CSV: a list of flat objects.

use std::collections::BTreeSet;

use csv::{ErrorKind, ReaderBuilder, Writer};
use portreeve_sdk::Error;
use serde_json::{Map, Value};

use crate::format::{Problem, kind, pointer_step, unwritable};

/// The most cells, and the most bytes of column names summed over all rows: each row repeats them.
const CELLS_MAX: usize = 500_000;
const NAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Reads rows as objects with the names of the first row; values are text.
pub(crate) fn read(text: &str) -> Result<Value, Problem> {
    let mut reader = ReaderBuilder::new().from_reader(text.as_bytes());
    let names: Vec<String> = reader
        .headers()
        .map_err(|error| problem(&error))?
        .iter()
        .map(str::to_owned)
        .collect();
    if let Some(name) = first_double(&names) {
        return Err(Problem {
            message: format!("two columns are named `{name}`"),
            line: Some(1),
            column: None,
        });
    }
    let name_bytes: usize = names.iter().map(String::len).sum();
    let mut rows: Vec<Value> = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| problem(&error))?;
        let rows_now = rows.len() + 1;
        if rows_now * names.len() > CELLS_MAX || rows_now * name_bytes > NAME_BYTES_MAX {
            return Err(Problem::new(format!(
                "the table is too large: at most {CELLS_MAX} cells, and {NAME_BYTES_MAX} bytes of \
                 column names over all rows"
            )));
        }
        let row: Map<String, Value> = names
            .iter()
            .cloned()
            .zip(record.iter().map(Value::from))
            .collect();
        rows.push(Value::Object(row));
    }
    Ok(Value::Array(rows))
}

/// Writes a list of objects; the columns are all their members, sorted.
pub(crate) fn write(value: &Value) -> Result<String, Error> {
    let Value::Array(items) = value else {
        return Err(unwritable(&format!(
            "CSV needs a list of objects, this is of the kind {}",
            kind(value)
        )));
    };
    let rows = items
        .iter()
        .enumerate()
        .map(|(index, item)| {
            item.as_object().ok_or_else(|| {
                unwritable(&format!(
                    "CSV needs a list of objects, /{index} is of the kind {}",
                    kind(item)
                ))
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let names: BTreeSet<&str> = rows
        .iter()
        .flat_map(|row| row.keys())
        .map(String::as_str)
        .collect();
    if names.len().saturating_mul(rows.len() + 1) > CELLS_MAX {
        return Err(unwritable(&format!(
            "the table would have {} columns and {} rows; at most {CELLS_MAX} cells are written",
            names.len(),
            rows.len()
        )));
    }
    if names.is_empty() {
        return Ok(String::new());
    }
    let mut writer = Writer::from_writer(Vec::new());
    writer.write_record(&names)?;
    for (index, row) in rows.iter().enumerate() {
        let cells = names
            .iter()
            .map(|name| match row.get(*name) {
                None | Some(Value::Null) => Ok(String::new()),
                Some(Value::String(text)) => Ok(text.clone()),
                Some(value @ (Value::Bool(_) | Value::Number(_))) => Ok(value.to_string()),
                Some(value) => Err(unwritable(&format!(
                    "/{index}{} is of the kind {}, which a cell of CSV can't hold",
                    pointer_step(name),
                    kind(value)
                ))),
            })
            .collect::<Result<Vec<_>, _>>()?;
        writer.write_record(cells)?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

fn first_double(names: &[String]) -> Option<&str> {
    let mut seen = BTreeSet::new();
    names
        .iter()
        .map(String::as_str)
        .find(|name| !seen.insert(*name))
}

/// What the csv crate says, with the place kept apart.
fn problem(error: &csv::Error) -> Problem {
    let message = match error.kind() {
        ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => {
            format!("a row has {len} fields, the first row {expected_len}")
        }
        _ => error.to_string(),
    };
    Problem {
        message,
        line: error.position().map(csv::Position::line),
        column: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_comes_back() {
        let value = json!([{"a": "1", "b": "x\ny,\"z\""}, {"a": "", "b": "é"}]);
        assert_eq!(read(&write(&value).unwrap()), Ok(value));
        assert_eq!(read(""), Ok(json!([])));
        assert_eq!(write(&json!([])).unwrap(), "");
    }

    #[test]
    fn sizes_that_multiply_are_bounded() {
        let long_name = format!("{}\n{}", "n".repeat(200_000), "1\n".repeat(100_000));
        assert!(read(&long_name).unwrap_err().message.contains("too large"));
        let diagonal: Vec<Value> = (0..1_000).map(|n| json!({format!("k{n}"): 1})).collect();
        let error = write(&Value::Array(diagonal)).unwrap_err();
        assert!(error.message().contains("1000 columns"), "{error}");
    }
}

//! Keeps keys and values with `wasi:keyvalue`, as components for other hosts do.

use portreeve_test_programs::{
    Answer, ErrorCode, Failure, Value, failure, json, structured, tools,
};

mod bindings {
    wit_bindgen::generate!({
        path: "../../host/runtime/wit/keyvalue",
        world: "wasi:keyvalue/imports",
        generate_all,
    });
}

use bindings::wasi::keyvalue::{atomics, batch, store};

fn failed(error: store::Error) -> Failure {
    match error {
        store::Error::NoSuchStore => failure(ErrorCode::NotFound, "no such store"),
        store::Error::AccessDenied => failure(ErrorCode::PermissionDenied, "access denied"),
        store::Error::Other(why) => failure(ErrorCode::Internal, why),
    }
}

fn open(bucket: &str) -> Result<store::Bucket, Failure> {
    store::open(bucket).map_err(failed)
}

tools! {
    /// Sets a key of a bucket.
    fn set(bucket: String, key: String, value: String) -> Answer {
        open(&bucket)?.set(&key, value.as_bytes()).map_err(failed)?;
        Ok(structured(json!({})))
    }

    /// The value of a key.
    fn get(bucket: String, key: String) -> Answer {
        let bucket = open(&bucket)?;
        let found = bucket.get(&key).map_err(failed)?;
        let exists = bucket.exists(&key).map_err(failed)?;
        let found = found.map(|value| String::from_utf8_lossy(&value).into_owned());
        Ok(structured(json!({"found": found, "exists": exists})))
    }

    /// Deletes a key.
    fn delete(bucket: String, key: String) -> Answer {
        open(&bucket)?.delete(&key).map_err(failed)?;
        Ok(structured(json!({})))
    }

    /// Adds to a number.
    fn increment(bucket: String, key: String, delta: u64) -> Answer {
        let sum = atomics::increment(&open(&bucket)?, &key, delta).map_err(failed)?;
        Ok(structured(json!({"sum": sum})))
    }

    /// Sets so many keys in batches of 100, lists them all, page by page, and deletes them; how
    /// many there were in each page, and how many afterwards.
    fn many(bucket: String, keys: u64) -> Answer {
        let bucket = open(&bucket)?;
        let names: Vec<String> = (0..keys).map(|number| format!("{number:05}")).collect();
        for names in names.chunks(100) {
            let values: Vec<_> = names.iter().map(|name| (name.clone(), name.clone().into_bytes())).collect();
            batch::set_many(&bucket, &values).map_err(failed)?;
        }
        let (mut pages, mut cursor) = (Vec::new(), None);
        loop {
            let page = bucket.list_keys(cursor).map_err(failed)?;
            pages.push(page.keys.len());
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        let some = ["00000".to_owned(), "none".to_owned()];
        let got = batch::get_many(&bucket, &some).map_err(failed)?;
        let got: Vec<Option<String>> = got.into_iter().map(|pair| Some(pair?.0)).collect();
        for names in names.chunks(100) {
            batch::delete_many(&bucket, names).map_err(failed)?;
        }
        let left = bucket.list_keys(None).map_err(failed)?.keys.len();
        Ok(structured(json!({"pages": pages, "got": got, "left": left})))
    }

    /// What is refused: a batch of 101 keys, a cursor that is none, one key in a batch that is
    /// too long, and whatever came of that batch.
    fn wrong() -> Answer {
        let bucket = open("wrong")?;
        let names: Vec<String> = (0..101).map(|number| number.to_string()).collect();
        let told = |error: Result<(), store::Error>| match error {
            Ok(()) => Value::Null,
            Err(error) => failed(error).message.into(),
        };
        let long = [("a".to_owned(), vec![1]), ("k".repeat(2_000), vec![1])];
        Ok(structured(json!({
            "batch": told(batch::delete_many(&bucket, &names)),
            "cursor": told(bucket.list_keys(Some(7)).map(|_| ())),
            "long": told(batch::set_many(&bucket, &long)),
            "empty": told(bucket.set("", b"")),
            "left": bucket.list_keys(None).map_err(failed)?.keys.len(),
        })))
    }
}

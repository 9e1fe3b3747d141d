//! Does with files what it is told, step by step, through WASI's own functions: as a guest that
//! keeps to nothing would.

use std::collections::BTreeMap;

use portreeve_test_programs::{Answer, Value, directory_failures, json, structured, tools};
use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{
    Descriptor, DescriptorFlags, ErrorCode, NewTimestamp, OpenFlags, PathFlags,
    filesystem_error_code,
};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

tools! {
    /// Does steps, each a list of a word and what it needs; answers with what came of each.
    /// Directories have the names of their paths.
    fn run(steps: Value) -> Answer {
        let mut kept = Kept::default();
        for (handle, path) in get_directories() {
            kept.handles.insert(path, handle);
        }
        let steps = steps.as_array().cloned().unwrap_or_default();
        let done = steps.iter().map(|step| match kept.step(step) {
            Ok(value) => json!({"ok": value}),
            Err(error) => json!({"error": error}),
        });
        let done: Vec<Value> = done.collect();
        Ok(structured(json!({"done": done})))
    }

    /// The names of the directories that are mounted, and what the host says of others.
    fn mounted() -> Answer {
        let names: Vec<String> = get_directories().into_iter().map(|(_, path)| path).collect();
        let why = directory_failures::take_last().map(|failure| failure.message);
        Ok(structured(json!({"names": names, "why": why})))
    }

    /// Reads a file as Rust's own library does.
    fn read_file(path: String) -> Answer {
        Ok(structured(match std::fs::read(path) {
            Ok(bytes) => json!({"ok": bytes.len()}),
            Err(error) => json!({
                "error": error.kind().to_string(),
                "why": directory_failures::take_last().map(|failure| failure.message),
            }),
        }))
    }

    /// Reads a file so many times as Rust's own library does; how many bytes there were.
    fn read_files(path: String, times: u64) -> Answer {
        let mut bytes = 0;
        for _ in 0..times {
            bytes += std::fs::read(&path).map_or(0, |read| read.len());
        }
        Ok(structured(json!({"bytes": bytes})))
    }

    /// Makes a file as Rust's own library does, and reads it again.
    fn keep(path: String, text: String) -> Answer {
        let kept = std::fs::write(&path, &text).and_then(|()| std::fs::read_to_string(&path));
        Ok(structured(match kept {
            Ok(text) => json!({"ok": text}),
            Err(error) => json!({"error": error.kind().to_string()}),
        }))
    }
}

#[derive(Default)]
struct Kept {
    // Streams end before the files that they are of.
    inputs: BTreeMap<String, InputStream>,
    outputs: BTreeMap<String, OutputStream>,
    handles: BTreeMap<String, Descriptor>,
}

type Done = Result<Value, String>;

fn named(error: ErrorCode) -> String {
    error.name().to_owned()
}

fn failed(error: StreamError) -> String {
    match error {
        StreamError::Closed => "closed".to_owned(),
        StreamError::LastOperationFailed(error) => filesystem_error_code(&error)
            .map_or_else(|| format!("no code: {}", error.to_debug_string()), named),
    }
}

fn follow(letters: &str) -> PathFlags {
    match letters.contains('f') {
        true => PathFlags::SYMLINK_FOLLOW,
        false => PathFlags::empty(),
    }
}

impl Kept {
    fn handle(&self, name: &str) -> Result<&Descriptor, String> {
        let found = self.handles.get(name);
        found.ok_or_else(|| format!("there is no handle {name}"))
    }

    fn step(&mut self, step: &Value) -> Done {
        let text = |at: usize| step[at].as_str().unwrap_or_default();
        let number = |at: usize| step[at].as_u64().unwrap_or_default();
        let nothing = |done: Result<(), ErrorCode>| done.map(|()| json!(null)).map_err(named);
        match text(0) {
            "open" => {
                let letters = text(4);
                let mut open = OpenFlags::empty();
                let mut flags = DescriptorFlags::empty();
                for letter in letters.chars() {
                    match letter {
                        'r' => flags |= DescriptorFlags::READ,
                        'w' => flags |= DescriptorFlags::WRITE,
                        'm' => flags |= DescriptorFlags::MUTATE_DIRECTORY,
                        'c' => open |= OpenFlags::CREATE,
                        'x' => open |= OpenFlags::EXCLUSIVE,
                        't' => open |= OpenFlags::TRUNCATE,
                        'd' => open |= OpenFlags::DIRECTORY,
                        _ => {}
                    }
                }
                let base = self.handle(text(2))?;
                let handle = base
                    .open_at(follow(letters), text(3), open, flags)
                    .map_err(named)?;
                self.handles.insert(text(1).to_owned(), handle);
                Ok(json!(null))
            }
            "read" => {
                let (bytes, ended) = self
                    .handle(text(1))?
                    .read(number(3), number(2))
                    .map_err(named)?;
                Ok(json!([String::from_utf8_lossy(&bytes), ended]))
            }
            "write" => {
                let handle = self.handle(text(1))?;
                let written = handle.write(text(3).as_bytes(), number(2));
                written.map(Value::from).map_err(named)
            }
            "size" => nothing(self.handle(text(1))?.set_size(number(2))),
            "reading" => {
                let stream = self
                    .handle(text(2))?
                    .read_via_stream(number(3))
                    .map_err(named)?;
                self.inputs.insert(text(1).to_owned(), stream);
                Ok(json!(null))
            }
            "writing" | "appending" => {
                let handle = self.handle(text(2))?;
                let stream = match text(0) {
                    "writing" => handle.write_via_stream(number(3)),
                    _ => handle.append_via_stream(),
                };
                self.outputs
                    .insert(text(1).to_owned(), stream.map_err(named)?);
                Ok(json!(null))
            }
            "next" => {
                let stream = self.inputs.get(text(1)).ok_or("no stream")?;
                let bytes = stream.blocking_read(number(2)).map_err(failed)?;
                Ok(json!(String::from_utf8_lossy(&bytes)))
            }
            "poll" => {
                // Without waiting in the read itself.
                let stream = self.inputs.get(text(1)).ok_or("no stream")?;
                stream.subscribe().block();
                let bytes = stream.read(number(2)).map_err(failed)?;
                Ok(json!(String::from_utf8_lossy(&bytes)))
            }
            "put" => {
                let stream = self.outputs.get(text(1)).ok_or("no stream")?;
                stream
                    .blocking_write_and_flush(text(2).as_bytes())
                    .map_err(failed)?;
                Ok(json!(null))
            }
            "put-later" => {
                let stream = self.outputs.get(text(1)).ok_or("no stream")?;
                stream.check_write().map_err(failed)?;
                stream.write(text(2).as_bytes()).map_err(failed)?;
                stream.blocking_flush().map_err(failed)?;
                Ok(json!(null))
            }
            "stat" => {
                let stat = self
                    .handle(text(1))?
                    .stat_at(follow(text(3)), text(2))
                    .map_err(named)?;
                Ok(json!([format!("{:?}", stat.type_), stat.size]))
            }
            "type" => {
                let handle = self.handle(text(1))?;
                handle
                    .get_type()
                    .map(|kind| json!(format!("{kind:?}")))
                    .map_err(named)
            }
            "entries" => {
                let entries = self.handle(text(1))?.read_directory().map_err(named)?;
                let mut names = Vec::new();
                while let Some(entry) = entries.read_directory_entry().map_err(named)? {
                    names.push(format!("{:?} {}", entry.type_, entry.name));
                }
                names.sort();
                Ok(json!(names))
            }
            "readlink" => {
                let target = self.handle(text(1))?.readlink_at(text(2));
                target.map(Value::from).map_err(named)
            }
            "mkdir" => nothing(self.handle(text(1))?.create_directory_at(text(2))),
            "rmdir" => nothing(self.handle(text(1))?.remove_directory_at(text(2))),
            "unlink" => nothing(self.handle(text(1))?.unlink_file_at(text(2))),
            "symlink" => nothing(self.handle(text(1))?.symlink_at(text(2), text(3))),
            "rename" | "link" => {
                let (from, to) = (self.handle(text(1))?, self.handle(text(3))?);
                nothing(match text(0) {
                    "rename" => from.rename_at(text(2), to, text(4)),
                    _ => from.link_at(PathFlags::empty(), text(2), to, text(4)),
                })
            }
            "times" => {
                let handle = self.handle(text(1))?;
                let now = NewTimestamp::Now;
                nothing(handle.set_times_at(follow(text(3)), text(2), now, now))
            }
            "repeat" => {
                for _ in 0..number(1) {
                    self.step(&step[2])?;
                }
                Ok(json!(null))
            }
            "why" => Ok(json!(
                directory_failures::take_last().map(|failure| failure.message)
            )),
            "drop" => {
                self.inputs.remove(text(1));
                self.outputs.remove(text(1));
                self.handles.remove(text(1));
                Ok(json!(null))
            }
            other => Err(format!("there is no step {other}")),
        }
    }
}

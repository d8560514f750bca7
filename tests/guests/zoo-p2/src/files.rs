//! Files in the directories the host lends, through std as a user would.

use std::fs::{self, File};
use std::io::{self, Write};

use wasip2::http::types::IncomingRequest;
use zoo::{Answer, Query};

use crate::bodies::Reader;

pub fn read(query: &Query) -> Answer {
    fs::read_to_string(path(query)).map_or_else(Answer::failed, Answer::ok)
}

pub fn write(query: &Query, request: IncomingRequest) -> Answer {
    match store(path(query), Reader::of(&request)) {
        Ok(length) => Answer::ok(format!("wrote {length} bytes\n")),
        Err(error) => Answer::failed(error),
    }
}

fn store(path: &str, mut reader: Reader) -> io::Result<usize> {
    let mut file = File::create(path)?;
    let mut length = 0;
    while let Some(chunk) = reader.chunk()? {
        file.write_all(&chunk)?;
        length += chunk.len();
    }
    Ok(length)
}

pub fn list(query: &Query) -> Answer {
    names(path(query)).map_or_else(Answer::failed, |names| Answer::ok(zoo::sorted_lines(names)))
}

fn names(path: &str) -> io::Result<Vec<String>> {
    fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

fn path(query: &Query) -> &str {
    query.text("path").unwrap_or("/")
}
